"""Features for the audit: those of a network where weights are at hand, plain ones else."""

from __future__ import annotations

import dataclasses

import torch

from fovea.core.cores import usable_cores
from fovea.core.errors import Interrupted, ModelError
from fovea.core.progress import Progress
from fovea.core.recipe import Recipe
from fovea.data.audit import plainfeatures
from fovea.data.audit.base import Subject
from fovea.data.preprocess import Preprocess
from fovea.models.catalogue import create
from fovea.training.embedding import embed
from fovea.workflows.machine import stop_on_signal

PLAIN = "plain"  # in place of weights: features that need none


def with_features(subject: Subject, recipe: Recipe, *, progress: Progress) -> Subject:
    """Return the subject with features: those of the network whose weights the recipe names, or that are at hand.

    Without weights on this machine and without a hub, features are taken from looks and the audit says so. Images that
    have become unreadable meanwhile are left out.
    """

    def plain(why: str) -> Subject:
        progress.say(f"features without a network: {why}")
        features = plainfeatures.plain_features(subject.looks)
        return dataclasses.replace(subject, features=features, features_from=plainfeatures.NAME)

    if recipe.model.weights == PLAIN or recipe.model.from_scratch:
        return plain("as asked for")
    try:
        loaded = create(recipe.model.name, classes=max(2, len(subject.manifest.classes)), weights=recipe.model.weights)
    except ModelError as error:
        if recipe.model.weights is not None:
            raise
        return plain(f"{error.message}; --weights DIR_OR_FILE names a downloaded one")
    preprocess = Preprocess.from_pretrained_cfg(loaded.pretrained_cfg, input_size=recipe.data.input_size)
    settings = dataclasses.replace(recipe.data, workers=recipe.data.workers or usable_cores())
    with stop_on_signal(progress) as stop:
        features, rows = embed(
            subject.manifest,
            subject.rows,
            loaded=loaded,
            preprocess=preprocess,
            settings=settings,
            device="cuda" if torch.cuda.is_available() else "cpu",
            progress=progress,
            stop=stop,
        )
        if stop():
            raise Interrupted(
                f"stopped by the user; {len(rows):,} of {len(subject):,} images have their features",
                hint="the same command goes on from there",
            )
    seen = subject if len(rows) == len(subject) else subject.take(rows)
    return dataclasses.replace(seen, features=features, features_from=loaded.source)
