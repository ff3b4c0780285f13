"""Images per second from files to normalised training batches: torchvision's loader against fovea's, in one run.

    python bench/loading.py [DATA] [--repeats 3] [--images 512]

Both give float32 batches (32, 3, 224, 224), normalised, from RandomResizedCrop(224, scale=(0.5, 1)) and a horizontal
flip, antialiased bilinear, drawn from the same distribution. torchvision: ImageFolder + DataLoader as its tutorials
teach it, with 0, 1 and 2 workers (kept alive between epochs; the best median counts, and starting them is not timed).
fovea, in four ways:

- "no cache": every image decoded anew, at the smallest scale that no crop enlarges;
- "first pass": the same, and the pixels written to an empty cache;
- "cached": the passes after that, in the same process or a new one;
- "plain view, cached": evaluation pixels, for comparison with torchvision's Resize + CenterCrop.

The contenders take turns within each repeat, so a busy machine slows all of them; CPU time per image, shown for those
that work in one process, hardly depends on what else runs. Twice: on the photos of DATA, and on
the same photos enlarged to 2000 x 1500 JPEGs, which is what phones take. Equal quality is checked, not assumed: both
sides crop the same boxes from some photos, and the mean difference of the pixels (0..255) is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from fovea.core.files import cache_root, digest
from fovea.data.augment import Augment
from fovea.data.augment.draws import uniforms
from fovea.data.decoding import SUFFIXES, decode, probe
from fovea.data.pixelcache import Photo, PixelCache, WholeImage, usable_cores
from fovea.data.preprocess import Preprocess

SIZE, BATCH, CROP_SCALE = 224, 32, 0.5
SPEC = Preprocess(input_size=SIZE, interpolation="bilinear")
AUGMENT = Augment(crop_scale=CROP_SCALE, color_jitter=0.0)
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared/data/grocery/train"


@dataclass(frozen=True)
class Contender:
    """A way of loading: `epoch` yields batches, `prepare` runs before it and is not timed."""

    name: str
    epoch: Callable[[], Iterator[torch.Tensor]]
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Timing:
    """Images per second of the clock, and milliseconds of this process's CPU time (all threads) per image."""

    images_per_s: float
    cpu_ms: float


def main() -> None:
    """Run both parts and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=DEFAULT_DATA, help="folder of class folders")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=512, help="images in one epoch of the photos as they are")
    parser.add_argument("--large-images", type=int, default=96, help="images in one epoch of the large photos")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {usable_cores()} cores, {given.repeats} interleaved repeats, medians\n")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["FOVEA_CACHE"] = str(Path(scratch) / "cache")
        compare("photos as they are", given.data, images=given.images, repeats=given.repeats)
        enlarged = Path(scratch) / "large"
        enlarge(given.data, enlarged, images=given.large_images)
        compare("photos of 2000 x 1500", enlarged, images=given.large_images, repeats=given.repeats)


def enlarge(source: Path, target: Path, *, images: int) -> None:
    """Write photos enlarged to 2000 x 1500 as JPEGs of quality 90, in two class folders."""
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    for number, path in enumerate(paths[:: max(1, len(paths) // images)][:images]):
        folder = target / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(decode(path)).resize((2000, 1500), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=90)


def compare(title: str, data: Path, *, images: int, repeats: int) -> None:
    """Time every contender on some images of a folder and print a table."""
    folder = ImageFolder(str(data))
    chosen = np.linspace(0, len(folder) - 1, min(images, len(folder))).astype(int).tolist()
    photos = [photo_of(Path(folder.samples[index][0])) for index in chosen]
    contenders = [*torchvision_ways(data, chosen), *fovea_ways(photos)]
    timings: dict[str, list[Timing]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats + 1):
        for contender in contenders:
            contender.prepare()
            timing = timed(contender.epoch)
            if repeat:  # the first round warms up: imports, page cache, worker processes
                timings[contender.name].append(timing)
    show(title, {name: median(values) for name, values in timings.items()}, photos)


def timed(epoch: Callable[[], Iterator[torch.Tensor]]) -> Timing:
    """Time one epoch, on the clock and on the processor."""
    count, start, start_cpu = 0, time.perf_counter(), time.process_time()
    for batch in epoch():
        assert batch.dtype == torch.float32
        assert batch.shape[1:] == (3, SIZE, SIZE)
        count += len(batch)
    return Timing(count / (time.perf_counter() - start), 1000 * (time.process_time() - start_cpu) / count)


def median(timings: list[Timing]) -> Timing:
    """The medians of both figures."""
    return Timing(
        statistics.median(timing.images_per_s for timing in timings),
        statistics.median(timing.cpu_ms for timing in timings),
    )


def photo_of(path: Path) -> Photo:
    """Describe a file as the manifest would."""
    found = probe(path)
    return Photo(path, digest(path.read_bytes()), found.width, found.height)


def torchvision_ways(data: Path, chosen: list[int]) -> list[Contender]:
    """torchvision's loader for training with several numbers of workers, and for evaluation with the most."""
    normalise = [transforms.ToTensor(), transforms.Normalize(SPEC.mean, SPEC.std)]
    crop = [transforms.RandomResizedCrop(SIZE, scale=(CROP_SCALE, 1.0)), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(SPEC.scaled_size), transforms.CenterCrop(SIZE)]

    def contender(name: str, steps: list[object], workers: int) -> Contender:
        dataset = Subset(ImageFolder(str(data), transforms.Compose([*steps, *normalise])), chosen)
        loader = DataLoader(
            dataset, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        return Contender(name, lambda: (batch for batch, _ in loader))

    training = [contender(f"torchvision, {workers} workers", crop, workers) for workers in (0, 1, 2)]
    return [*training, contender("torchvision plain view, 2 workers", plain, 2)]


def fovea_ways(photos: list[Photo]) -> list[Contender]:
    """Our loader without a cache, filling one, and reading one."""
    whole = WholeImage(AUGMENT.store_px(SIZE))
    pool = ThreadPoolExecutor(usable_cores())
    epochs = iter(range(10**9))

    def training(cache: PixelCache) -> Iterator[torch.Tensor]:
        epoch = next(epochs)
        for rows in batches(len(photos), epoch):
            keys = epoch * len(photos) + rows
            yield SPEC.normalise(AUGMENT.sample(cache.take(rows), size=SIZE, seed=0, keys=keys, pool=pool))

    def plain(cache: PixelCache) -> Iterator[torch.Tensor]:
        for start in range(0, len(photos), BATCH):
            rows = range(start, min(start + BATCH, len(photos)))
            yield SPEC.normalise(cache.batch(rows, pool=pool))

    def clear() -> None:
        shutil.rmtree(cache_root() / "pixels", ignore_errors=True)

    def filled(geometry: Preprocess | WholeImage) -> None:
        PixelCache.open(photos, geometry=geometry).fill()

    return [
        Contender("fovea, no cache", lambda: training(PixelCache.open(photos, geometry=whole, enabled=False))),
        Contender("fovea, first pass", lambda: training(PixelCache.open(photos, geometry=whole)), clear),
        Contender("fovea, cached", lambda: training(PixelCache.open(photos, geometry=whole)), lambda: filled(whole)),
        Contender(
            "fovea plain view, cached", lambda: plain(PixelCache.open(photos, geometry=SPEC)), lambda: filled(SPEC)
        ),
    ]


def batches(count: int, epoch: int) -> Iterator[np.ndarray]:
    """Yield the row numbers of shuffled batches."""
    order = np.random.default_rng(epoch).permutation(count)
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]


def show(title: str, timings: dict[str, Timing], photos: list[Photo]) -> None:
    """Print the table of medians with ratios to torchvision's best, and the measured difference in quality."""
    rates = {name: timing.images_per_s for name, timing in timings.items()}
    best = max((name for name in rates if name.startswith("torchvision,")), key=lambda name: rates[name])
    print(f"{title}: {len(photos)} images, the first {photos[0].width} x {photos[0].height}")
    print(f"  {'':34s}{'images/s':>9s}   ratio   CPU ms/image")
    for name, rate in rates.items():
        base = "torchvision plain view, 2 workers" if "plain view" in name else best
        cpu = "" if "1 workers" in name or "2 workers" in name else f"{timings[name].cpu_ms:12.2f}"
        print(f"  {name:34s}{rate:9.0f}{rate / rates[base]:7.1f}x{cpu}{'  (the base)' if name == base else ''}")
    print(f"  mean difference between the same crops of both: {quality_gap(photos[:16]):.2f} of 255\n")


def quality_gap(photos: list[Photo]) -> float:
    """Cut the same boxes as torchvision would from the file and as we do from the store; compare."""
    whole = WholeImage(AUGMENT.store_px(SIZE))
    still = Augment(crop_scale=1.0, hflip=0.0, color_jitter=0.0)
    gaps = []
    for number, photo in enumerate(photos):
        full, stored = decode(photo.path), whole.read(photo, max_pixels=10**9)
        scale = full.shape[0] / stored.shape[0]
        box = AUGMENT.crop_box(stored.shape[0], stored.shape[1], uniforms(seed=0, keys=[number], count=28)[0])
        top, left, height, width = box
        large = [round(value * scale) for value in box]
        theirs = transforms.functional.resized_crop(Image.fromarray(full), *large, [SIZE, SIZE])
        crop = np.ascontiguousarray(stored[top : top + height, left : left + width])
        ours = still.sample([crop], size=SIZE, seed=0, keys=[0])[0].numpy()
        gaps.append(np.abs(np.asarray(theirs).astype(int) - ours).mean())
    return float(np.mean(gaps))


if __name__ == "__main__":
    main()
