"""Descriptions of the things that take part in a training, made once when each is met."""

from __future__ import annotations

import difflib
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset, WeightedRandomSampler

from fovea.doctor.record import MOST_VALUES, Group, Layer, Loader, Loss, Mistyped, Network, Optimiser, Parameter
from fovea.doctor.tensors import equal_rows, is_leaf, spread

_SETTINGS = ("p", "momentum", "eps", "in_features", "out_features", "in_channels", "out_channels", "groups",
             "kernel_size", "stride", "dilation", "padding", "num_features", "negative_slope", "affine")  # fmt: skip
_OF_ALL = (RandomSampler, SequentialSampler, WeightedRandomSampler)
_MOVING = ("RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation", "RandomAffine", "RandomPerspective",
           "RandomCrop", "RandomResizedCrop")  # fmt: skip
_MASKS, _MASKS_A_CALL = 1000, 64  # that are looked at
_MOST_LABEL_CLASSES = 100_000
_ONE_LABEL = 1.5  # in sum
_ABOVE_ZERO = 1e-4  # what rounding leaves of the logarithm of 1
_UNEVEN = 2.5  # times the variation of rows drawn alike; ImageNet's weights have 4 to 15
_ALIKE = 1.6  # times that variation, up to which rows may have been drawn alike


def network(module: nn.Module, known: Container[int] = ()) -> Network:
    """Describe a network and its parameters, as they are now; parameters whose ids are known belong to another one."""
    whole = getattr(module, "_orig_mod", module)  # what a compiled wrapper holds
    kinds = dict(named_modules(whole))
    parameters = {}
    for name, parameter in named_parameters(whole):
        if id(parameter) in known:
            continue
        owner = name.rpartition(".")[0]
        values = parameter.detach()
        parameters[name] = Parameter(
            name=name,
            module=owner,
            kind=type(kinds[owner]).__name__,
            shape=tuple(values.shape),
            trainable=parameter.requires_grad,
            first_std=float(spread(values.float().flatten(), [0])) if values.numel() > 1 else float("nan"),
            equal_rows=equal_rows(values) if values.ndim >= 2 else float("nan"),
            uneven_rows=_uneven_rows(values),
        )
    layers = {
        name: Layer(name=name, kind=type(layer).__name__, settings=_settings(layer))
        for name, layer in kinds.items()
        if is_leaf(layer)
    }
    return Network(
        kind=type(whole).__name__,
        parameters=parameters,
        layers=layers,
        compiled=bool(compiled_parts(module)),
        pretrained_hint=_looks_trained(parameters, kinds),
    )


def named_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a network's modules by name, those too that it holds in plain lists or dicts, where PyTorch misses them."""
    known: set[int] = set()
    waiting = [("", module)]
    while waiting:
        prefix, each = waiting.pop(0)
        for name, inner in each.named_modules(prefix=prefix):
            if id(inner) not in known:
                known.add(id(inner))
                yield name, inner
                waiting += [(f"{name}.{place}".lstrip("."), held) for place, held in _held(inner)]


def _held(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules within the plain lists, tuples and dicts among a module's attributes."""
    for name, value in vars(module).items():
        if name.startswith("_"):  # PyTorch's own, and what is hidden on purpose
            continue
        items = (
            enumerate(value) if isinstance(value, (list, tuple)) else value.items() if isinstance(value, dict) else ()
        )
        yield from ((f"{name}[{key!r}]", item) for key, item in items if isinstance(item, nn.Module))


def named_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of all of `named_modules`, each once."""
    known: set[int] = set()
    for owner, each in named_modules(module):
        for name, parameter in each.named_parameters(prefix=owner, recurse=False):
            if id(parameter) not in known:
                known.add(id(parameter))
                yield name, parameter


def fresh_norms(module: nn.Module) -> list[str]:
    """Return the BatchNorm layers whose running statistics are still the 0 and 1 that they began with."""
    return [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm)
        and layer.running_mean is not None
        and layer.running_var is not None
        and not bool(layer.running_mean.any())
        and bool((layer.running_var == 1).all())
    ]


def kept_fresh(module: nn.Module, facts: Network) -> list[str]:
    """Return the weights that are frozen, look freshly drawn, and have stayed as they were when they were met.

    Copies that follow other weights, as a momentum encoder does, are frozen too, but move.
    """
    found = []
    for name, parameter in named_parameters(getattr(module, "_orig_mod", module)):
        known = facts.parameters.get(name)
        if known is None or known.trainable or parameter.requires_grad or not has_usual_spread(known):
            continue
        if known.uneven_rows < _ALIKE and float(spread(parameter.detach().float().flatten(), [0])) == known.first_std:
            found.append(name)
    return found


def mistyped_switches(module: nn.Module) -> list[Mistyped]:
    """Return what was meant to be `requires_grad` of parameters, is no switch at all, and would have changed them.

    Modules have no `requires_grad`, and any misspelt attribute of a parameter is taken without a word.

    >>> net = nn.Linear(2, 2).requires_grad_(False)
    >>> net.weight.require_grad = True
    >>> mistyped_switches(net)
    [Mistyped(name='weight', attribute='require_grad', value=True, parameters=['weight'])]
    """
    set_on = [(name, "requires_grad", each) for name, each in module.named_modules()]
    for name, parameter in module.named_parameters():
        near = difflib.get_close_matches("requires_grad", vars(parameter), n=1, cutoff=0.8)
        set_on += [(name, attribute, parameter) for attribute in near]
    found = []
    for name, attribute, owner in set_on:
        value = vars(owner).get(attribute)
        if not isinstance(value, bool):
            continue
        within = owner.named_parameters(prefix=name) if isinstance(owner, nn.Module) else [(name, owner)]
        meant = [each for each, parameter in within if parameter.requires_grad is not value]
        found += [Mistyped(name, attribute, value, meant)] if meant else []
    return found


def compiled_parts(module: nn.Module) -> list[str]:
    """Return the kinds of the modules within one, itself included, that are compiled."""
    found = []
    for each in module.modules():
        inner = each.__dict__.get("_modules", {}).get("_orig_mod")
        if inner is not None or each.__dict__.get("_compiled_call_impl") is not None:
            found.append(type(each if inner is None else inner).__name__)
    return found


def _looks_trained(parameters: Mapping[str, Parameter], kinds: Mapping[str, nn.Module]) -> bool:
    """Whether normalisation layers have scales that differ, or, without any, units weights of different sizes."""
    norms = [each for name, each in parameters.items() if name.endswith("weight") and len(each.shape) == 1]
    norms = [each for each in norms if isinstance(kinds[each.module], (_NormBase, nn.GroupNorm, nn.LayerNorm))]
    if norms:
        return sum(each.first_std > 1e-4 for each in norms) > 0.5 * len(norms)
    uneven = [each.uneven_rows for each in parameters.values() if math.isfinite(each.uneven_rows)]
    return len(uneven) >= 3 and sum(each > _UNEVEN for each in uneven) > 0.7 * len(uneven)


def _uneven_rows(values: torch.Tensor) -> float:
    """Return how much the spread of the rows of a weight varies, in units of what it does in weights drawn alike.

    Any initialisation draws all rows of a weight alike; training makes some units strong and others weak. NaN where
    rows are too few or too short to tell.
    """
    if values.ndim < 2 or len(values) < 8 or values[0].numel() < 16 or not values.is_floating_point():
        return float("nan")
    spreads = spread(values.detach().flatten(1).float(), [1])
    mean = float(spreads.mean())
    return float(spreads.std()) / mean * math.sqrt(2 * values[0].numel()) if mean > 0 else float("nan")


def has_usual_spread(parameter: Parameter) -> bool:
    """Whether a weight has the spread of one of the usual initialisations."""
    if len(parameter.shape) < 2 or not math.isfinite(parameter.first_std):
        return False
    fan_in = math.prod(parameter.shape[1:])
    fan_out = parameter.shape[0] * math.prod(parameter.shape[2:])
    usual = [math.sqrt(share / fan) for fan in (fan_in, fan_out) for share in (1 / 3, 1, 2)]
    usual += [math.sqrt(2 / (fan_in + fan_out)), 0.01, 0.02]
    loose = max(0.08, 3 / math.sqrt(2 * math.prod(parameter.shape)))
    return any(abs(parameter.first_std / one - 1) < loose for one in usual)


def _settings(layer: nn.Module) -> dict[str, Any]:
    found = {}
    for name in _SETTINGS:
        value = getattr(layer, name, None)
        if isinstance(value, (bool, int, float, str)) or (
            isinstance(value, tuple) and all(isinstance(item, int) for item in value)
        ):
            found[name] = value
    if isinstance(getattr(layer, "bias", None), nn.Parameter):
        found["bias"] = True
    return found


def in_training(module: nn.Module) -> bool:
    """Whether a network is in training mode.

    Its layers tell, not its own flag, which means nothing where only what is within it is set: Lightning's module,
    timm's task. Of the layers those with weights that are trained: a frozen body may well be in evaluation mode.
    """
    trained = False  # whether any layer is
    for each in module.modules():  # ends at once for a network in training: it is asked at every step
        for parameter in each._parameters.values():
            if parameter is not None and parameter.requires_grad:
                if each.training:
                    return True
                trained = True
                break
    return module.training and not trained


def minds_mode(module: nn.Module) -> bool:
    """Whether a network has layers in training mode that behave otherwise in evaluation.

    Not while BatchNorm gathers its statistics anew, which is what `update_bn` of averaged weights does.
    """
    gathers = drops = False
    for layer in module.modules():
        if layer.training and isinstance(layer, _BatchNorm):
            if layer.momentum is not None:
                return True
            gathers = True
        drops |= layer.training and isinstance(layer, _DropoutNd) and layer.p > 0
    return drops and not gathers


def optimiser(optimizer: Optimizer) -> Optimiser:
    """Describe an optimiser as it is now, without the names of its parameters."""
    groups = [
        Group([], {name: value for name, value in group.items() if name != "params" and _is_plain(value)})
        for group in optimizer.param_groups
    ]
    return Optimiser(kind=getattr(optimizer, "kind", type(optimizer).__name__), groups=groups, where=None)


def assign(
    optimizer: Optimizer,
    known: Optimiser,
    names: Mapping[int, tuple[int, str]],
    networks: Sequence[Mapping[str, Parameter]],
) -> None:
    """Write down which parameters an optimiser has, and mark them.

    Args:
        known: what is known of the optimiser; groups that it had not then are added.
        names: of parameters by their ids, each with the place of its network.
        networks: the parameters of each network by name.
    """
    known.groups += optimiser(optimizer).groups[len(known.groups) :]
    for group, facts in zip(optimizer.param_groups, known.groups, strict=False):
        own = [names[id(parameter)] for parameter in group["params"] if id(parameter) in names]
        for place, name in own:
            networks[place][name].optimised = True
        facts.names = [name for _, name in own]


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(isinstance(item, (int, float)) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def loader(given: DataLoader[Any]) -> Loader:
    """Describe a DataLoader."""
    sampler = given.sampler
    batches = given.batch_sampler
    if type(batches) is BatchSampler:
        sampler = batches.sampler  # where the batches' sampler was given, the loader's own is a mere placeholder
    shuffled = None
    if isinstance(sampler, (RandomSampler, WeightedRandomSampler)):
        shuffled = True
    elif isinstance(sampler, SequentialSampler) and (batches is None or type(batches) is BatchSampler):
        shuffled = False
    try:
        images = len(given.dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        images = None
    dataset: Any = given.dataset
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    transforms = getattr(dataset, "transform", None) or getattr(dataset, "transforms", None)
    return Loader(
        batch_size=given.batch_size or getattr(batches, "batch_size", None),
        shuffled=shuffled,
        drop_last=bool(given.drop_last),
        images=images,
        transforms=" ".join(", ".join(map(repr, _steps(transforms))).split()) if transforms is not None else "",
        moves=[type(each).__name__ for each in _steps(transforms) if _moves_images_alone(each)],
        # a sampler of one's own may well choose a part: of one dataset, one for training and one for evaluation
        dataset=id(given.dataset if isinstance(sampler, _OF_ALL) else sampler),
    )


def _steps(transform: Any) -> list[Any]:
    """Return the transforms that one is made of, also where a class of somebody's own holds them."""
    inner = getattr(transform, "transforms", None)
    if isinstance(inner, (list, tuple)):
        return [each for one in inner for each in _steps(one)]
    return [transform] if inner is None or inner is transform else _steps(inner)


def _moves_images_alone(transform: Any) -> bool:
    """Whether it is one of torchvision's first version, which know nothing of targets, and moves images at random."""
    kind = type(transform)
    return kind.__module__ == "torchvision.transforms.transforms" and kind.__name__ in _MOVING


def add_loss_call(kind: Loss, scores: torch.Tensor, target: torch.Tensor | None) -> None:
    """Look at the scores and the labels of one call of a loss."""
    kind.looked_at += 1
    if kind.looked_at == 1:
        kind.scores_shape = tuple(scores.shape)
        kind.target_shape = () if target is None else tuple(target.shape)
    if scores.ndim >= 2:
        kind.classes = scores.shape[1]
        rows = scores.float().sum(dim=1)
        kind.rows_sum_to_one += bool((scores >= 0).all() and ((rows - 1).abs() < 1e-2).all())
    if scores.numel():
        low, high = (float(value) for value in torch.aminmax(scores.float()))
        kind.within_unit += low >= 0 and high <= 1
        kind.above_zero += high > _ABOVE_ZERO
    if target is None:
        return
    if target.is_floating_point() and target.ndim == 2 and target.shape == scores.shape:
        kind.several += bool((target.sum(dim=1) > _ONE_LABEL).any())
    kind.labels_dtype = str(target.dtype).removeprefix("torch.")
    if target.is_floating_point() and target.numel() and target.ndim <= 2 and target.shape[1:].numel() == 1:
        _add_whole(kind, target)
    if target.is_floating_point() or target.numel() == 0:
        return
    kept = target[target >= 0] if kind.name in ("cross_entropy", "nll_loss") else target  # -100 is "ignore"
    if kept.numel() == 0:
        return
    if target.ndim == 3 and scores.ndim == 4 and kind.classes:
        _add_masks(kind, target, kind.classes)
    first, last = (int(value) for value in torch.aminmax(kept))
    kind.labels_lowest = first if kind.labels_lowest is None else min(first, kind.labels_lowest)
    kind.labels_highest = last if kind.labels_highest is None else max(last, kind.labels_highest)
    if first >= 0 and last < _MOST_LABEL_CLASSES:
        counts = np.bincount(kept.flatten().cpu().numpy(), minlength=max(last + 1, kind.classes or 0))
        known = np.zeros(0, np.int64) if kind.label_counts is None else kind.label_counts
        size = max(len(known), len(counts))
        kind.label_counts = np.pad(known, (0, size - len(known))) + np.pad(counts, (0, size - len(counts)))


def _add_masks(kind: Loss, masks: torch.Tensor, classes: int) -> None:
    """Count, for some masks (B, H, W), how many classes each holds, and whether these are the first ones."""
    if kind.held is None or kind.held_from_0 is None:
        kind.held, kind.held_from_0 = np.zeros(classes + 1, np.int64), np.zeros(classes + 1, np.int64)
    if kind.held.sum() >= _MASKS:
        return
    some = masks[:_MASKS_A_CALL].detach().flatten(1).long()  # (B, H*W)
    known = (some >= 0) & (some < classes)
    rows = torch.arange(len(some), device=some.device)[:, None].expand_as(some)
    counts = torch.bincount((rows * classes + some)[known], minlength=len(some) * classes)
    there = (counts.reshape(len(some), classes) > 0).cpu().numpy()
    held, highest = there.sum(axis=1), classes - there[:, ::-1].argmax(axis=1)
    np.add.at(kind.held, held, 1)
    np.add.at(kind.held_from_0, held[held == highest], 1)


def _add_whole(kind: Loss, target: torch.Tensor) -> None:
    """Count targets of numbers while all of them are whole ones from 0 on and few."""
    if kind.whole_counts is None:
        return
    values = target.detach().flatten()
    if bool((values != values.round()).any()) or float(values.min()) < 0 or float(values.max()) >= MOST_VALUES:
        kind.whole_counts = None
        return
    kind.whole_counts = kind.whole_counts + np.bincount(values.long().cpu().numpy(), minlength=MOST_VALUES)
