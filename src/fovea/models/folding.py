"""BatchNorm folded into the convolution before it, and unfolded again.

With its statistics fixed, a BatchNorm is a scale and a shift per channel: folded into a convolution's weights it costs
nothing, forward or backward. `fold` gives such a network, for fast frozen passes and for fine-tuning with fixed
statistics; `unfold` writes what it learnt back into a network of the original architecture with the same outputs.
A pair is found by running the network once: a BatchNorm folds when its input is exactly a convolution's output.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Below this share of the largest scale a channel is as good as dead: dividing its weights by the scale would turn
# rounding errors into large numbers, so such a channel gets a neutral BatchNorm instead.
_SMALLEST_SCALE = 1e-5
_LARGEST_ERROR = 1e-3  # relative to the largest output; rounding stays below 1e-5, a wrong fold is of order 1


def fold(model: nn.Module, *, example: Tensor) -> nn.Module:
    """Return a copy of `model` in which every foldable BatchNorm is part of its convolution.

    Args:
        model: any network; its BatchNorm statistics are taken as they are.
        example: one input (1, 3, H, W) to run it on.

    Returns:
        A network in eval mode with the outputs of `model.eval()` up to rounding. Parameter names of what is left are
        unchanged; each folded BatchNorm is replaced by its activation, or by an identity. A network whose
        convolutions feed more than their BatchNorm comes back as a plain copy.

    Source: Jacob et al. 2018, §3.2 (equation 14).

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> folded = fold(net, example=(example := torch.ones(1, 3, 8, 8)))
    >>> [type(layer).__name__ for layer in folded], torch.allclose(folded(example), net(example), atol=1e-5)
    (['Conv2d', 'Identity', 'ReLU'], True)
    """
    folded = copy.deepcopy(model).eval()
    with torch.no_grad():
        expected = folded(example)
    for conv_name, norm_name in pairs(model, example=example):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm)
        scale, shift = _affine(norm)
        with torch.no_grad():
            conv.weight.mul_(scale[:, None, None, None])
            bias = shift if conv.bias is None else conv.bias * scale + shift
        conv.bias = nn.Parameter(bias.clone(), requires_grad=conv.weight.requires_grad)
        _replace(folded, norm_name, _activation(norm))
    with torch.no_grad():
        error = (folded(example) - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
    return folded if error < _LARGEST_ERROR else copy.deepcopy(model).eval()


@torch.no_grad()
def unfold(folded: nn.Module, model: nn.Module, *, example: Tensor) -> None:
    """Write the weights of `folded` (made from `model` by `fold`, then trained) into `model`, in place.

    Each BatchNorm keeps its statistics and its scale, so that they still describe what flows through; the
    convolution's weights are divided by the scale and the shift goes to the BatchNorm's bias.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    >>> folded = fold(net, example=(example := torch.ones(1, 3, 8, 8)))
    >>> _ = folded[0].weight.data.mul_(2.0)  # as if it had been trained
    >>> unfold(folded, net, example=example)
    >>> torch.allclose(net(example), folded(example), atol=1e-4)
    True
    """
    found = list(pairs(model, example=example))
    target, source = model.state_dict(), folded.state_dict()
    folded_biases = {f"{conv}.bias" for conv, _ in found}
    for name, value in source.items():
        if name not in folded_biases or name in target:
            target[name].copy_(value)
    for conv_name, norm_name in found:
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        trained = folded.get_submodule(conv_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm) and isinstance(trained, nn.Conv2d)
        assert norm.running_mean is not None and norm.running_var is not None and trained.bias is not None
        scale, _ = _affine(norm)
        dead = scale.abs() <= _SMALLEST_SCALE * scale.abs().max()
        norm.running_mean[dead], norm.running_var[dead], norm.weight[dead] = 0.0, 1.0, math.sqrt(1.0 + norm.eps)
        scale, _ = _affine(norm)
        conv.weight.copy_(trained.weight / scale[:, None, None, None])
        if conv.bias is not None:
            conv.bias.zero_()
        norm.bias.copy_(trained.bias + norm.running_mean * scale)


def pairs(model: nn.Module, *, example: Tensor) -> Iterator[tuple[str, str]]:
    """Yield (convolution, BatchNorm) names where the output of the one is the input of the other."""
    names = {module: name for name, module in model.named_modules()}
    made_by: dict[int, nn.Module] = {}
    kept: list[Tensor] = []  # holds outputs alive, so that an id is not used twice
    found: list[tuple[nn.Module, nn.Module]] = []
    calls: dict[nn.Module, int] = {}

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, _BatchNorm) and id(inputs[0]) in made_by:
            found.append((made_by[id(inputs[0])], module))
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
            kept.append(output)

    leaves = [module for module in model.modules() if isinstance(module, (nn.Conv2d, _BatchNorm))]
    handles = [module.register_forward_hook(after) for module in leaves]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for conv, norm in found:
        if calls[conv] == calls[norm] == 1 and _is_plain(norm):
            yield names[conv], names[norm]


def _is_plain(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.affine and norm.running_mean is not None


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the scale and shift (C,) that a BatchNorm with fixed statistics applies."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


def _activation(norm: nn.Module) -> nn.Module:
    """Return what a BatchNorm layer does after normalising: timm's BatchNormAct2d carries dropout and an activation."""
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    steps = [step for step in (drop, act) if step is not None and not isinstance(step, nn.Identity)]
    return nn.Identity() if not steps else steps[0] if len(steps) == 1 else nn.Sequential(*steps)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
