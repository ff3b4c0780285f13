"""How much `fovea.load(RUN).predict(image)` adds to the bare network's forward pass.

    .venv/bin/python bench/latency.py RUN IMAGE [--repeats 100]

The bare forward pass gets a ready tensor; the others also decode (or not), resize and normalise. The kinds take turns.
Prints medians and ratios of medians; the aim is 1.3 for an image that is in memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import timm
import torch
from PIL import Image

import fovea


def main() -> None:
    """Measure a run's model on one image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("image")
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    predictor = fovea.load(options.run)
    bare = timm.create_model(f"local-dir:{options.run}/model", pretrained=True).eval()
    bare = bare.to(memory_format=torch.channels_last)
    size = predictor.preprocess.input_size
    inputs = torch.randn(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    pixels = np.asarray(Image.open(options.image).convert("RGB"))

    def forward() -> object:
        with torch.inference_mode():
            return bare(inputs)

    kinds: dict[str, Callable[[], object]] = {
        "bare forward pass": forward,
        f"predict, array {pixels.shape[1]}x{pixels.shape[0]}": lambda: predictor.predict(pixels),
        "predict, file": lambda: predictor.predict(options.image),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for repeat in range(options.repeats + 5):
        for name, call in kinds.items():
            began = time.perf_counter()
            call()
            if repeat >= 5:
                times[name].append(1000 * (time.perf_counter() - began))
    base = statistics.median(times["bare forward pass"])
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:<28}{median:8.2f} ms  {median / base:.2f} x")


if __name__ == "__main__":
    main()
