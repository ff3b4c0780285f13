"""Optimisers by name, and the parameter groups they get: decay only on weights, slower learning far from the head.

Wraps `torch.optim`; adds only the defaults that suit fine-tuning small data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from fovea.core.recipe import TrainRecipe
from fovea.core.registry import Registry

Groups = list[dict[str, Any]]
Build = Callable[[Groups, float, TrainRecipe], torch.optim.Optimizer]

OPTIMISERS: Registry[Build] = Registry("optimizer")

# Peak learning rates for fine-tuning at batch 32; from scratch they are multiplied by SCRATCH_FACTOR.
DEFAULT_LR = {"sgd": 0.01, "adagrad": 0.01, "rmsprop": 3e-4, "adadelta": 0.5, "adam": 5e-4, "adamw": 5e-4}
SCRATCH_FACTOR = 4.0


@OPTIMISERS.register("sgd", summary="stochastic gradient descent with momentum and Nesterov's correction")
def _sgd(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    nesterov = settings.nesterov and settings.momentum > 0
    return torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, nesterov=nesterov)


@OPTIMISERS.register("adagrad", summary="step per weight by the sum of its squared gradients (Duchi 2011)")
def _adagrad(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    return torch.optim.Adagrad(groups, lr=lr)


@OPTIMISERS.register("rmsprop", summary="step per weight by a running mean of its squared gradients (Hinton 2012)")
def _rmsprop(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, lr=lr, momentum=settings.momentum)


@OPTIMISERS.register("adadelta", summary="Adagrad with a window, units corrected (Zeiler 2012)")
def _adadelta(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    return torch.optim.Adadelta(groups, lr=lr)


@OPTIMISERS.register("adam", summary="running means of gradient and squared gradient (Kingma & Ba 2015)")
def _adam(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=lr)


@OPTIMISERS.register("adamw", summary="Adam with weight decay taken out of the gradient (Loshchilov & Hutter 2019)")
def _adamw(groups: Groups, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr)


def build_optimiser(groups: Groups, *, lr: float, settings: TrainRecipe) -> torch.optim.Optimizer:
    """Build the optimiser that the recipe names.

    Args:
        groups: from `parameter_groups`; each group's `lr` is `lr` times its `lr_scale`.
        lr: peak learning rate of the stage nearest to the head.
        settings: the recipe's `train` part.

    Raises:
        UnknownName: no such optimiser.
    """
    build = OPTIMISERS[settings.optimizer].build
    scaled = [{**group, "lr": lr * group["lr_scale"]} for group in groups]
    return build(scaled, lr, settings)


def peak_lr(settings: TrainRecipe, *, from_scratch: bool, devices: int) -> float:
    """Return the peak learning rate: the recipe's, else the optimiser's default; times the devices if per device.

    Source of the multiplication: Goyal et al. 2017, §2.1, the linear scaling rule.
    """
    lr = settings.lr
    if lr is None:
        lr = DEFAULT_LR[OPTIMISERS[settings.optimizer].name] * (SCRATCH_FACTOR if from_scratch else 1.0)
    return lr * devices if settings.batch_size_is == "per_device" else lr


def parameter_groups(
    module: nn.Module, stages: Sequence[Iterable[str]], *, weight_decay: float, layer_decay: float
) -> Groups:
    """Split the trainable parameters by stage and by kind.

    Args:
        module: the network whose parameters are named in `stages`.
        stages: parameter names from stem to head; parameters named nowhere are an error.
        weight_decay: for weights; biases, normalisation and other vectors get none.
        layer_decay: stage s of S learns at `layer_decay ** (S - 1 - s)` of the peak rate (Howard & Ruder 2018, §3.1).

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> stages = [["0.weight", "0.bias"], ["1.weight", "1.bias"]]
    >>> groups = parameter_groups(net, stages, weight_decay=0.1, layer_decay=0.5)
    >>> [(group["lr_scale"], group["weight_decay"]) for group in groups]
    [(0.5, 0.1), (0.5, 0.0), (1.0, 0.1), (1.0, 0.0)]
    """
    parameters = dict(module.named_parameters())
    named = [list(stage) for stage in stages]
    missing = set(parameters) - {name for stage in named for name in stage}
    if missing:
        raise ValueError(f"{len(missing)} parameters belong to no stage, for example {min(missing)}")
    groups: Groups = []
    for position, stage in enumerate(named):
        scale = layer_decay ** (len(named) - 1 - position)
        trainable = [parameters[name] for name in stage if name in parameters and parameters[name].requires_grad]
        for decay, members in (
            (weight_decay, [parameter for parameter in trainable if parameter.ndim > 1]),
            (0.0, [parameter for parameter in trainable if parameter.ndim <= 1]),
        ):
            if members:
                groups.append({"params": members, "weight_decay": decay, "lr_scale": scale})
    return groups
