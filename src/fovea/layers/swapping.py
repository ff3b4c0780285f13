"""Exchange all layers of a kind in a network: its pooling, its normalisation, its activations.

Works on any network made of modules. What a forward calls as a function (`F.max_pool2d`) is no module and stays.
A pretrained network has to get used to what is new: let `swap` estimate its BatchNorm anew on `batches`, or fine-tune,
before judging it.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from fovea.core.errors import ModelError
from fovea.core.wording import counted, listed
from fovea.layers.families import FAMILIES, Build, options_of
from fovea.layers.kinds import KINDS, Place, survey
from fovea.layers.modes import evaluating
from fovea.layers.recalibration import recalibrate

Where = str | Callable[[str, nn.Module], bool]


@dataclass(frozen=True, kw_only=True)
class Swapped:
    """What `swap` did.

    Attributes:
        names: for each kind that was asked for, the names of the layers that it matched.
        wanted: for each kind, the name of what stands there now.
        left: layers that look like the kind and stay, by name, with the reason.
        recalibrated: the names of the BatchNorms whose statistics were estimated anew.
    """

    names: dict[str, tuple[str, ...]]
    wanted: dict[str, str]
    left: dict[str, str]
    recalibrated: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{counted(len(names), f'{KINDS[kind]} layer')} -> {self.wanted[kind]}: {listed(names)}"
            for kind, names in self.names.items()
        ]
        lines += [f"left alone: {name}, {why}" for name, why in self.left.items()]
        if self.recalibrated:
            lines.append(f"{counted(len(self.recalibrated), 'BatchNorm')} estimated anew")
        return "\n".join(lines)


def swap(
    model: nn.Module,
    *,
    pool: str | Build | None = None,
    global_pool: str | Build | None = None,
    norm: str | Build | None = None,
    act: str | Build | None = None,
    where: Where = "*",
    example: Tensor | None = None,
    batches: Iterable[Tensor | Sequence[Tensor]] | None = None,
    say: Callable[[str], object] = print,
) -> Swapped:
    """Exchange every layer of the kinds that are named, in place (on a copy: `swap(copy.deepcopy(model), …)`).

    A replacement keeps the kernel, stride, padding, dilation, ceil_mode, channels, ε and momentum of what it replaces,
    its device, type and mode. Scales, shifts and running statistics are carried over where both have them, and so is
    what timm builds into its normalisation layers, dropout and activation. A layer that is what was asked for stays.
    Squeeze-and-excitation blocks stay whole: their pooling is a summary, their sigmoid a gate. If anything fails the
    network is as it was.

    Args:
        model: any network; it must not be itself the layer.
        pool: max and average pooling become this: a name of `POOLING`, or a function that builds a layer from the same
            keyword arguments, for example `partial(MixedPool2d, alpha=0.9)`.
        global_pool: pooling of whole maps becomes this, another name of `POOLING`.
        norm: likewise, of `NORMALISATION`.
        act: likewise, of `ACTIVATION`.
        where: which layers, by name: a glob such as `"layer3.*"`, or a function of name and layer.
        example: images (B,3,H,W), for a replacement that must know its channels where the old layer does not.
        batches: training images, as `recalibrate` takes them: BatchNorm's statistics are estimated anew on them.
            Without, they stay those of the network as it was.
        say: is told how many layers matched, and which.

    Returns:
        Which layers were matched, and which were left alone and why.

    Raises:
        ModelError: nothing matches a kind that was named; the hint lists what there is.
        UnknownName: no such entry.
        ValueError: nothing is named, or the replacement cannot be built from what is known.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    >>> swapped = swap(net, pool="softpool", act="mish")
    1 pooling layer -> softpool: 2
    1 activation layer -> mish: 1
    >>> net = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3))
    >>> swapped = swap(net, pool="average", batches=[torch.rand(8, 3, 4, 4)])
    1 pooling layer -> average: 0
    1 BatchNorm estimated anew
    """
    choices = {"pool": pool, "global_pool": global_pool, "norm": norm, "act": act}
    asked = {kind: choice for kind, choice in choices.items() if choice is not None}
    if not asked:
        raise ValueError(f"nothing to exchange: name at least one of {listed(list(KINDS))}")
    builds = {kind: _build(kind, choice) for kind, choice in asked.items()}
    matched = {kind: _matching(model, kind, where) for kind in asked}
    for kind, places in matched.items():
        if all(place.left for place in places):
            raise _nothing(model, kind, where, places)
    places = [place for place in itertools.chain(*matched.values()) if not place.left]
    channels = _channels(model, [place for place in places if "channels" in _unmet(builds[place.kind], place)], example)
    replacements = _replacements(model, places, asked, builds, channels)
    for place in places:
        model.set_submodule(place.name, replacements[place.layer])
    try:
        recalibrated = () if batches is None else recalibrate(model, batches)
    except BaseException:
        for place in places:
            model.set_submodule(place.name, place.layer)
        raise
    swapped = Swapped(
        names={kind: tuple(place.name for place in places if place.kind == kind) for kind in asked},
        wanted={kind: choice if isinstance(choice, str) else _called(choice) for kind, choice in asked.items()},
        left={place.name: place.left for place in itertools.chain(*matched.values()) if place.left},
        recalibrated=recalibrated,
    )
    say(str(swapped))
    return swapped


def _build(kind: str, choice: str | Build) -> Build:
    family = "pool" if kind == "global_pool" else kind
    build = FAMILIES[family][choice].build if isinstance(choice, str) else choice
    if family == "pool" and "kernel_size" not in options_of(build):
        raise ValueError(f"{choice!r} takes no kernel_size, so it cannot stand where {KINDS[kind]} stands")
    return build


def _called(build: Build) -> str:
    return getattr(getattr(build, "func", build), "__name__", repr(build))


def _matching(model: nn.Module, kind: str, where: Where) -> list[Place]:
    return [
        place
        for place in survey(model)
        if place.kind == kind
        and (fnmatchcase(place.name, where) if isinstance(where, str) else where(place.name, place.layer))
    ]


def _nothing(model: nn.Module, kind: str, where: Where, left: Iterable[Place]) -> ModelError:
    """Return the error that nothing matches, with what there is."""
    there = {each: [place.name for place in survey(model) if place.kind == each and not place.left] for each in KINDS}
    inventory = [
        f"{counted(len(names), f'{KINDS[each]} layer')} ({listed(names)})" for each, names in there.items() if names
    ]
    sorts = [f"it has {'; '.join(inventory)}" if inventory else "it has no layer that could be exchanged"]
    sorts += [f"{place.name} stays: {place.left}" for place in left]
    sorts += ["what its forward calls as a function, such as F.max_pool2d, is no layer and cannot be exchanged"]
    scope = "" if where == "*" else f" that matches {where!r}" if isinstance(where, str) else " that `where` accepts"
    return ModelError(f"{type(model).__name__} has no {KINDS[kind]} layer{scope}", hint=". ".join(sorts))


def _unmet(build: Build, place: Place) -> list[str]:
    """Return what the replacement must be told and the old layer cannot tell."""
    return [name for name, required in options_of(build).items() if required and name not in place.options]


def _channels(model: nn.Module, places: list[Place], example: Tensor | None) -> dict[nn.Module, int]:
    """Run the network on an example and return how many channels reach each place."""
    if not places:
        return {}
    if example is None:
        raise ValueError(f"what replaces {places[0].name} must know its channels: pass example=, a batch of images")
    seen: dict[nn.Module, set[int]] = {place.layer: set() for place in places}
    handles = [
        layer.register_forward_pre_hook(lambda layer, inputs: seen[layer].add(inputs[0].shape[1])) for layer in seen
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    for place in places:
        if len(seen[place.layer]) != 1:
            raise ValueError(
                f"{place.name} sees maps of {listed([str(n) for n in sorted(seen[place.layer])]) or 'no'} channels; "
                "its replacement needs one number: leave it out with where="
            )
    return {layer: numbers.pop() for layer, numbers in seen.items()}


def _replacements(
    model: nn.Module,
    places: list[Place],
    asked: dict[str, str | Build],
    builds: dict[str, Build],
    channels: dict[nn.Module, int],
) -> dict[nn.Module, nn.Module]:
    """Build what comes in place of each layer: one for a layer, under however many names it goes."""
    made: dict[nn.Module, nn.Module] = {}
    like = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0))
    for place in places:
        if place.name == "":
            raise ValueError("the network is itself the layer; put it into nn.Sequential to have it exchanged")
        known = place.options | ({"channels": channels[place.layer]} if place.layer in channels else {})
        new = _fresh(builds[place.kind], place, known)
        if isinstance(asked[place.kind], str) and type(new) is type(place.layer):
            made[place.layer] = place.layer
            continue
        _carry(place.layer, new)
        new = _with_rest(place, new)
        reference = next(itertools.chain(place.layer.parameters(), place.layer.buffers()), like)
        made[place.layer] = new.to(reference.device, reference.dtype).train(place.layer.training)
    return made


def _fresh(build: Build, place: Place, known: dict[str, Any]) -> nn.Module:
    takes = options_of(build)
    if "dilation" in known and "dilation" not in takes:
        raise ValueError(f"{place.name} is dilated, and what should replace it cannot be: leave it out with where=")
    return build(**{name: value for name, value in known.items() if name in takes})


@torch.no_grad()
def _carry(old: nn.Module, new: nn.Module) -> None:
    """Copy scale, shift and running statistics where both layers have them for the same channels."""
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        source, target = getattr(old, name, None), getattr(new, name, None)
        if isinstance(source, Tensor) and isinstance(target, Tensor) and source.shape == target.shape:
            target.copy_(source)


def _with_rest(place: Place, new: nn.Module) -> nn.Module:
    """Add what the old layer did besides: timm's normalisation drops out and activates, its pooling flattens."""
    if place.options.get("flatten"):
        return nn.Sequential(new, nn.Flatten())
    rest = {name: getattr(place.layer, name, None) for name in ("drop", "act")} if place.kind == "norm" else {}
    kept = {name: step for name, step in rest.items() if step is not None and not isinstance(step, nn.Identity)}
    return nn.Sequential(OrderedDict(norm=new, **kept)) if kept else new
