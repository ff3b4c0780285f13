"""The weights a network begins with, drawn by a rule; `pretraining` learns them from images instead.

A rule changes the weights of convolutions and linear layers in place and sets their biases to 0; normalisation layers
and the rest stay as they are. In the formulas n_in is the number of inputs that one output is the sum of, and n_out the
number of outputs that one input goes into (`fans`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fovea.core.registry import Registry

Rule = Callable[[Tensor, float, float], object]  # weight, n_in, n_out

INITIALISATION: Registry[Rule] = Registry("initialisation")

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def fans(layer: nn.Module) -> tuple[float, float]:
    """Return n_in and n_out of a layer's units, groups counted, and for transposed convolutions the mean over places.

    Torch's own count takes a transposed convolution for a convolution, and a group's inputs for all inputs. Strides of
    convolutions are not counted for n_out, as in the papers.

    >>> fans(nn.Conv2d(64, 64, 3, groups=64)), fans(nn.ConvTranspose2d(256, 16, 4, stride=2))
    ((9.0, 9.0), (1024.0, 256.0))
    """
    if isinstance(layer, nn.Linear):
        return float(layer.in_features), float(layer.out_features)
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    taps = math.prod(layer.kernel_size) / layer.groups
    spread = math.prod(layer.stride) if isinstance(layer, nn.ConvTranspose2d) else 1
    return layer.in_channels * taps / spread, layer.out_channels * taps


@INITIALISATION.register("zero", summary="0: all units of a layer stay alike (Goodfellow 2016, §8.4)")
def zero(weight: Tensor, n_in: float = 1, n_out: float = 1) -> None:
    """Set weights to 0. For the last layer of a residual branch; anywhere else it stops learning.

    Source: Goodfellow, Bengio & Courville 2016, "Deep learning", section 8.4 (on breaking symmetry).

    >>> zero(weight := torch.ones(4, 6))
    >>> weight.abs().max().item()
    0.0
    """
    nn.init.zeros_(weight)


@INITIALISATION.register("random", summary="N(0, 0.01²), whatever the layer's size (Krizhevsky 2012, §5)")
def random(weight: Tensor, n_in: float = 1, n_out: float = 1) -> None:
    """Draw weights from a normal distribution of deviation 0.01; deep networks fade with it.

    Source: Krizhevsky, Sutskever & Hinton 2012, section 5.

    >>> random(weight := torch.empty(1000, 1000))
    >>> round(weight.std().item(), 3)
    0.01
    """
    nn.init.normal_(weight, std=0.01)


@INITIALISATION.register("xavier", summary="U(±√(6 / (n_in + n_out))), for tanh and sigmoid (Glorot 2010, §4.2)")
def xavier(weight: Tensor, n_in: float, n_out: float) -> None:
    """Draw weights of variance 2 / (n_in + n_out), which keeps variances through linear units both ways.

    Source: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", §4.2.1.

    >>> xavier(weight := torch.empty(400, 200), 200, 400)
    >>> round(weight.abs().max().item(), 2)  # √(6 / 600)
    0.1
    """
    bound = math.sqrt(6 / (n_in + n_out))
    nn.init.uniform_(weight, -bound, bound)


@INITIALISATION.register("kaiming", summary="N(0, 2 / n_in), for ReLU (He 2015, §2.2)")
def kaiming(weight: Tensor, n_in: float, n_out: float = 1) -> None:
    """Draw weights of variance 2 / n_in, which keeps variances through ReLUs.

    Source: He et al. 2015, "Delving deep into rectifiers", section 2.2.

    >>> kaiming(weight := torch.empty(1000, 800), 800)
    >>> round(weight.std().item(), 2)  # √(2 / 800)
    0.05
    """
    nn.init.normal_(weight, std=math.sqrt(2 / n_in))


def initialise(model: nn.Module, rule: str) -> tuple[str, ...]:
    """Give the convolutions and linear layers of a network new weights, in place, and biases of 0.

    Args:
        model: any network.
        rule: a name of `INITIALISATION`.

    Returns:
        The names of the layers that were changed.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> initialise(net, "zero"), net[0].weight.abs().sum().item()
    (('0',), 0.0)
    """
    draw = INITIALISATION[rule].build
    names = []
    for name, layer in model.named_modules():
        if isinstance(layer, WEIGHTED):
            with torch.no_grad():
                draw(layer.weight, *fans(layer))
                if layer.bias is not None:
                    layer.bias.zero_()
            names.append(name)
    return tuple(names)
