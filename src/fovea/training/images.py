"""The images of one split as pixels: the plain view that evaluation sees, and random changes of it for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.core.recipe import DataRecipe
from fovea.data.augment import Augment
from fovea.data.augment.draws import look_key
from fovea.data.pixelcache import PixelCache, WholeImage
from fovea.data.preprocess import Interpolation, Preprocess
from fovea.training.session import Session, SplitData


class Images:
    """Pixels of the images of a split, decoded once and kept.

    Args:
        data: the split.
        preprocess: the plain view, and the arithmetic that turns pixels into inputs.
        settings: cache, threads and size limit.
        store_px: shorter side of the images that random crops are taken from; crops sharper than that are enlarged.
    """

    def __init__(self, data: SplitData, *, preprocess: Preprocess, settings: DataRecipe, store_px: int) -> None:
        self.data, self.preprocess, self.settings, self.store_px = data, preprocess, settings, store_px
        self.workers = settings.workers or usable_cores()
        self.pool = ThreadPoolExecutor(self.workers, thread_name_prefix="images")

    @cached_property
    def _plain(self) -> PixelCache:
        return PixelCache.open(
            self.data.photos,
            geometry=self.preprocess,
            max_pixels=self.settings.max_pixels,
            enabled=self.settings.cache,
        )

    @cached_property
    def _whole(self) -> PixelCache:
        return PixelCache.open(
            self.data.photos,
            geometry=WholeImage(self.store_px),
            max_pixels=self.settings.max_pixels,
            enabled=self.settings.cache,
        )

    def plain(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the plain view of these images, uint8 (B, S, S, 3)."""
        return self._plain.batch(rows, pool=self.pool)

    def augmented(
        self, rows: Sequence[int] | np.ndarray, *, augment: Augment, size: int, seed: int, look: int | np.ndarray
    ) -> torch.Tensor:
        """Return a random view of these images, uint8 (B, size, size, 3).

        What happens to an image depends on `seed`, on `look` (the epoch, or the number of the view; one for all or one
        each) and on its own content, not on its place in the batch or in the folder.
        """
        looks = np.broadcast_to(look, len(rows)).tolist()
        keys = [look_key(self.data.photos[row].digest, own) for row, own in zip(rows, looks, strict=True)]
        return augment.sample(self._whole.take(rows), size=size, seed=seed, keys=keys, pool=self.pool)

    def fill(self, *, whole: bool, progress: Callable[[int, int], None]) -> dict[int, DataError]:
        """Decode all images now, with all threads; return the failures by row number.

        Args:
            whole: the images that crops are taken from, instead of the plain views.
            progress: told (done, total).
        """
        cache = self._whole if whole else self._plain
        return cache.fill(workers=self.workers, progress=progress)

    def findings(self, *, whole: bool) -> list[Finding]:
        """Return what a cache had to say, such as that the disk is full."""
        return (self._whole if whole else self._plain).notes


def readable(session: Session, data: SplitData, preprocess: Preprocess, *, whole: bool) -> tuple[Images, np.ndarray]:
    """Decode a split and return its pixels, without the images that have become unreadable, and the rows kept (n,).

    A file that was whole when the data was read may be gone by now; it is named in the findings and left out.

    Args:
        session: gives settings; findings go to its run.
        data: the split.
        preprocess: the plain view.
        whole: decode what crops are taken from, instead of the plain views.
    """
    store_px = augmentation(session).store_px(preprocess.input_size)
    settings = session.recipe.data

    def advance(done: int, total: int) -> None:
        session.progress.advance("decoding", done, total)

    images = Images(data, preprocess=preprocess, settings=settings, store_px=store_px)
    failures = images.fill(whole=whole, progress=advance)
    session.add_findings(images.findings(whole=whole))
    kept = np.array([row for row in range(len(data)) if row not in failures], dtype=np.int64)
    if failures:
        lost = [data.photos[row].path for row in failures]
        finding = Finding(
            severity="warning",
            code="unreadable",
            message=f"{len(lost)} images could be read at first and no longer can; they were left out of training",
            fix="check the disk or the network folder, then train again",
            evidence={"reasons": sorted({error.message for error in failures.values()})[:20]},
            files=tuple(str(path) for path in lost[:200]),
        )
        session.add_findings([finding])
        images = Images(data.take(kept), preprocess=preprocess, settings=settings, store_px=store_px)
    return images, kept


def augmentation(session: Session) -> Augment:
    """Return the random changes that the recipe asks for."""
    kernel: Interpolation = "bilinear" if session.preprocess.interpolation == "bilinear" else "bicubic"
    return Augment.from_recipe(session.recipe.data, interpolation=kernel)
