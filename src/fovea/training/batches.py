"""Where training batches come from: pixels that are augmented anew in every epoch, or cached activations.

Both are pure functions of (seed, epoch, batch): a resumed training sees what the uninterrupted one would have seen.
The next batches are prepared in the background while one is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from fovea.core.recipe import TrainRecipe
from fovea.data.augment import Augment, cutmix, mixup
from fovea.data.augment.draws import LOOKS
from fovea.training.activations import ActivationStore
from fovea.training.images import Images
from fovea.training.sampling import batch_count, earlier_draws, epoch_batches, epoch_size
from fovea.training.session import SplitData

AHEAD = 2
REPEAT = 257  # an image drawn again within an epoch shows the look of an epoch this far ahead
Step = tuple[torch.Tensor, torch.Tensor, int]


class ActivationBatches:
    """Batches of cached activations; in each epoch every image shows another of its views.

    Args:
        views: one store per view, each holding all images.
        data: the training images.
        settings: batch size, sampler, mixup.
        classes: how many, for mixup's soft targets.
        seed: of order and mixing.
        fabric: each device takes its share of every batch.
    """

    def __init__(
        self,
        views: Sequence[ActivationStore],
        data: SplitData,
        *,
        settings: TrainRecipe,
        classes: int,
        seed: int,
        fabric: Fabric,
    ) -> None:
        self.views, self.data, self.settings = views, data, settings
        self.classes, self.seed, self.fabric = classes, seed, fabric
        self.first_view = np.random.default_rng(seed).integers(len(views), size=len(data))

    def __len__(self) -> int:
        return _count(self)

    def epoch(self, epoch: int, *, first: int) -> Iterator[Step]:
        """Yield (activations (B, …) float32, targets, images over all devices) from batch `first` on."""

        def make(number: int, rows: np.ndarray, again: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            view_of = (self.first_view[rows] + epoch + again) % len(self.views)
            inputs: Any = None
            for view in np.unique(view_of):
                places = np.flatnonzero(view_of == view)
                found = self.views[view].gather([self.data.digests[row] for row in rows[places]])
                if inputs is None:
                    inputs = np.empty((len(rows), *found.shape[1:]), dtype=np.float32)
                inputs[places] = found
            return _mixed(torch.as_tensor(inputs), self.data.target_tensor(rows), self, epoch, number)

        yield from _steps(self, epoch, first, make)


class PixelBatches:
    """Batches of augmented pixels, normalised.

    Args:
        images: the training images.
        data: their targets.
        size: side of the inputs in pixels.
        augment: the random changes; None shows every image the plain way, as in evaluation.
        settings, classes, seed, fabric: as for `ActivationBatches`.
    """

    def __init__(
        self,
        images: Images,
        data: SplitData,
        *,
        size: int,
        augment: Augment | None,
        settings: TrainRecipe,
        classes: int,
        seed: int,
        fabric: Fabric,
    ) -> None:
        self.images, self.data, self.size, self.augment = images, data, size, augment
        self.settings, self.classes, self.seed, self.fabric = settings, classes, seed, fabric

    def __len__(self) -> int:
        return _count(self)

    def epoch(self, epoch: int, *, first: int) -> Iterator[Step]:
        """Yield (pixels (B, 3, S, S) float32, targets, images over all devices) from batch `first` on."""

        def make(number: int, rows: np.ndarray, again: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
            look = (epoch + REPEAT * again) % LOOKS
            pixels = (
                self.images.plain(rows)
                if self.augment is None
                else self.images.augmented(rows, augment=self.augment, size=self.size, seed=self.seed, look=look)
            )
            return _mixed(self.images.preprocess.normalise(pixels), self.data.target_tensor(rows), self, epoch, number)

        yield from _steps(self, epoch, first, make)


def global_batch(settings: TrainRecipe, devices: int) -> int:
    """Return the images in one batch over all devices."""
    return settings.batch_size * (devices if settings.batch_size_is == "per_device" else 1)


def _count(source: ActivationBatches | PixelBatches) -> int:
    images = epoch_size(source.data.targets, source.settings.sampler)
    return batch_count(images, global_batch(source.settings, source.fabric.world_size))


def _steps(
    source: ActivationBatches | PixelBatches,
    epoch: int,
    first: int,
    make: Callable[[int, np.ndarray, np.ndarray], tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[Step]:
    """Yield the batches of an epoch from `first` on, each device its share, some being made ahead."""
    rank, world = source.fabric.global_rank, source.fabric.world_size
    batches = epoch_batches(
        source.data.targets,
        batch_size=global_batch(source.settings, world),
        seed=source.seed,
        epoch=epoch,
        sampler=source.settings.sampler,
    )
    again = earlier_draws(batches)
    pending: list[tuple[int, Future[tuple[torch.Tensor, torch.Tensor]]]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        try:
            for number in range(first, len(batches) + AHEAD):
                if number < len(batches):
                    own = slice(rank, None, world)
                    job = pool.submit(make, number, batches[number][own], again[number][own])
                    pending.append((len(batches[number]), job))
                if number >= first + AHEAD or number >= len(batches):
                    if not pending:
                        break
                    images, future = pending.pop(0)
                    inputs, targets = future.result()
                    yield inputs, targets, images
        finally:
            for _, future in pending:
                future.cancel()


def _mixed(
    inputs: torch.Tensor, targets: torch.Tensor, source: ActivationBatches | PixelBatches, epoch: int, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply mixup or cutmix as the recipe asks; when it asks for both, every other batch gets the one or the other."""
    alphas = {mixup: source.settings.mixup, cutmix: source.settings.cutmix}
    wanted = [mix for mix, alpha in alphas.items() if alpha > 0]
    if not wanted or (cutmix in wanted and inputs.ndim != 4):
        return inputs, targets
    mix = wanted[number % len(wanted)]
    soft = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, source.classes).float()
    spread = np.random.SeedSequence([source.seed, epoch, number, source.fabric.global_rank])
    generator = torch.Generator().manual_seed(int(spread.generate_state(1, np.uint64)[0] >> 1))
    return mix(inputs, soft, alpha=alphas[mix], generator=generator)
