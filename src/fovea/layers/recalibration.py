"""BatchNorm's running statistics, estimated anew on given images: after a swap, or after weights were changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fovea.layers.modes import evaluating
from fovea.layers.normalisation import SwitchableNorm2d


def recalibrate(model: nn.Module, batches: Iterable[Tensor | Sequence[Tensor]]) -> tuple[str, ...]:
    """Set the running statistics of every BatchNorm (and switchable norm) to the plain mean over the given batches.

    Each batch counts alike, so let them be of one size. Only these layers see the batches as in training; dropout is
    off, and weights, modes, momenta and everything else stay as they are. If a batch fails the old statistics come
    back.

    Args:
        model: any network.
        batches: images (B,3,H,W) on the network's device, or tuples that begin with them, as a DataLoader gives.

    Returns:
        The names of the layers that were estimated anew; empty, without a look at the batches, where there is none.

    Raises:
        ValueError: there are no batches.

    Source: Ioffe & Szegedy 2015, section 3.1 (population statistics); for changed weights Izmailov et al. 2018, §3.2.

    >>> net = nn.BatchNorm2d(1)
    >>> recalibrate(nn.Sequential(net), [torch.full((1, 1, 2, 2), 4.0), torch.full((1, 1, 2, 2), 6.0)])
    ('0',)
    >>> net.running_mean.item(), net.momentum
    (5.0, 0.1)
    """
    norms = {name: module for name, module in model.named_modules() if _keeps_statistics(module)}
    if not norms:
        return ()
    momenta = {norm: norm.momentum for norm in norms.values()}
    before = {norm: {name: value.clone() for name, value in norm.named_buffers()} for norm in norms.values()}
    try:
        with torch.no_grad(), evaluating(model):
            for norm in norms.values():
                norm.reset_running_stats()
                norm.momentum = None  # torch then keeps the plain mean over batches
                norm.training = True  # this layer alone: what timm builds into it, dropout above all, keeps its mode
            seen = 0
            for batch in batches:
                model(batch if isinstance(batch, Tensor) else batch[0])
                seen += 1
            if not seen:
                raise ValueError("recalibration needs at least one batch of images")
    except BaseException:
        for norm, buffers in before.items():
            for name, value in buffers.items():
                norm.get_buffer(name).copy_(value)
        raise
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
    return tuple(norms)


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, (_BatchNorm, SwitchableNorm2d)) and module.running_mean is not None
