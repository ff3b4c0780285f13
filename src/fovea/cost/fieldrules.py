"""How each operator changes the fields that `extents` describes: windows, views, sums, products, reductions.

A rule is registered under the operator's name in the dispatcher, as formulas are. Operators that treat every position
alone need none; one that has no rule leaves a gap that is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from torch import Tensor

from fovea.core.registry import Registry
from fovea.cost.extents import Atom, Axis, Dim, Field, merged
from fovea.cost.formulas import ATTENTION, BATCH_NORMS, CREATION, ELEMENTWISE
from fovea.cost.watching import Call

_SAME_PLACE = frozenset(
    f"aten.{name}"
    for name in (
        *(*ELEMENTWISE, "clone", "_to_copy", "contiguous", "where", "masked_fill", "copy", "lift_fresh"),
        *("channel_shuffle", "native_channel_shuffle", "native_dropout", "bernoulli"),
    )
)


FRESH = frozenset(f"aten.{name}" for name in CREATION) - _SAME_PLACE
"""Operators that make a tensor anew: it may be shaped like a map, and depends on no pixel."""


class Known:
    """The fields of a call's inputs."""

    def __init__(self, call: Call, fields: Mapping[int, Field]) -> None:
        self.call = call
        self.fields = fields

    def of(self, name: str) -> Field | None:
        """The field of an argument; None where it does not depend on the image."""
        value = self.call.arguments.get(name)
        return self.fields.get(id(value)) if isinstance(value, Tensor) else None

    def all(self) -> list[Field]:
        """Those of all inputs that depend on the image."""
        return list(self.fields.values())


Rule = Callable[[Call, Known], Field | list[Field]]
RULES: Registry[Rule] = Registry("receptive field rule")


def fields_of(call: Call, fields: Mapping[int, Field]) -> list[Field]:
    """Return the field of every tensor that a call made.

    Args:
        fields: those of its inputs, by the tensor's id; at least one.
    """
    known = Known(call, fields)
    shapes = [tuple(tensor.shape) for tensor in call.outputs]
    if call.name in RULES:
        found = RULES[call.name].build(call, known)
        return found if isinstance(found, list) else [found] * len(shapes)
    if call.name in _SAME_PLACE:
        return [merged(known.all(), shape) for shape in shapes]
    first = known.all()[0]
    if call.is_view and len(shapes) == 1 and call.outputs[0].numel() == call.inputs[0].numel():
        return [first.viewed(shapes[0])]
    return [_lost(first, shape, f"{call.name} has no rule") for shape in shapes]


def _rule(*names: str, summary: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        for name in names:
            RULES.register(name if "." in name else f"aten.{name}", summary=summary)(rule)
        return rule

    return add


def _lost(field: Field, shape: Sequence[int], gap: str) -> Field:
    dims = field.dims if len(field.dims) == len(shape) else tuple((Atom(size),) for size in shape)
    return replace(field, dims=dims, gap=field.gap or gap)


def _under(field: Field, others: Sequence[Field | None]) -> Field:
    """Return the field when it also depends on others as a whole, such as weights that were computed from the image."""
    axes, gap = dict(field.axes), field.gap
    for other in filter(None, others):
        gap = gap or other.gap
        axes = {letter: replace(axis, whole=axis.whole or other.axes[letter].whole) for letter, axis in axes.items()}
    return replace(field, axes=axes, gap=gap)


def _each_side(
    field: Field, shape: Sequence[int], change: Callable[[Axis, int], Axis | None], *, channels: bool
) -> Field:
    """Return the field of a map (B,C,…) after `change(axis, number of the side)`; None mixes all positions.

    Args:
        channels: whether channels are mixed too, as a convolution does.
    """
    if channels:
        field = _with_dim(field.mixed([1]), 1, (Atom(shape[1]),))
    for side, position in enumerate(range(2, len(shape))):
        letter = field.axis_of(position)
        changed = change(field.axes[letter], side) if letter else None
        if letter and changed:
            field = _with_dim(field, position, (Atom(changed.size, letter),))
            field = replace(field, axes={**field.axes, letter: changed})
        else:
            field = _with_dim(field.mixed([position]), position, (Atom(shape[position]),))
    return field


def _with_dim(field: Field, position: int, dim: Dim) -> Field:
    return replace(field, dims=(*field.dims[:position], dim, *field.dims[position + 1 :]))


def _windows(
    sizes: Sequence[int],
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Callable[[Axis, int], Axis | None]:
    def change(axis: Axis, side: int) -> Axis | None:
        if 1 < kernel[side] == axis.size and padding[side] == 0:
            return None  # one window over the whole map: a fully connected layer, or pooling over everything
        return axis.windowed(
            sizes[side], kernel=kernel[side], stride=stride[side], padding=padding[side], dilation=dilation[side]
        )

    return change


@_rule("convolution", summary="a window over the map, and all channels of a group")
def _convolution(call: Call, known: Known) -> Field:
    given, weight = known.of("input"), call.arguments["weight"]
    if given is None:
        return _lost(known.all()[0], call.result.shape, "a convolution of constants with computed weights")
    settings = {name: call.arguments[name] for name in ("stride", "padding", "dilation")}
    if {*weight.shape[2:], *settings["stride"]} == {1} and not any(settings["padding"]):  # also of lists of tokens
        return _under(_with_dim(given.mixed([1]), 1, (Atom(call.result.shape[1]),)), [known.of("weight")])
    change = _windows(call.outputs[0].shape[2:], kernel=weight.shape[2:], **settings)
    if call.arguments["transposed"]:
        change = _spread(call.result.shape[2:], kernel=weight.shape[2:], **settings)
    return _under(_each_side(given, call.result.shape, change, channels=True), [known.of("weight")])


def _spread(
    shape: Sequence[int],
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Callable[[Axis, int], Axis]:
    """A transposed convolution: output j sees inputs (j + padding − t·dilation) / stride for the t of the kernel."""

    def change(axis: Axis, side: int) -> Axis:
        step = axis.stride / stride[side]
        reach = dilation[side] * (kernel[side] - 1)
        low, high = axis.low + step * (padding[side] - reach), axis.high + step * padding[side]
        return replace(axis, size=shape[side], stride=step, low=low, high=high)

    return change


@_rule("max_pool2d_with_indices", "avg_pool2d", "avg_pool3d", summary="a window over the map")
def _pooling(call: Call, known: Known) -> Field:
    sides = call.outputs[0].dim() - 2

    def each(name: str, default: Sequence[int]) -> Sequence[int]:
        values: Any = call.arguments.get(name) or default
        return tuple(values) * sides if len(values) == 1 else values

    kernel = each("kernel_size", ())
    change = _windows(
        call.outputs[0].shape[2:],
        kernel=kernel,
        stride=each("stride", kernel),
        padding=each("padding", (0,)),
        dilation=each("dilation", (1,)),
    )
    return _each_side(known.all()[0], call.outputs[0].shape, change, channels=False)


@_rule("im2col", summary="windows over the map, laid out: (B,C,H,W) -> (B,C*N,H'*W')")
def _laid_out(call: Call, known: Known) -> Field:
    settings = call.arguments
    given = known.all()[0]
    kernel, stride, padding, dilation = (settings[key] for key in ("kernel_size", "stride", "padding", "dilation"))
    sizes = [
        (size + 2 * padding[side] - dilation[side] * (kernel[side] - 1) - 1) // stride[side] + 1
        for side, size in enumerate(call.inputs[0].shape[2:])
    ]
    change = _windows(sizes, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    field = _each_side(given, (*call.inputs[0].shape[:2], *sizes), change, channels=False)
    images, channels, rows, columns = field.dims
    return replace(field, dims=(images, (*channels, Atom(kernel[0] * kernel[1])), (*rows, *columns)))


@_rule("_adaptive_avg_pool2d", "adaptive_max_pool2d", summary="windows that share out the map")
def _adaptive_pooling(call: Call, known: Known) -> Field:
    shape = call.outputs[0].shape[-2:]

    def change(axis: Axis, side: int) -> Axis | None:
        if shape[side] == 1 < axis.size:
            return None
        window = Fraction(axis.size, shape[side])  # output j sees ⌊j·window⌋ to ⌈(j+1)·window⌉ − 1
        uneven = Fraction(window.denominator - 1, window.denominator)
        low, high = axis.low - axis.stride * uneven, axis.high + axis.stride * (window - 1 + uneven)
        return replace(axis, size=shape[side], stride=axis.stride * window, low=low, high=high)

    return _each_side(known.all()[0], call.outputs[0].shape, change, channels=False)


@_rule("upsample_bilinear2d", "upsample_bicubic2d", summary="a mean of the two or four nearest positions of a side")
def _interpolation(call: Call, known: Known) -> Field:
    shape, corners = call.outputs[0].shape[-2:], call.arguments["align_corners"]
    beyond = 1 if call.name == "aten.upsample_bicubic2d" else 0

    def change(axis: Axis, side: int) -> Axis:
        size = shape[side]
        step = Fraction(axis.size - 1, max(1, size - 1)) if corners else Fraction(axis.size, size)
        first = Fraction(0) if corners else (step - 1) / 2
        places = [first + step * at for at in range(size)]  # between which positions of the input each one lies
        wider = [beyond if place.denominator > 1 else 0 for place in places]
        low = min(math.floor(place) - more - (place - first) for place, more in zip(places, wider, strict=True))
        high = max(math.ceil(place) + more - (place - first) for place, more in zip(places, wider, strict=True))
        return replace(
            axis,
            size=size,
            stride=axis.stride * step,
            low=axis.low + axis.stride * low,
            high=axis.high + axis.stride * high,
        )

    return _each_side(known.all()[0], call.outputs[0].shape, change, channels=False)


@_rule("torchvision.deform_conv2d", summary="taps go where the image says")
def _deformed(call: Call, known: Known) -> Field:
    return _lost(known.all()[0], call.result.shape, "taps are moved by offsets that depend on the image")


@_rule("upsample_nearest2d", "_upsample_nearest_exact2d", "pixel_shuffle", summary="each position several times")
def _nearest(call: Call, known: Known) -> Field:
    shape = call.outputs[0].shape[-2:]

    def change(axis: Axis, side: int) -> Axis:
        times = Fraction(shape[side], axis.size)
        step = axis.stride / times
        return replace(axis, size=shape[side], stride=step, low=axis.low - step * (times - 1))

    return _each_side(known.all()[0], call.outputs[0].shape, change, channels=call.name == "aten.pixel_shuffle")


@_rule("constant_pad_nd", "reflection_pad2d", "replication_pad2d", summary="positions before the first one")
def _padding(call: Call, known: Known) -> Field:
    field, pads = known.all()[0], call.arguments.get("pad") or call.arguments.get("padding") or []
    dims, axes = list(field.dims), dict(field.axes)
    for number, before in enumerate(pads[::2]):  # pairs (before, after), the last dimension first
        position = len(dims) - 1 - number
        letter, size = field.axis_of(position), call.result.shape[position]
        if letter:
            axes[letter] = replace(axes[letter].shifted(-before), size=size)
        dims[position] = (Atom(size, letter or field.along(position)),)
    return replace(field, dims=tuple(dims), axes=axes)


@_rule("slice", summary="some positions of one dimension")
def _slice(call: Call, known: Known) -> Field:
    field, start = known.all()[0], call.arguments["start"] or 0
    position = call.arguments["dim"] % len(field.dims)
    before = call.inputs[0].shape[position]
    return _cut(
        field, position, start + before if start < 0 else min(start, before), call.arguments["step"], call.result
    )


def _cut(field: Field, position: int, start: int, step: int, result: Tensor) -> Field:
    size, letter = result.shape[position], field.axis_of(position)
    field = _with_dim(field, position, (Atom(size, letter or field.along(position)),))
    if letter:
        axis = field.axes[letter].shifted(start)
        field = replace(field, axes={**field.axes, letter: replace(axis, size=size, stride=axis.stride * step)})
    return field


@_rule("split", "split_with_sizes", summary="the positions of one dimension, shared out")
def _split(call: Call, known: Known) -> list[Field]:
    field, start, parts = known.all()[0], 0, []
    position = call.arguments["dim"] % len(field.dims)
    for part in call.outputs:
        parts.append(_cut(field, position, start, 1, part))
        start += part.shape[position]
    return parts


@_rule("select", "unbind", summary="one position of a dimension")
def _select(call: Call, known: Known) -> Field:
    field = known.all()[0]
    position = call.arguments["dim"] % len(field.dims)
    gap = field.gap or (
        "single positions are picked" if any(not field.axes[it].whole for it in field.along(position)) else ""
    )
    return replace(field, dims=field.dims[:position] + field.dims[position + 1 :], gap=gap)


@_rule("transpose", summary="two dimensions change places")
def _transpose(call: Call, known: Known) -> Field:
    field = known.all()[0]
    dims = list(field.dims)
    one, other = call.arguments["dim0"], call.arguments["dim1"]
    dims[one], dims[other] = dims[other], dims[one]
    return replace(field, dims=tuple(dims))


@_rule("t", summary="the two dimensions change places")
def _matrix_transpose(call: Call, known: Known) -> Field:
    field = known.all()[0]
    return replace(field, dims=field.dims[::-1])


@_rule("permute", summary="dimensions in another order")
def _permute(call: Call, known: Known) -> Field:
    field = known.all()[0]
    return replace(field, dims=tuple(field.dims[position] for position in call.arguments["dims"]))


@_rule("expand", summary="dimensions of size 1 repeated")
def _expand(call: Call, known: Known) -> Field:
    return merged(known.all(), call.result.shape)


@_rule("cat", summary="the union of the branches; along a dimension of the image its positions lose their place")
def _concatenation(call: Call, known: Known) -> Field:
    shape, fields = call.result.shape, known.all()
    position = call.arguments["dim"] % len(shape)
    along = "".join(sorted({letter for field in fields for letter in field.along(position)}))
    return merged([_with_dim(field, position, (Atom(shape[position], along),)) for field in fields], shape)


@_rule("stack", summary="the union of the branches, in a new dimension")
def _stack(call: Call, known: Known) -> Field:
    position = call.arguments["dim"] % call.result.dim()
    parts = [(*field.dims[:position], (Atom(1),), *field.dims[position:]) for field in known.all()]
    return merged(
        [replace(field, dims=dims) for field, dims in zip(known.all(), parts, strict=True)], call.result.shape
    )


@_rule(
    *("mean", "sum", "amax", "amin", "var", "var_mean", "std", "std_mean", "max", "min", "prod", "any", "all"),
    *("linalg_vector_norm", "logsumexp", "argmax", "argmin"),
    summary="one number for all positions of some dimensions",
)
def _reduction(call: Call, known: Known) -> Field:
    field, dims = known.all()[0], call.arguments.get("dim")
    if len(known.all()) > 1:  # max(a, b)
        return merged(known.all(), call.outputs[0].shape)
    count = len(field.dims)
    chosen = range(count) if dims in (None, []) else [dims] if isinstance(dims, int) else dims
    return field.without([at % count for at in chosen], keepdim=bool(call.arguments.get("keepdim", False)))


@_rule(
    "_softmax", "_safe_softmax", "_log_softmax", "cumsum", summary="every position of a dimension depends on all of it"
)
def _softmax(call: Call, known: Known) -> Field:
    field = known.all()[0]
    return field.mixed([call.arguments["dim"] % len(field.dims)])


@_rule("native_layer_norm", "_fused_rms_norm", summary="the last dimensions depend on all of themselves")
def _layer_norm(call: Call, known: Known) -> Field:
    field = known.all()[0]
    count = len(field.dims)
    return field.mixed(range(count - len(call.arguments["normalized_shape"]), count))


@_rule("native_group_norm", summary="all but the batch depends on all of itself")
def _group_norm(call: Call, known: Known) -> Field:
    field = known.all()[0]
    return field.mixed(range(1, len(field.dims)))


@_rule(*BATCH_NORMS, summary="each position alone; with the batch's statistics, all but the channel")
def _batch_norm(call: Call, known: Known) -> list[Field]:
    field = known.all()[0]
    if call.arguments.get("training", call.name.endswith("with_update")):
        field = field.mixed([position for position in range(len(field.dims)) if position != 1])
    return [field] + [_lost(field, tensor.shape, "") for tensor in call.outputs[1:]]


_FACTORS = {
    **dict.fromkeys(("aten.mm", "aten.bmm"), ("self", "mat2")),
    "aten.addmm": ("mat1", "mat2"),
    "aten.baddbmm": ("batch1", "batch2"),
}


@_rule(*_FACTORS, summary="the last dimension of the one and the last but one of the other are mixed")
def _product(call: Call, known: Known) -> Field:
    shape = call.result.shape
    left, right = (known.of(name) for name in _FACTORS[call.name])  # (…, n, k) · (…, k, m) -> (…, n, m)
    if right is not None:
        right = right.mixed([len(right.dims) - 2])
    if left is not None:
        dim = right.dims[-1] if right else (Atom(shape[-1]),)
        left = left.mixed([len(left.dims) - 1])
        return _under(_with_dim(left, len(left.dims) - 1, dim), [right])
    if right is not None:
        return replace(right, dims=(*((Atom(size),) for size in shape[:-1]), right.dims[-1]))
    return merged(known.all(), shape)  # only what is added depends on the image


@_rule(*ATTENTION, summary="every query sees all keys")
def _attention(call: Call, known: Known) -> list[Field]:
    query, key, value = (known.of(name) for name in ("query", "key", "value"))
    base = query or merged(known.all(), call.arguments["query"].shape)
    seen = [field.mixed([len(field.dims) - 2]) for field in (key, value) if field]
    out = _under(_with_dim(base, len(base.dims) - 1, (Atom(call.outputs[0].shape[-1]),)), seen)
    return [out] + [_lost(out, tensor.shape, "") for tensor in call.outputs[1:]]
