"""Evaluating a network for a while: every module's mode is put back, whichever it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a network to evaluation within the block; afterwards each of its modules has the mode that it had.

    >>> net = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2).eval())
    >>> with evaluating(net):
    ...     net[0].training
    False
    >>> [module.training for module in net]
    [True, False]
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
