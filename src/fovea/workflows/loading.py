"""A trained model, ready to answer: from a run folder (or a model folder) to a predictor."""

from __future__ import annotations

from pathlib import Path

import torch

from fovea.core.errors import RunError
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.data.preprocess import Preprocess
from fovea.evaluation.ensemble import Ensemble
from fovea.evaluation.predicting import Predictor
from fovea.models.bundle import Bundle, load_bundle


def load(folder: Path | str, *, device: str = "cpu") -> Predictor | Ensemble:
    """Load the model of a run; `.predict(image)` classifies one image, `.probabilities(paths)` streams many.

    Of k-fold training the models of all folds answer together, as `train.ensemble` says.

    Args:
        folder: a run folder, or the model folder in it.
        device: where the arithmetic runs.

    Raises:
        RunError: the folder holds no model.
        ModelError: the model is damaged.

    Example (a run at `runs/fruit`):
        model = fovea.load("runs/fruit")
        model.predict("apple.jpg").label
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        return predictor(load_bundle(folder), Recipe(), device=device)
    run = Run.open(folder)
    recipe = run.recipe()
    folded = recipe.train.folds is not None
    models = [Run(path).model_path for path in run.fold_paths()] if folded else [run.model_path]
    members = [predictor(load_bundle(path), recipe, device=device) for path in models if path.exists()]
    if not members:
        raise RunError(f"{folder} holds no model yet", hint=run.resume_command)
    return Ensemble(members, how=recipe.train.ensemble) if folded else members[0]


def predictor(bundle: Bundle, recipe: Recipe, *, device: str) -> Predictor:
    """Return what evaluation and prediction both use, so that their numbers are the same."""
    return Predictor(
        bundle.model,
        Preprocess.from_dict(bundle.preprocess),
        bundle.classes,
        device=torch.device(device),
        multilabel=bool(bundle.config.get("multilabel", False)),
        threads=recipe.data.workers or 2,
        max_pixels=recipe.data.max_pixels,
    )
