"""A pretrained network whose layers were exchanged: BatchNorm's statistics for what now flows through it.

They are estimated on plain views of some training images, always the same ones, so that a resumed training finds the
network it began with. Nothing is learnt here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from lightning_fabric import Fabric

from fovea.core.progress import Progress
from fovea.core.recipe import Recipe
from fovea.core.wording import counted
from fovea.data.manifest import Manifest
from fovea.data.preprocess import Preprocess
from fovea.layers.recalibration import recalibrate
from fovea.models.catalogue import Loaded, readdressed
from fovea.training.images import Images
from fovea.training.session import split_data

IMAGES, BATCH = 512, 32


def adapted(
    loaded: Loaded, *, recipe: Recipe, manifest: Manifest, preprocess: Preprocess, fabric: Fabric, progress: Progress
) -> Loaded:
    """Return the network with its BatchNorm estimated anew, if the recipe exchanged layers of pretrained weights.

    Args:
        loaded: the network, on the CPU; changed in place.
        manifest: its training images are drawn from.
        preprocess: the plain view.
        fabric: where the arithmetic runs.
        progress: told of each batch.
    """
    if not recipe.model.exchanged or recipe.model.from_scratch:
        return loaded
    train = split_data(manifest, "train")
    rows = np.random.default_rng(recipe.seed).permutation(len(train))[:IMAGES]
    rows = rows[: max(1, len(rows) // BATCH) * BATCH]  # full batches, which count alike; one that is not, if need be
    images = Images(train.take(rows), preprocess=preprocess, settings=recipe.data, store_px=preprocess.input_size)

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), BATCH):
            shown = np.arange(start, min(start + BATCH, len(rows)))
            yield preprocess.normalise(images.plain(shown)).to(fabric.device)
            progress.advance("BatchNorm's statistics", int(shown[-1]) + 1, len(rows))

    try:
        norms = recalibrate(loaded.model.to(fabric.device), batches())
    finally:
        loaded.model.cpu()
        images.pool.shutdown()
    if not norms:
        return loaded
    progress.say(f"{counted(len(norms), 'BatchNorm')} estimated anew on {counted(len(rows), 'image')}")
    return readdressed(loaded)
