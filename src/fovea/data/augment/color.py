"""Random changes of colour: brightness, contrast, saturation, and the shift along the colours' principal axes (PCA).

All are linear in the pixel, so one product with a 3 x 3 matrix and one addition do them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

_GREY = torch.tensor([0.299, 0.587, 0.114])  # ITU-R BT.601 luma, as in Pillow and torchvision

# Principal axes of ImageNet's colours, values 0..1: the numbers of fb.resnet.torch (datasets/imagenet.lua), which other
# code copies. A column of the matrix is one axis, in red, green and blue; its eigenvalue is the variance along it.
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])

IMAGENET_COVARIANCE: tuple[float, ...] = tuple(
    float(value) for value in ((_EIGENVECTORS * _EIGENVALUES) @ _EIGENVECTORS.T).round(6).ravel()
)
"""Covariance of red, green and blue over ImageNet's pixels, values 0..1, row by row."""


def check_covariance(values: Sequence[float]) -> None:
    """Raise `ValueError` unless these are nine numbers of a covariance matrix, row by row."""
    if len(values) != 9:
        raise ValueError(f"pca_covariance has {len(values)} numbers; expected 9, the 3 x 3 matrix row by row")
    matrix = np.array(values, dtype=float).reshape(3, 3)
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, atol=1e-6):
        raise ValueError(f"pca_covariance is {tuple(values)}; expected finite numbers, equal across the diagonal")
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least < -1e-6:
        raise ValueError(f"pca_covariance has the negative eigenvalue {least:.3g}; no colours have that covariance")


def pca_shift(covariance: Sequence[float], normals: Sequence[float], strength: float) -> np.ndarray:
    """Return what to add to red, green and blue (3,), in units of 0..255.

    Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks", §4.1, add
    sum_i alpha_i * eigenvalue_i * eigenvector_i with alpha ~ N(0, strength²), for values 0..1. That sum is normal with
    the covariance strength² C C for colours of the covariance C, and so is strength * C z for standard normal z: the
    same distribution without the eigenvectors, whose signs and order would depend on the linear algebra at hand.

    Args:
        covariance: nine numbers, row by row, of values 0..1.
        normals: three standard normal numbers.
        strength: standard deviation of alpha; the paper has 0.1.

    >>> pca_shift((0.1, 0, 0, 0, 0.1, 0, 0, 0, 0.1), (1.0, 0.0, -2.0), 0.1).round(2).tolist()
    [2.55, 0.0, -5.1]
    """
    return 255 * strength * np.array(covariance).reshape(3, 3) @ np.array(normals)


def recolored(pixels: torch.Tensor, factors: Sequence[float], shift: np.ndarray | None = None) -> torch.Tensor:
    """Scale brightness, then contrast about the mean grey, then saturation about each pixel's grey; then add `shift`.

    uint8 (H, W, 3), and so returned. All are linear, so they are one 3 x 3 matrix and an offset, clipped once at the
    end. Four neighbouring pixels make one row of a product with four copies of the matrix on the diagonal: four times
    the arithmetic, in a tenth of the time of (H*W, 3) @ (3, 3), which is too narrow to be fast.
    """
    brightness, contrast, saturation = factors
    height, width, _ = pixels.shape
    values = pixels.reshape(height, width * 3).float()  # (H,W,C) -> (H,W*C)
    mean_grey = float(values.sum(0).view(width, 3).sum(0) @ _GREY) / (height * width)
    mixing = saturation * torch.eye(3) + (1 - saturation) * _GREY  # each row: one output from three inputs
    weight = (contrast * brightness * mixing).T
    offset = (1 - contrast) * brightness * mean_grey + 0.5  # the half rounds
    group = math.gcd(height * width, 4)
    rows = values.view(-1, 3 * group) @ torch.block_diag(*[weight] * group)  # (H,W*C) -> (H*W/4, 4*C)
    rows.add_(offset if shift is None else torch.from_numpy(offset + np.tile(shift, group)).float()).clamp_(0, 255)
    return torch.from_numpy(rows.numpy().astype(np.uint8)).view(height, width, 3)  # numpy's cast is four times faster
