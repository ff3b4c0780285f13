"""What watching costs: the same seeded training with and without the doctor, by turns, in one process.

    .venv/bin/python bench/doctor_overhead.py [--repeats 5] [--steps 300] [--kinds 1] [--device cuda]
    .venv/bin/python bench/doctor_overhead.py --lines 20000  # what listening to printed lines costs

Three networks, from one whose step takes a few milliseconds to a ResNet-18. Each row is a whole training: medians over
repeats of the seconds with and without, their ratio, and what the doctor itself says that it took. Weights at the end
must be equal, bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from fovea.doctor.watching import Doctor

CLASSES, BATCH = 10, 32


def small() -> nn.Module:
    """Three convolutions with BatchNorm."""
    layers: list[nn.Module] = []
    for channels, width in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


KINDS: dict[str, tuple[Callable[[], nn.Module], int, float]] = {  # network, side in px, share of the steps
    "three convolutions, 32 px": (small, 32, 1.0),
    "ResNet-18, 64 px": (lambda: resnet18(num_classes=CLASSES), 64, 0.5),
    "ResNet-18, 128 px": (lambda: resnet18(num_classes=CLASSES), 128, 0.2),
}


def main() -> None:
    """Measure every kind and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kinds", type=int, default=len(KINDS), metavar="N", help="only the first, quickest ones")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lines", type=int, metavar="N", help="print N lines of each kind to memory, and nothing else")
    given = parser.parse_args()
    if given.lines:
        print_lines(given.lines)
        return
    print(f"{'training':<28}{'steps':>7}{'ms/step':>9}{'watched':>9}{'ratio':>8}{'own count':>11}{'samples':>9}")
    for name, (build, side, share) in list(KINDS.items())[: given.kinds]:
        steps = max(20, round(share * given.steps))
        alone, watched, own, samples = [], [], 0.0, 0
        train(build, side, steps=5, device=given.device)
        for repeat in range(given.repeats):
            for kind in ("alone", "watched")[:: 1 if repeat % 2 else -1]:
                if kind == "alone":
                    seconds, reference = train(build, side, steps=steps, device=given.device)
                    alone.append(seconds)
                    continue
                with Doctor(strict=True) as doctor:
                    seconds, weights = train(build, side, steps=steps, device=given.device)
                watched.append(seconds)
                own = doctor.record.overhead_s / doctor.record.seconds
                samples = len(next(iter(doctor.record.networks[0].parameters.values())).steps)
        assert all(torch.equal(*pair) for pair in zip(reference, weights, strict=True)), "watching changed a result"
        base, seen = statistics.median(alone), statistics.median(watched)
        print(
            f"{name:<28}{steps:>7}{1000 * base / steps:>9.1f}{1000 * seen / steps:>9.1f}{seen / base:>8.3f}"
            f"{100 * own:>10.1f}%{samples:>9}"
        )


def print_lines(count: int) -> None:
    """Print lines with and without a figure, alone and watched, and tell the microseconds of each."""
    for text in ("hello there, loss 0.5", "epoch 3 val acc 0.912 loss 0.5"):
        taken = {}
        for kind, watching in (("alone", contextlib.nullcontext()), ("watched", Doctor(strict=True))):
            with contextlib.redirect_stdout(io.StringIO()), watching:
                began = time.perf_counter()
                for _ in range(count):
                    print(text)
                taken[kind] = 1e6 * (time.perf_counter() - began) / count
        print(f"{text:<34} {taken['alone']:6.2f} us alone, {taken['watched']:6.2f} us watched")


def train(build: Callable[[], nn.Module], side: int, *, steps: int, device: str) -> tuple[float, list[torch.Tensor]]:
    """Train for so many steps; return the seconds it took and the weights at the end."""
    torch.manual_seed(0)
    model = build().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(BATCH * min(steps, 40), 3, side, side), torch.arange(BATCH * min(steps, 40)) % CLASSES
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)
    began, taken = time.perf_counter(), 0
    while taken < steps:
        for batch, target in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch.to(device)), target.to(device)).backward()
            optimizer.step()
            taken += 1
            if taken == steps:
                break
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - began, [each.detach().clone() for each in model.state_dict().values()]


if __name__ == "__main__":
    main()
