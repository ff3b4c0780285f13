"""What keeping freed memory gains: training steps with and without `fovea.workflows.machine.prepare`'s malloc settings.

    .venv/bin/python bench/allocator.py [--size 224] [--batch 32] [--repeats 3]

Each measurement is a process of its own, since the setting cannot be taken back; the two kinds take turns. Prints the
images per second of each and the median ratio.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    """Run both kinds in turn, or (with --measure) one of them here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", choices=["plain", "kept"])
    options = parser.parse_args()
    if options.measure:
        print(images_per_s(options.measure, size=options.size, batch=options.batch))
        return
    rates: dict[str, list[float]] = {"plain": [], "kept": []}
    for _ in range(options.repeats):
        for kind, found in rates.items():
            command = [sys.executable, __file__, "--size", str(options.size), "--batch", str(options.batch)]
            answer = subprocess.run([*command, "--measure", kind], capture_output=True, text=True, check=True)
            found.append(float(answer.stdout))
    ratios = [kept / plain for kept, plain in zip(rates["kept"], rates["plain"], strict=True)]
    for kind, found in rates.items():
        print(f"{kind:<6} {' '.join(f'{rate:7.1f}' for rate in found)} images/s")
    print(f"ratio  {' '.join(f'{ratio:7.2f}' for ratio in ratios)}; median {statistics.median(ratios):.2f}")


def images_per_s(kind: str, *, size: int, batch: int) -> float:
    """Return the rate of MobileNetV2's training steps, BatchNorm in train mode."""
    import timm
    import torch

    from fovea.core.recipe import TrainRecipe
    from fovea.workflows.machine import prepare

    if kind == "kept":
        prepare(TrainRecipe())
    model = timm.create_model("mobilenetv2_100").to(memory_format=torch.channels_last).train()
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        model(images).square().mean().backward()
        times.append(time.perf_counter() - began)
    return batch / statistics.median(times[1:])


if __name__ == "__main__":
    main()
