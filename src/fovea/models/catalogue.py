"""One catalogue over timm, torchvision and our own: from a name, a folder or a file to a network with its classifier.

A plain name means timm where timm has it, else torchvision; `torchvision/NAME` asks for torchvision's variant. What
neither has is in `nets`, which timm is told of too: to everything below, our own networks are timm's. The preprocessing
that weights were trained with, their BatchNorm statistics and constructor arguments such as `pad_type` come along.
Reading files is `weights`' work, downloading is `hub`'s, listing what there is `listing`'s.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import timm
import torchvision
from timm.models import PretrainedCfg
from torch import nn

from fovea.core.errors import ModelError, UnknownName
from fovea.core.files import digest, plain
from fovea.models import heads, hub
from fovea.models.exchange import exchange, with_exchange, without_exchange
from fovea.models.nets import NETS
from fovea.models.weights import StateDict, fit, read_folder, read_state_dict, state_digest, weights_file

Library = Literal["timm", "torchvision", "fovea"]

# The best accuracy per second on a CPU among the networks that timm's hub holds; 3.5 M parameters, 0.3 GMAC at 224 px.
DEFAULT_NAME = "mobilenetv2_100.ra_in1k"
_TORCHVISION = "torchvision/"
LISTING = "fovea models lists all, and with part of a name those that have it"
# Names of architectures that none of the libraries uses for them.
ALIASES = {"inception_v1": "googlenet", "mobilenet_v1": "mobilenetv1_100", "xception": "legacy_xception"}
# Their published weights come without the auxiliary classifiers' use in inference, and expect TensorFlow's scaling.
_TORCHVISION_ARGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "transform_input": True, "init_weights": True},
    "inception_v3": {"aux_logits": False, "transform_input": True, "init_weights": True},
}
_TORCHVISION_SIZE = 224  # what its transformers are built for unless told otherwise, whatever their weights are for
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
PRETRAINED_KEYS = frozenset(field.name for field in dataclasses.fields(PretrainedCfg))
_SOURCE_KEYS = frozenset(("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load"))


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network ready to be trained, and everything needed to build it again.

    Attributes:
        model: in eval mode, with a classifier of the requested size.
        architecture: the name without a tag, as `timm.create_model` (for our own too) or
            `torchvision.models.get_model` takes it.
        model_args: constructor arguments that differ from the architecture's defaults.
        pretrained_cfg: timm's description of input and preprocessing, plain values under timm's own keys.
        library: where `architecture` is known.
        source: where the weights came from, in words.
        weights_digest: digest of the architecture, its arguments and all weights and statistics but the
            classifier's: equal digests mean equal features.
    """

    model: nn.Module
    architecture: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    library: Library
    source: str
    weights_digest: str


@dataclass(frozen=True)
class Plan:
    """What building a network takes; the attributes are those of `Loaded`, the tag is "" where none was given."""

    library: Library
    architecture: str
    tag: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]


def create(
    name: str | None,
    *,
    classes: int,
    weights: str | None,
    from_scratch: bool = False,
    drop_rate: float = 0.0,
    input_size: int | None = None,
    swap: Mapping[str, str] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Loaded:
    """Build a network with `classes` outputs, load its weights and exchange layers.

    Args:
        name: a name from the catalogue, with or without timm's tag; None takes what the weights' folder names, or
            else a default (`DEFAULT_NAME`; from scratch, `scratch_default`).
        classes: outputs of the classifier. Where the weights bring a classifier of that size it is kept.
        weights: None or "hub", a model folder (timm's format, also one that fovea saved), or a state-dict file.
        from_scratch: random weights.
        drop_rate: dropout before the classifier; those of torchvision's networks that have none (ResNets and their
            kin, DenseNets, RegNets, ShuffleNets, transformers) stay without.
        input_size: side in pixels; needed where a network is built for one size (vision transformers).
        swap: layers to exchange afterwards, as `ModelRecipe.exchanged` has them; BatchNorm's statistics then belong to
            the network as it was.
        say: told which layers were exchanged.

    Raises:
        UnknownName: no library knows the name.
        ModelError: the weights cannot be found, read or fitted, or there is nothing to exchange; the hint names a way
            out.

    >>> create("resnet10t", classes=3, weights=None, from_scratch=True).model.num_classes
    3
    """
    loaded = _created(
        name,
        classes=classes,
        weights=weights,
        from_scratch=from_scratch,
        drop_rate=drop_rate,
        input_size=input_size,
    )
    if not swap:
        return loaded
    exchange(loaded.model, swap, **_shape(loaded.pretrained_cfg), say=say)
    return readdressed(dataclasses.replace(loaded, model_args=with_exchange(loaded.model_args, swap)))


def readdressed(loaded: Loaded) -> Loaded:
    """Return the same with the digest of its weights as they are now, after they were changed."""
    address = _digest(loaded.library, loaded.architecture, loaded.model_args, loaded.model)
    return dataclasses.replace(loaded, weights_digest=address)


def _created(
    name: str | None,
    *,
    classes: int,
    weights: str | None,
    from_scratch: bool,
    drop_rate: float,
    input_size: int | None,
) -> Loaded:
    if from_scratch:
        return _from_scratch(name, classes=classes, drop_rate=drop_rate, input_size=input_size)
    if weights is None or weights == "hub":
        return _from_hub(name or DEFAULT_NAME, classes=classes, drop_rate=drop_rate, input_size=input_size)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _from_folder(path, name, classes=classes, drop_rate=drop_rate, input_size=input_size)
    if not path.exists():
        raise ModelError(f"no weights at {weights}", hint="pass a timm folder or a state-dict file to --weights")
    if (path.parent / "config.json").is_file() and path == weights_file(path.parent):  # it knows pad_type and the like
        return _from_folder(path.parent, name, classes=classes, drop_rate=drop_rate, input_size=input_size)
    return _from_file(path, name, classes=classes, drop_rate=drop_rate, input_size=input_size)


def resolve(name: str) -> tuple[Library, str, str]:
    """Return (library, architecture, tag) of a name; the tag is empty where none was given.

    Raises:
        UnknownName: suggests the nearest known name.

    >>> resolve("mobilenetv2_100.ra_in1k"), resolve("squeezenet1_0")[0], resolve("lenet5")[0]
    (('timm', 'mobilenetv2_100', 'ra_in1k'), 'torchvision', 'fovea')
    """
    architecture, _, tag = name.removeprefix(_TORCHVISION).partition(".")
    if name == architecture:
        architecture = ALIASES.get(name, name)
    library: Library
    if architecture in torchvision_names() and (name.startswith(_TORCHVISION) or not timm.is_model(architecture)):
        library = "torchvision"
    elif "/" not in name and timm.is_model(architecture):
        library = "fovea" if architecture in NETS else "timm"
    else:
        raise UnknownName("network", name, names(), listing=LISTING)
    if tag and tag not in (tags := weight_tags(library, architecture)):
        raise UnknownName(f"weights of {architecture}", tag, tags)
    return library, architecture, tag


def weight_tags(library: Library, architecture: str) -> tuple[str, ...]:
    """Return the tags of the published weights of an architecture, those that a plain name means first.

    >>> weight_tags("torchvision", "alexnet"), weight_tags("fovea", "lenet5")
    (('IMAGENET1K_V1',), ())
    """
    if library == "torchvision":
        weights = torchvision.models.get_model_weights(architecture)
        return (weights["DEFAULT"].name, *(item.name for item in weights if item is not weights["DEFAULT"]))
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    config = timm.get_pretrained_cfg(architecture)
    default = config.tag if config is not None else None
    return tuple(sorted(tags, key=lambda tag: tag != default))


def plan_of(name: str, *, input_size: int | None = None) -> Plan:
    """Return what building a network of the catalogue takes.

    Raises:
        UnknownName: no library knows the name.
    """
    library, architecture, tag = resolve(name)
    config = _default_config(library, architecture, tag)
    own_args = _TORCHVISION_ARGS.get(architecture, {}) if library == "torchvision" else {}
    model_args = _sized(config, dict(own_args), library, input_size)
    return Plan(library, architecture, tag, model_args, config)


def library_of(config: dict[str, Any]) -> Library:
    """Return the library that a model folder's config.json names; timm's own folders name none."""
    named: Any = config.get("library")
    return named if named in get_args(Library) else "timm"


def names() -> list[str]:
    """Return every name: timm's with and without tags, our own, torchvision's with and without prefix."""
    torchvisions = torchvision_names()
    prefixed = [_TORCHVISION + name for name in torchvisions]
    return sorted({*timm.list_models(), *timm.list_pretrained(), *torchvisions, *prefixed})


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build(
    library: Library,
    architecture: str,
    *,
    classes: int,
    model_args: dict[str, Any],
    pretrained_cfg: dict[str, Any] | None = None,
    drop_rate: float = 0.0,
) -> nn.Module:
    """Build a network with random weights, in eval mode.

    Args:
        pretrained_cfg: replaces timm's own description of the architecture's default weights.
    """
    own_args, swaps = without_exchange(model_args)
    try:
        if library == "torchvision":
            model = torchvision.models.get_model(architecture, weights=None, num_classes=classes, **own_args)
            head = heads.classifier_path(model).partition(".")[0]
            for path, module in model.named_modules():
                if isinstance(module, nn.Dropout) and (path.startswith(f"{head}.") or "." not in path):
                    module.p = drop_rate  # those within blocks and auxiliary heads are the design's own
        else:
            model = timm.create_model(
                architecture,
                pretrained=False,
                num_classes=classes,
                drop_rate=drop_rate,
                pretrained_cfg=pretrained_cfg,
                **own_args,
            )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{library} cannot build {architecture} with {model_args or 'its defaults'}: {error}",
            hint="check model_args and pretrained_cfg in config.json, or --set data.input_size",
        ) from error
    for swap in swaps:
        exchange(model, swap, **_shape(pretrained_cfg), say=lambda text: None)
    return model.eval()


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Return the layers whose shape depends on the number of classes; distilled transformers have two."""
    declared = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    return tuple(declared) if isinstance(declared, (tuple, list)) else (heads.classifier_path(model),)


def scratch_default(input_size: int) -> tuple[str, dict[str, Any]]:
    """Return (architecture, model_args) of a network to train from random weights at this input size.

    Up to 64 pixels a narrow ten-layer ResNet that halves the image four times instead of five. On scikit-learn's
    digits at 32 pixels it reaches 98 % in 4 epochs and 99.7 % in 8, after 5 and 9 s of one core; twice the channels
    take twice the time for the same accuracy, output_stride 8 costs 20 % more for less.

    >>> scratch_default(224)
    ('resnet18', {})
    """
    if input_size > 64:
        return "resnet18", {}
    return "resnet10t", {"stem_type": "", "channels": [16, 32, 64, 128], "output_stride": 16}


def _from_scratch(name: str | None, *, classes: int, drop_rate: float, input_size: int | None) -> Loaded:
    model_args: dict[str, Any] = {}
    if name is None:
        name, model_args = scratch_default(input_size or 224)
    plan = plan_of(name, input_size=input_size)
    config = plan.pretrained_cfg | {"crop_pct": 1.0}  # no weights that expect a crop
    for key in ("tag", "test_crop_pct"):
        config.pop(key, None)
    plan = dataclasses.replace(plan, model_args=plan.model_args | model_args, pretrained_cfg=config)
    return _loaded(_build(plan, classes=classes, drop_rate=drop_rate), plan, source="random weights")


def _from_hub(name: str, *, classes: int, drop_rate: float, input_size: int | None) -> Loaded:
    plan = plan_of(name, input_size=input_size)
    if plan.library == "fovea":
        raise ModelError(f"no weights of {plan.architecture} are published", hint=hub.WAYS_OUT)
    if plan.library == "timm":
        tagged = f"{plan.architecture}.{plan.tag}" if plan.tag else plan.architecture
        model = hub.timm_pretrained(tagged, classes=classes, model_args=plan.model_args, drop_rate=drop_rate).eval()
    else:
        address = torchvision.models.get_model_weights(plan.architecture)[plan.tag or "DEFAULT"].url
        state = hub.torchvision_pretrained(plan.architecture, address)
        model = _build(plan, classes=classes, drop_rate=drop_rate)
        _fit(model, state, source=address)
    return _loaded(model, plan, source=f"{plan.library}'s hub, {name}")


def _from_folder(folder: Path, name: str | None, *, classes: int, drop_rate: float, input_size: int | None) -> Loaded:
    config, state = read_folder(folder)
    stated = f"{_TORCHVISION if library_of(config) == 'torchvision' else ''}{config['architecture']}"
    library, architecture, own_tag = resolve(stated)
    described = _described(config) | {"architecture": architecture}
    tag = str(described.get("tag") or own_tag)
    if name is not None:
        _refuse_conflict(name, library, architecture, tag, folder)
    model_args = _sized(described, dict(config.get("model_args") or {}), library, input_size)
    plan = Plan(library, architecture, tag, model_args, described)
    model = _build(plan, classes=classes, drop_rate=drop_rate)
    _fit(model, state, source=str(folder))
    return _loaded(model, plan, source=str(folder))


def _from_file(path: Path, name: str | None, *, classes: int, drop_rate: float, input_size: int | None) -> Loaded:
    if name is None:
        raise ModelError(
            f"{path} does not say which network it belongs to", hint="name it, for example --model resnet18"
        )
    plan = plan_of(name, input_size=input_size)
    state = read_state_dict(path)
    model = _build(plan, classes=classes, drop_rate=drop_rate)
    _fit(model, state, source=str(path))
    return _loaded(model, plan, source=str(path))


def _build(plan: Plan, *, classes: int, drop_rate: float) -> nn.Module:
    return build(
        plan.library,
        plan.architecture,
        classes=classes,
        model_args=plan.model_args,
        pretrained_cfg=plan.pretrained_cfg,
        drop_rate=drop_rate,
    )


def _fit(model: nn.Module, state: StateDict, *, source: str) -> None:
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_AUXILIARY)}
    fit(model, state, classifiers=classifier_names(model), source=source)


def _loaded(model: nn.Module, plan: Plan, *, source: str) -> Loaded:
    return Loaded(
        model=model,
        architecture=plan.architecture,
        model_args=plan.model_args,
        pretrained_cfg=plan.pretrained_cfg,
        library=plan.library,
        source=source,
        weights_digest=_digest(plan.library, plan.architecture, plan.model_args, model),
    )


def _digest(library: Library, architecture: str, model_args: dict[str, Any], model: nn.Module) -> str:
    arguments = json.dumps(plain(model_args), sort_keys=True)
    return digest(library, architecture, arguments, state_digest(model, without=classifier_names(model)))


def _shape(config: Mapping[str, Any] | None) -> dict[str, int]:
    """Return channels and side of a network's images."""
    channels, side, _ = (config or {}).get("input_size") or (3, 224, 224)
    return {"channels": int(channels), "side": int(side)}


def _refuse_conflict(name: str, library: Library, architecture: str, tag: str, folder: Path) -> None:
    asked_library, asked, asked_tag = resolve(name)
    if "/" not in name and asked == architecture:
        asked_library = library  # a plain name that both libraries know
    if (asked_library, asked) != (library, architecture) or (asked_tag and tag and asked_tag != tag):
        own = f"{architecture}.{tag}" if tag else architecture
        raise ModelError(
            f"--model says {name}, but {folder} holds weights of {library}'s {own}",
            hint="drop --model, the folder names its network",
        )


def _described(config: dict[str, Any]) -> dict[str, Any]:
    """Return the pretrained_cfg of a folder; older and torchvision-format folders keep its keys at the top level."""
    inner = config.get("pretrained_cfg")
    found = inner if isinstance(inner, dict) else config
    known = {key: value for key, value in found.items() if key in PRETRAINED_KEYS - _SOURCE_KEYS}
    return known | {"num_classes": config.get("num_classes", known.get("num_classes"))}


def _default_config(library: Library, architecture: str, tag: str) -> dict[str, Any]:
    """Return what the library says about the input of its own weights."""
    if library != "torchvision":
        config = timm.get_pretrained_cfg(f"{architecture}.{tag}" if tag else architecture) or PretrainedCfg()
        known = config.to_dict(remove_source=True)
        return {key: value for key, value in known.items() if key not in _SOURCE_KEYS} | {"architecture": architecture}
    preset = torchvision.models.get_model_weights(architecture)[tag or "DEFAULT"].transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return {
        "architecture": architecture,
        "num_classes": 1000,
        "input_size": [3, crop, crop],
        "interpolation": preset.interpolation.value,
        "crop_pct": crop / resize,
        "mean": list(preset.mean),
        "std": list(preset.std),
    }


def _sized(
    config: dict[str, Any], model_args: dict[str, Any], library: Library, input_size: int | None
) -> dict[str, Any]:
    """Return model_args for another input size, and note it in `config`.

    Only networks that are built for one size need an argument: timm's say so, torchvision's are the transformers.
    """
    native = int((config.get("input_size") or (3, 224, 224))[-1])
    size = input_size or native
    if size != native:
        config["input_size"] = [3, size, size]
        config["pool_size"] = None  # belongs to the former size
        for key in ("test_input_size", "test_pool_size"):
            config.pop(key, None)
    architecture = str(config["architecture"])
    if library == "torchvision" and size != _TORCHVISION_SIZE and architecture.startswith("vit_"):
        return {**model_args, "image_size": size}
    if library == "torchvision" and size != _TORCHVISION_SIZE and architecture.startswith("maxvit_"):
        return {**model_args, "input_size": [size, size]}
    if library == "timm" and size != native and config.get("fixed_input_size"):
        return {**model_args, "img_size": size}
    return model_args
