"""`fovea compare DATA --heads`: is the top a linear classifier? Classifiers on frozen features of one's own images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fovea.core.errors import DataError, ModelError
from fovea.core.progress import Progress, Silent
from fovea.core.recipe import Recipe
from fovea.core.wording import counted
from fovea.data.reading import read_with_looks
from fovea.models.classic_heads import HEADS
from fovea.models.comparing_heads import HeadComparison, compare_heads
from fovea.workflows import auditing
from fovea.workflows.beforehand import check_network
from fovea.workflows.features import PLAIN, with_features
from fovea.workflows.machine import prepare
from fovea.workflows.stopping import stoppable

FOLDS = 5


def compare_heads_on(
    source: Path | str,
    *,
    heads: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    console: Progress | None = None,
) -> HeadComparison:
    """Cross-validate classifiers on the frozen features of the images at `source`, all splits together.

    Copies and photos of one scene stay in one fold. Classes with fewer images than folds are left out, and that is
    said. Where no weights are at hand and none were asked for, the features are plain ones (colour, layout, edges), and
    the answer says so.

    Args:
        source: a folder, table or list file; see `fovea.read`.
        heads: names in `fovea.models.classic_heads.HEADS`; all when None. The linear one is always there.
        recipe: `data` says how it is read, `model` which network gives the features, `seed` draws the folds.
        console: shown to the user.

    Raises:
        UnknownName: there is no such head.
        DataError: the data cannot be read, has several labels an image, or fewer than two classes large enough.
        ModelError: the weights cannot be loaded.
    """
    recipe, progress = recipe or Recipe(), console or Silent()
    for name in heads or ():
        HEADS[name]
    prepare(recipe.train)
    with stoppable(progress) as told:
        manifest, looks = read_with_looks(
            source,
            label_column=recipe.data.label_column,
            classes=recipe.data.classes,
            max_pixels=recipe.data.max_pixels,
            ready=lambda: _check(recipe),
            progress=lambda done, total: told.advance("reading images", done, total),
        )
        if manifest.multilabel:
            raise DataError(f"{source} has several labels an image", hint="heads are compared on one label an image")
        looks, copies = auditing.group(manifest, looks, seed=recipe.seed, progress=told)
        subject = auditing.as_subject(manifest, looks, copies, seed=recipe.seed)
    subject = with_features(subject, recipe, progress=progress)
    sizes = np.bincount(subject.targets, minlength=len(manifest.classes))
    large = np.flatnonzero(sizes >= FOLDS)
    if len(large) < 2:
        raise DataError(
            f"{counted(len(large), 'class has', 'classes have')} {FOLDS} images or more, of {len(sizes)}",
            hint=f"heads are compared in {FOLDS} folds, which takes {FOLDS} images of two classes at least",
        )
    if small := int(((sizes > 0) & (sizes < FOLDS)).sum()):
        progress.say(f"{counted(small, 'class', 'classes')} with fewer than {FOLDS} images are left out")
    subject = subject.take(np.flatnonzero(np.isin(subject.targets, large)))
    assert subject.features is not None  # `with_features` has just given them
    with stoppable(progress) as told:
        found = compare_heads(
            subject.features,
            np.array(manifest.classes)[subject.targets],
            folds=FOLDS,
            seed=recipe.seed,
            groups=subject.units,
            heads=heads,
            advance=lambda done, total: told.advance("heads", done, total),
        )
    return dataclasses.replace(found, features_from=subject.features_from)


def _check(recipe: Recipe) -> None:
    """Raise before any image is read where the network that was asked for cannot give features."""
    if recipe.model.weights == PLAIN:
        return
    try:
        check_network(recipe)
    except ModelError:
        if recipe.model.weights is not None:
            raise  # else features are plain ones, and the answer says so
