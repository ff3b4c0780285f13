"""How the grouping of copies grows, for bench/audit.py: catalogues of up to a million synthetic pictures.

    python bench/audit_scale.py --images 100000 --seed 0 --out answer.json      # one catalogue, in a process of its own

The pictures are noise whose spectrum falls like that of photos; two in a hundred are copies of others: cropped or
shifted a little, some mirrored, with another brightness and contrast, and some noise. No file is decoded: this is the
part of the audit whose cost could grow with the square of the number.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from audit_contenders import ContenderFailed, Machine
from audit_scores import count_pairs

from fovea.core.cores import usable_cores
from fovea.data.audit.copies import find_copies
from fovea.data.looks import COLOR_SIDE, FACTS, GREY_SIDE, Looks

BATCH, COPIES = 1000, 20  # pictures made together, and how many of them are copies of the others
LARGE = 96  # px: pictures are made at this size, so that copies are cut from more than what is compared


def main() -> None:
    """Make one catalogue, group it, and write seconds, memory and how right the groups are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, required=True, help=f"a multiple of {BATCH}")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(usable_cores())
    with tempfile.TemporaryDirectory(dir=given.out.parent) as scratch:
        looks, origin = catalogue(given.images, Path(scratch) / "grey", seed=given.seed)
        digests = [f"{row:x}" for row in range(given.images)]
        memory = Memory()
        started, started_cpu = time.perf_counter(), time.process_time()
        near = find_copies(looks, digests, np.full(given.images, 64), seed=given.seed).near
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        peaks = memory.stop()
    grouped = near >= 0
    claimed, right = count_pairs(near[grouped]), right_pairs(near[grouped], origin[grouped])
    answer = {"seconds": seconds, "cpu_s": cpu_s, "recall": right / count_pairs(origin), "claimed": claimed}
    answer |= peaks | {"precision": right / claimed if claimed else float("nan")}
    given.out.write_text(json.dumps(answer), encoding="utf-8")


def catalogue(images: int, path: Path, *, seed: int) -> tuple[Looks, np.ndarray]:
    """Return looks whose grey pictures lie in a file, and for each row the number of the picture that it shows (N,)."""
    grey = np.memmap(path, np.uint8, "w+", shape=(images, GREY_SIDE, GREY_SIDE))
    origin = np.empty(images, np.int64)
    place = np.random.default_rng(seed).permutation(images)  # a copy lies anywhere
    for start in range(0, images, BATCH):
        rows = place[start : start + BATCH]
        grey[rows], shown = pictures(np.random.default_rng([seed, start]))
        origin[rows] = start + shown
    rims = {name: pl.Series(np.zeros(images, np.float32)) for name in FACTS if name.startswith("rim_")}
    facts = pl.select(
        *(rims.get(name, pl.repeat(None, images, dtype=kind)).alias(name) for name, kind in FACTS.items())
    )
    color = np.broadcast_to(np.zeros(1, np.uint8), (images, COLOR_SIDE, COLOR_SIDE, 3))
    return Looks(facts, grey, color), origin


def pictures(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of pictures (BATCH, 64, 64), the last of them copies of others, and what each one shows."""
    count = BATCH - COPIES
    frequency = np.hypot(np.fft.fftfreq(LARGE)[:, None], np.fft.rfftfreq(LARGE)[None]) + 1 / LARGE
    slope = rng.uniform(1.0, 1.4, (count, 1, 1)).astype(np.float32)  # photos have about 1.2 (Ruderman 1994)
    waves = rng.standard_normal((2, count, *frequency.shape), np.float32) / frequency.astype(np.float32) ** slope
    spectrum = torch.complex(*torch.from_numpy(waves))
    made = torch.fft.irfft2(spectrum, s=(LARGE, LARGE)).numpy()
    made /= made.std(axis=(1, 2), keepdims=True)
    source = rng.integers(0, count, COPIES)
    kept = rng.uniform(0.85, 1, COPIES)  # of each side
    maps = np.zeros((COPIES, 2, 3), np.float32)
    maps[:, 0, 0] = kept * rng.choice([-1, 1], COPIES, p=[0.2, 0.8])  # one in five is mirrored
    maps[:, 1, 1] = kept
    maps[:, :, 2] = (1 - kept[:, None]) * rng.uniform(-1, 1, (COPIES, 2))
    grid = F.affine_grid(torch.from_numpy(maps), [COPIES, 1, 2 * GREY_SIDE, 2 * GREY_SIDE], align_corners=False)
    large = torch.from_numpy(made)[:, None]
    cut = F.avg_pool2d(F.grid_sample(large[source], grid, align_corners=False, padding_mode="border"), 2)
    whole = F.interpolate(large, (GREY_SIDE, GREY_SIDE), mode="bilinear", antialias=True)
    small = torch.cat([whole, cut])[:, 0].numpy()
    small = small * rng.uniform(30, 60, (BATCH, 1, 1)) + rng.uniform(100, 150, (BATCH, 1, 1))
    small[count:] += rng.normal(0, 2, cut[:, 0].shape)
    shown = np.concatenate([np.arange(count), source])
    return np.clip(small.round(), 0, 255).astype(np.uint8), shown


def right_pairs(groups: np.ndarray, origin: np.ndarray) -> int:
    """Return how many pairs share both a group and an original."""
    return count_pairs(groups * (origin.max(initial=0) + 1) + origin)


class Memory:
    """Watches the most memory that this process holds: of its own, and with the pages of mapped files."""

    def __init__(self) -> None:
        self._most = {"RssAnon": 0, "VmRSS": 0}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                if name in self._most:
                    self._most[name] = max(self._most[name], int(value.split()[0]))

    def stop(self) -> dict[str, float]:
        """Return the peaks in MB."""
        self._done.set()
        self._thread.join()
        return {"own_mb": self._most["RssAnon"] / 1024, "with_files_mb": self._most["VmRSS"] / 1024}


def measure_scale(machine: Machine, sizes: Sequence[int], *, seed: int) -> tuple[str, dict[str, Any]]:
    """Group catalogues of several sizes; return a table and figures."""
    lines = [
        f"{'images':>12}{'seconds':>10}{'CPU s':>10}{'grows as':>10}{'own MB':>10}{'with files':>12}"
        f"{'recall':>9}{'precision':>11}"
    ]
    figures: dict[str, Any] = {}
    before: tuple[int, float] | None = None
    for images in sizes:
        out = machine.out / f"scale-{images}.json"
        try:
            command = [sys.executable, __file__, "--images", images, "--seed", seed, "--out", out]
            machine.run(f"scale {images}", command, environment={"FOVEA_CACHE": str(machine.out / "caches" / "scale")})
        except ContenderFailed as error:
            machine.failures[f"scale {images}"] = str(error)
            continue
        values = json.loads(out.read_text(encoding="utf-8"))
        power = math.log(values["cpu_s"] / before[1]) / math.log(images / before[0]) if before else float("nan")
        before = (images, values["cpu_s"])
        growth = f"N^{power:.2f}" if power == power else ""
        cells = f"{values['seconds']:>10.1f}{values['cpu_s']:>10.1f}{growth:>10}{values['own_mb']:>10.0f}"
        shares = f"{values['with_files_mb']:>12.0f}{values['recall']:>9.3f}{values['precision']:>11.4f}"
        lines.append(f"{images:>12,}{cells}{shares}")
        figures[str(images)] = values | {"power": power}
    return "\n".join(lines), figures


if __name__ == "__main__":
    main()
