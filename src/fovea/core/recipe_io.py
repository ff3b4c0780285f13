"""Reading, checking, overriding and writing recipes: all faults at once, each with its path and a suggestion."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fovea.core.errors import RecipeError, nearest
from fovea.core.recipe import Recipe


def build_recipe(*layers: Mapping[str, Any], overrides: Iterable[str] = ()) -> Recipe:
    """Merge layers (later wins) and `key=value` overrides over the defaults and check every value.

    Args:
        layers: nested mappings such as a parsed YAML file.
        overrides: command-line settings, for example `train.epochs=3`; values are parsed as YAML.

    Raises:
        RecipeError: listing every fault with its path.

    >>> build_recipe({"train": {"epochs": 2}}, overrides=["train.lr=0.1"]).train.lr
    0.1
    """
    faults: list[str] = []
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            faults.append(f"--set {override!r}: expected key=value, for example train.epochs=3")
            continue
        try:
            _merge(merged, _nest(key.strip().split("."), _parse(text)))
        except yaml.YAMLError:
            faults.append(f"{key}: cannot read the value {text!r}")
    recipe = _build(Recipe, merged, "", faults)
    if not faults:
        faults += _contradictions(recipe)
    if faults:
        many = f"{len(faults)} settings are wrong" if len(faults) > 1 else "a setting is wrong"
        raise RecipeError(
            f"{many}:\n" + "\n".join(f"  {fault}" for fault in faults),
            hint="fovea train DATA --show-recipe lists every setting",
        )
    return recipe


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with other values for some settings, each named by its path; checked as `build_recipe` does.

    >>> changed(Recipe(), {"train.lr": 0.1, "seed": 3}).train.lr
    0.1
    """
    layer: dict[str, Any] = {}
    for path, value in settings.items():
        _merge(layer, _nest(path.split("."), value))
    return build_recipe(dataclasses.asdict(recipe), layer)


def parse_values(text: str) -> tuple[str, list[Any]]:
    """Read a setting with several values, as a comparison has it; `own` leaves the choice open.

    Raises:
        RecipeError: it has no `=`, or a value is empty.

    >>> parse_values("model.pool=own,softpool")
    ('model.pool', [None, 'softpool'])
    """
    key, separator, listing = text.partition("=")
    values = [value.strip() for value in listing.split(",")]
    if not separator or values == [""]:
        raise RecipeError(f"{text!r} names no values", hint="write KEY=A,B, for example train.lr=0.001,0.01")
    if "" in values:
        raise RecipeError(
            f"{text!r} names an empty value",
            hint="leave the comma out, or write own for what the network or fovea would choose",
        )
    return key.strip(), [None if value == "own" else _parse(value) for value in values]


def load_recipe(path: Path | str, *, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe from a YAML file."""
    return build_recipe(read_layer(path), overrides=overrides)


def read_layer(path: Path | str) -> dict[str, Any]:
    """Parse a YAML recipe file into a mapping, unchecked."""
    try:
        layer = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe file at {path}", hint="check the path given to --recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}", hint="fix the line named above") from error
    if layer is not None and not isinstance(layer, dict):
        raise RecipeError(f"{path} holds {type(layer).__name__}, expected settings", hint="write key: value lines")
    return layer or {}


def dump_recipe(recipe: Recipe, *, comments: bool = False) -> str:
    """Return the recipe as YAML; with `comments`, each setting carries its help."""
    lines: list[str] = []
    _dump(recipe, lines, "", comments)
    return "\n".join(lines) + "\n"


def _parse(text: str) -> Any:
    """Read the value of `key=value`: YAML, but text stays as it was typed, with its colons and hashes."""
    value = yaml.safe_load(text)
    if isinstance(value, (str, dict)):
        try:
            return float(text)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            return value if text.lstrip().startswith(("'", '"')) else text.strip()
    return value


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, Mapping) else value


def _build(kind: Any, values: Mapping[str, Any], prefix: str, faults: list[str]) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    accepted: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in fields:
            faults.append(f"{path}: no such setting" + _suggest(key, prefix))
        elif dataclasses.is_dataclass(hints[key]):
            if isinstance(value, Mapping):
                accepted[key] = _build(hints[key], value, f"{path}.", faults)
            else:
                faults.append(f"{path}: expected settings below it, got {value!r}")
        else:
            fault, converted = _convert(value, hints[key], fields[key].metadata)
            if fault:
                faults.append(f"{path}: {fault}")
            else:
                accepted[key] = converted
    return kind(**accepted)


def _convert(value: Any, hint: Any, metadata: Mapping[str, Any]) -> tuple[str, Any]:
    """Return (fault, value); an empty fault means the value fits the type, the choices and the lower bound."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None:
        return ("", None) if type(None) in kinds else ("needs a value", None)
    kinds = tuple(item for item in kinds if item is not type(None))
    kind = kinds[0] if len(kinds) == 1 else str if isinstance(value, str) else int  # a number, or one of some names
    if typing.get_origin(kind) is tuple:
        values = value if isinstance(value, (list, tuple)) else [value]
        number = typing.get_args(kind)[0]
        if not all(isinstance(item, (int, number)) and not isinstance(item, bool) for item in values):
            return f"expected {'whole numbers' if number is int else 'numbers'}, got {value!r}", None
        return "", tuple(map(number, values))
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        value = _parse(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind is str and isinstance(value, bool) and {"on", "off"} <= set(metadata["choices"]):
        value = "on" if value else "off"  # YAML 1.1 reads on and off as booleans
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return f"expected {_NAMES[kind]}, got {value!r}", None
    if kind is str and metadata["choices"] and value not in metadata["choices"]:
        near = nearest(str(value), metadata["choices"])
        guess = f"; did you mean {near!r}?" if near else ""
        number = "a whole number or " if int in kinds else ""
        return f"{value!r} is not {number}one of {', '.join(metadata['choices'])}{guess}", None
    if kind is not str and metadata["low"] is not None and value < metadata["low"]:
        return f"is {value}, the smallest sensible value is {metadata['low']}", None
    return "", value


_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _suggest(key: str, prefix: str) -> str:
    known = list(_paths(Recipe, ""))
    for path in known:  # the right name in the wrong place
        if path.rpartition(".")[2] == key:
            return f"; did you mean {path!r}?"
    near = nearest(f"{prefix}{key}", known)
    return f"; did you mean {near!r}?" if near else ""


def _paths(kind: Any, prefix: str) -> Iterable[str]:
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[item.name]):
            yield from _paths(hints[item.name], f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}"


def _contradictions(recipe: Recipe) -> list[str]:
    """Settings that are fine alone and wrong together."""
    faults = []
    if recipe.model.from_scratch and recipe.model.weights:
        faults.append("model.from_scratch: is true while model.weights is given; drop one of them")
    if recipe.model.from_scratch and recipe.train.strategy in ("head", "tail"):
        faults.append(f"train.strategy: {recipe.train.strategy!r} needs trained weights, model.from_scratch is true")
    for name in ("val_fraction", "crop_scale", "hflip", "vflip", "color_jitter", "shift", "erase", "erase_area"):
        value = getattr(recipe.data, name)
        if value > 1 or (name == "val_fraction" and value == 1):
            faults.append(f"data.{name}: is {value}, expected a share below 1")
    for name, most in (("rotate", 180), ("shear", 80)):
        if getattr(recipe.data, name) > most:
            faults.append(f"data.{name}: is {getattr(recipe.data, name)}, expected at most {most} degrees")
    if len(recipe.data.pca_covariance) not in (0, 9):
        faults.append(f"data.pca_covariance: has {len(recipe.data.pca_covariance)} numbers, expected 9, row by row")
    for name in ("label_smoothing", "ema_decay", "warmup"):
        if getattr(recipe.train, name) >= 1:
            faults.append(f"train.{name}: is {getattr(recipe.train, name)}, expected a share below 1")
    return faults


def _dump(settings: Any, lines: list[str], indent: str, comments: bool) -> None:
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if dataclasses.is_dataclass(value):
            lines.append(f"{indent}{item.name}:")
            _dump(value, lines, indent + "  ", comments)
            continue
        shown = list(value) if isinstance(value, tuple) else value
        text = yaml.safe_dump(shown, default_flow_style=True, allow_unicode=True, width=10_000).strip()
        line = f"{indent}{item.name}: {text.removesuffix('...').strip()}"
        if comments:
            choices = f" ({', '.join(item.metadata['choices'])})" if item.metadata["choices"] else ""
            line = f"{line:<36} # {item.metadata['help']}{choices}"
        lines.append(line)
