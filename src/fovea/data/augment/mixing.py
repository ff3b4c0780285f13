"""Mixup and cutmix: two images of a batch become one, and so do their labels.

Both work on any batch (B, C, H, W): normalised pixels or cached activations. One mixture is drawn for the whole
batch, as in the authors' own code. The generator is torch's on the CPU, so that a checkpoint can store it.
"""

from __future__ import annotations

import math

import numpy as np
import torch


def mixup(
    x: torch.Tensor, targets: torch.Tensor, *, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend every image with another: share * x + (1 - share) * x', and the targets alike; share ~ Beta(alpha, alpha).

    Args:
        x: floats, (B, ...).
        targets: float class distributions, (B, classes), such as one-hot rows.
        alpha: above 0; 0.2 blends little, 1 uniformly.

    Zhang, Cissé, Dauphin and Lopez-Paz 2018, "mixup: Beyond empirical risk minimization", section 2.

    >>> x, targets = torch.eye(4)[:, :, None, None], torch.eye(4)
    >>> mixed, soft = mixup(x, targets, alpha=1.0, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(mixed[:, :, 0, 0], soft)
    True
    """
    if not x.is_floating_point():
        raise ValueError(f"mixup blends floats, got {x.dtype}; normalise the pixels first")
    _check(x, targets, alpha)
    share = _beta(alpha, generator)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    return torch.lerp(x[other], x, share), torch.lerp(targets[other], targets, share)


def cutmix(
    x: torch.Tensor, targets: torch.Tensor, *, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of another image into every image; the targets mix by the area that was really pasted.

    Args:
        x: (B, C, H, W) of any dtype.
        targets: float class distributions, (B, classes).
        alpha: above 0; the kept share of the area ~ Beta(alpha, alpha) before the rectangle is clipped at the rim.

    Yun et al. 2019, "CutMix: Regularization strategy to train strong classifiers with localizable features",
    section 3.1 and appendix A.
    """
    if x.ndim != 4:
        raise ValueError(f"cutmix expects (B, C, H, W), got {tuple(x.shape)}")
    _check(x, targets, alpha)
    cut = math.sqrt(1 - _beta(alpha, generator))
    other = torch.randperm(len(x), generator=generator).to(x.device)
    top, bottom = _span(x.shape[2], cut, generator)
    left, right = _span(x.shape[3], cut, generator)
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = x[other, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])
    return mixed, torch.lerp(targets[other], targets, share)


def _check(x: torch.Tensor, targets: torch.Tensor, alpha: float) -> None:
    if alpha <= 0:
        raise ValueError(f"alpha is {alpha}; expected more than 0")
    if targets.ndim != 2 or len(targets) != len(x) or not targets.is_floating_point():
        raise ValueError(
            f"expected float targets ({len(x)}, classes), got {targets.dtype} {tuple(targets.shape)}; "
            "turn class ids into one-hot rows first"
        )


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One Beta(alpha, alpha) number. torch draws none from a generator, so it draws a seed for numpy."""
    seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _span(length: int, cut: float, generator: torch.Generator) -> tuple[int, int]:
    """Start and end of a stretch of about cut * length about a uniform centre, clipped to 0..length."""
    centre = int(torch.randint(length, (1,), generator=generator))
    half = round(length * cut) / 2
    return max(0, math.floor(centre - half + 0.5)), min(length, math.floor(centre + half + 0.5))
