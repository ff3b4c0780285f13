"""How much arithmetic each operator does, registered under its name in PyTorch's dispatcher.

One MAC is a multiplication and an addition: two FLOPs. MACs are those of convolutions, linear layers and matrix
products; every other addition, multiplication, division, comparison, root, exponential, tanh or erf is one `other`
FLOP. An operator that only moves data is known, with no arithmetic. One that is not registered here is a gap that
`counting` names: nothing counts as zero because nobody thought of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fovea.core.registry import Registry
from fovea.cost.watching import Call


@dataclass(frozen=True)
class Work:
    """Arithmetic: multiply-accumulates, and FLOPs outside of them."""

    macs: int = 0
    other_flops: int = 0


Formula = Callable[[Call], Work]
FORMULAS: Registry[Formula] = Registry("operator")

PRODUCTS = frozenset(
    (
        *("aten.convolution", "aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm", "aten.mv", "aten.addmv", "aten.dot"),
        *("aten.mkldnn_rnn_layer", "torchvision.deform_conv2d"),
    )
)
"""Operators whose outputs count as activations: what a convolution, linear layer or matrix product writes."""

ELEMENTWISE = {
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "neg", "abs", "relu", "maximum", "minimum", "fmod"), 1),
    **dict.fromkeys(("clamp_min", "clamp_max", "sqrt", "exp", "log", "sin", "cos", "tanh", "erf", "reciprocal"), 1),
    **dict.fromkeys(("floor", "ceil", "round", "trunc", "sign", "sgn", "pow", "remainder", "floor_divide"), 1),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "isnan", "logical_and", "logical_or", "logical_not"), 1),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_not", "bitwise_xor", "threshold"), 1),
    **dict.fromkeys(("rsqrt", "clamp", "hardtanh", "leaky_relu", "_prelu_kernel", "log1p", "expm1"), 2),
    **dict.fromkeys(("addcmul", "addcdiv", "lerp"), 3),
    **dict.fromkeys(("softshrink", "hardshrink"), 2),
    **dict.fromkeys(("sigmoid", "hardsigmoid", "elu", "celu", "softplus", "log_sigmoid_forward"), 4),
    **dict.fromkeys(("silu", "hardswish", "gelu", "glu"), 5),
    "logaddexp": 6,  # the larger, the difference, its absolute, exp, log1p as one, add
    "mish": 6,  # x · tanh(ln(1 + eˣ)): exp, add, log, tanh, multiply, and the comparison that keeps exp finite
}
"""FLOPs for each element of the result, for operators that treat every element alone."""

COPIES = (
    *("clone", "copy", "_to_copy", "cat", "stack", "contiguous", "constant_pad_nd", "reflection_pad2d", "roll", "flip"),
    *("replication_pad2d", "index", "index_select", "gather", "embedding", "repeat", "where", "masked_fill", "fill"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "upsample_nearest2d", "im2col"),
    *("_upsample_nearest_exact2d", "zero", "lift_fresh", "tril", "triu", "slice_scatter", "select_scatter"),
    *("scatter", "max_unpool2d", "rot90"),
)
"""Operators that move data and compute nothing."""

CREATION = (
    *("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros"),
    *("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "arange", "linspace", "eye", "scalar_tensor"),
    *("bernoulli", "rand", "rand_like", "randn", "randn_like", "uniform", "normal", "_local_scalar_dense"),
)
"""Operators that make a tensor, or a number, out of none."""

_PER_INPUT = {
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin"), 1),
    **dict.fromkeys(("cumsum", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "col2im"), 1),
    **dict.fromkeys(("linalg_vector_norm", "norm"), 2),
    **dict.fromkeys(("var", "var_mean", "std", "std_mean", "logsumexp"), 3),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), 5),  # maximum, subtract, exp, sum, divide
    "_fused_rms_norm": 4,  # square, sum, divide by the root, scale
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), 8),  # mean 1, variance 3, normalise 2, affine 2
}
_PER_OUTPUT = {
    "upsample_linear1d": 3,
    "upsample_bilinear2d": 7,
    "upsample_bicubic2d": 35,
    "grid_sampler_2d": 7,
}  # 3 or 15 lerps, 2 axes
_LSTM_FLOPS = 26  # a unit: two biases of four gates 8, three sigmoids 12, two tanh 2, what becomes of the state 4
_ATTENTION = (
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
    "_scaled_dot_product_fused_attention_overrideable",
)
ATTENTION = frozenset(f"aten.{name}" for name in _ATTENTION)
"""Fused attention, which CPUs and GPUs have under several names."""
BATCH_NORMS = frozenset(
    f"aten.{name}"
    for name in (
        *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
        *("cudnn_batch_norm", "_batch_norm_with_update", "_batch_norm_no_update"),
    )
)


def _register_all() -> None:
    def per(flops: int, tensor: Callable[[Call], Tensor]) -> Formula:
        return lambda call: Work(other_flops=flops * tensor(call).numel())

    for names, tensor, where in (
        (ELEMENTWISE, lambda call: call.outputs[0], "element"),
        (_PER_OUTPUT, lambda call: call.outputs[0], "element of the result"),
        (_PER_INPUT, lambda call: call.inputs[0], "element that is read"),
    ):
        for name, flops in names.items():
            FORMULAS.register(f"aten.{name}", summary=f"{flops} FLOPs an {where}")(per(flops, tensor))
    for name in (*COPIES, *CREATION):
        FORMULAS.register(f"aten.{name}", summary="moves data, computes nothing")(lambda call: Work())
    for name in ATTENTION:
        FORMULAS.register(name, summary="both products of attention, and its softmax")(_attention)
    for name in BATCH_NORMS:
        FORMULAS.register(name, summary="a scale and a shift; 8 FLOPs an element with the batch's statistics")(
            _batch_norm
        )


@FORMULAS.register("aten.convolution", summary="output × weights of one filter; transposed, input × those")
def _convolution(call: Call) -> Work:
    weight = call.arguments["weight"]  # (C_out, C_in / groups, *kernel); transposed (C_in, C_out / groups, *kernel)
    centre = call.arguments["input"] if call.arguments["transposed"] else call.result
    return Work(centre.numel() * math.prod(weight.shape[1:]), _bias_additions(call, "bias"))


@FORMULAS.register("torchvision.deform_conv2d", summary="a convolution whose samples are interpolated: 7 FLOPs each")
def _deform_convolution(call: Call) -> Work:
    weight = call.arguments["weight"]
    batch, _, height, width = call.result.shape
    channels = call.arguments["input"].shape[1]
    samples = batch * channels * height * width * math.prod(weight.shape[2:])
    return Work(call.result.numel() * math.prod(weight.shape[1:]), 7 * samples + _bias_additions(call, "bias"))


@FORMULAS.register("aten.mm", summary="n·k·m")
@FORMULAS.register("aten.bmm", summary="batch·n·k·m")
@FORMULAS.register("aten.mv", summary="n·k")
@FORMULAS.register("aten.dot", summary="k")
def _product(call: Call) -> Work:
    return Work(call.result.numel() * call.inputs[0].shape[-1])


@FORMULAS.register("aten.addmm", summary="n·k·m, and n·m additions")
@FORMULAS.register("aten.baddbmm", summary="batch·n·k·m, and batch·n·m additions")
@FORMULAS.register("aten.addmv", summary="n·k, and n additions")
def _added_product(call: Call) -> Work:
    return Work(call.result.numel() * call.inputs[1].shape[-1], call.result.numel())


@FORMULAS.register("aten.mkldnn_rnn_layer", summary="each step's two products; 26 FLOPs for each unit of an LSTM")
def _lstm(call: Call) -> Work:
    steps, batch, _ = call.inputs[0].shape
    of_input, of_state = (
        call.arguments["weight0"],
        call.arguments["weight1"],
    )  # (4 · hidden, input), (4 · hidden, hidden)
    units = steps * batch * of_state.shape[1]
    return Work(steps * batch * (of_input.numel() + of_state.numel()), _LSTM_FLOPS * units)


@FORMULAS.register("aten.max_pool2d_with_indices", summary="a comparison for each further element of a window")
def _max_pool(call: Call) -> Work:
    return Work(other_flops=call.outputs[0].numel() * (_window(call) - 1))


@FORMULAS.register("aten.avg_pool2d", summary="an addition for each further element of a window, and a division")
@FORMULAS.register("aten.avg_pool3d", summary="likewise")
def _avg_pool(call: Call) -> Work:
    return Work(other_flops=call.outputs[0].numel() * _window(call))


@FORMULAS.register("aten._upsample_bilinear2d_aa", summary="rows, then columns: a product and a sum for each tap")
@FORMULAS.register("aten._upsample_bicubic2d_aa", summary="likewise")
def _smoothed_resize(call: Call) -> Work:
    (*many, height, width), (new_height, new_width) = call.inputs[0].shape, call.outputs[0].shape[-2:]
    taps = 4 if "bicubic" in call.name else 2
    across, down = (math.ceil(taps * max(1.0, old / new)) for old, new in ((width, new_width), (height, new_height)))
    of_map = height * new_width * (2 * across - 1) + new_height * new_width * (2 * down - 1)
    return Work(other_flops=math.prod(many) * of_map)


def _attention(call: Call) -> Work:
    query, key, value = (call.arguments[name] for name in ("query", "key", "value"))
    scores = query.numel() // query.shape[-1] * key.shape[-2]  # batch · heads · length of query · length of key
    return Work(scores * (query.shape[-1] + value.shape[-1]), scores * (1 + _PER_INPUT["_softmax"]))


def _batch_norm(call: Call) -> Work:
    of_batch = call.arguments.get("training", call.name.endswith("with_update"))
    return Work(other_flops=call.inputs[0].numel() * (8 if of_batch else 2))


def _window(call: Call) -> int:
    sides: Any = call.arguments["kernel_size"]
    return math.prod(sides) if len(sides) > 1 else sides[0] ** (call.outputs[0].ndim - 2)


def _bias_additions(call: Call, name: str) -> int:
    return 0 if call.arguments[name] is None else int(call.outputs[0].numel())


_register_all()
