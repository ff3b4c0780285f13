"""An exponential moving average of a network's weights and buffers, kept as a network of its own.

The averaged network is the one that is validated and delivered: it is less noisy than the last step's weights.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """The averaged copy of `module`.

    Args:
        module: the network being trained.
        decay: the share of the old average kept at each update; early updates keep less, so that the random or
            pretrained start is forgotten: min(decay, (1 + n) / (10 + n)) after n updates.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights of `module`; integer buffers are copied."""
        keep = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, values = [], []
        for average, value in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, 1 - keep)
