"""Gradients that vanish, explode, or never arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, listed
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import poor, start_and_end
from fovea.doctor.record import Network, Parameter, Record

_VANISHED_RATIO, _VANISHED = 1e-3, 1e-4  # AutoTrainer's
_EXPLODED = 70.0  # mean of a gradient, AutoTrainer's; norms below are compared with their own start
_GROWN = 50.0
_FALLEN = 0.5  # of the loss at the start
_LOOP, _LOOPS, _OF_CALLS = 4, 3, 0.34  # calls in a pass, such passes, and share of the calls that are reached


@PROBES.register("vanishing-gradient", summary="first layers with almost no gradient")
def vanishing_gradient(record: Record) -> Iterator[Diagnosis]:
    """The gradient of the first weights is far smaller than that of the last, relative to the weights."""
    for network in record.networks:
        weights = _weights(network)
        if len(weights) < 4:
            continue
        first, last = (_relative(part) for part in (weights[:2], weights[-2:]))
        norm = float(np.nanmedian([value for each in weights[:2] for value in each.gradient[:10]]))
        if last > 0 and first / last < _VANISHED_RATIO and norm < _VANISHED:
            yield Diagnosis(
                code="vanishing-gradient",
                confidence=0.85,
                message=f"the gradient of {weights[0].name} is {first / last:.1g} of that of {weights[-1].name} (each "
                f"against its weights; its norm is {norm:.1g}): the first layers do not learn",
                fix="use ReLU instead of sigmoid or tanh, add normalisation or residual connections, initialise by "
                "Kaiming's rule",
                confirm="the ratio of first to last gradient is above 0.01",
                evidence={
                    "ratio": first / last,
                    "norm": norm,
                    "layers": [{"parameter": each.name, "gradient": _median(each.gradient)} for each in weights[:30]],
                },
                where=weights[0].name,
            )


@PROBES.register("exploding-gradient", summary="gradients that grow without bound")
def exploding_gradient(record: Record) -> Iterator[Diagnosis]:
    """The norm of all gradients grows to many times what it was at the start, or is huge from the start.

    A note where the loss falls all the same: clipping, or steps that do not grow with the gradient, cope. Large ones
    from the start are what a new head has on pretrained weights.
    """
    first, last = start_and_end(record)
    falls = last < _FALLEN * first
    for network in record.networks:
        own = [each for each in network.parameters.values() if each.steps]
        if not own:
            continue
        samples = min(len(each.gradient) for each in own)
        if samples < 3:
            continue
        each_norm = np.nan_to_num([each.gradient[:samples] for each in own], nan=0.0, posinf=np.inf)  # (P, samples)
        norms = np.linalg.norm(np.where(np.isfinite(each_norm), each_norm, 0), axis=0)
        size = math.sqrt(sum(math.prod(each.shape) for each in own))
        finite = norms[np.isfinite(norms)]
        if not len(finite) or finite[0] <= 0:
            continue
        grown = finite.max() / max(float(np.median(finite[:2])), 1e-12)
        grows = grown > _GROWN and finite.max() > 100
        if grows or finite.min() / size > _EXPLODED or finite[:3].min() > 1e3:
            yield Diagnosis(
                code="exploding-gradient",
                confidence=0.7,
                severity="note" if falls and not (grows and poor(record)) else "alarm",
                message=f"the norm of the gradient goes from {finite[0]:.3g} to {finite.max():.3g}",
                fix="clip gradients (torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)) and lower the learning "
                "rate; check the initialisation",
                confirm="the norm stays within a factor of ten",
                evidence={"first": float(finite[0]), "largest": float(finite.max())},
                where=max(own, key=lambda each: np.nan_to_num(each.gradient[:samples], nan=0.0).max()).name,
            )


@PROBES.register("detached-graph", summary="parameters that no gradient reaches")
def detached_graph(record: Record) -> Iterator[Diagnosis]:
    """Trainable parameters in the optimiser whose gradient is always None; layers of a loop that learn of its end."""
    for network in record.networks:
        yield from _cut_in_a_loop(network)
    for network in record.networks:
        own = [each for each in network.parameters.values() if each.optimised and each.trainable and each.steps]
        cut = [each for each in own if all(math.isnan(value) for value in each.gradient)]
        weights = [each for each in cut if len(each.shape) > 1]
        if not weights or len(weights) < 0.1 * len([each for each in own if len(each.shape) > 1]):
            continue
        yield Diagnosis(
            code="detached-graph",
            confidence=0.9,
            message=f"no gradient ever reaches {counted(len(cut), 'parameter')} of {network.kind} that the optimiser "
            f"has: {listed([each.name for each in cut], limit=3)}. The graph is cut between them and the loss",
            fix="remove .detach(), .data, torch.no_grad(), .item() or numpy from the forward pass behind them",
            confirm="their .grad is not None after backward",
            evidence={"cut": [each.name for each in cut][:50]},
            where=cut[-1].name,
        )


def _cut_in_a_loop(network: Network) -> Iterator[Diagnosis]:
    """Yield that a layer is called again and again in a pass, and a gradient comes back to hardly any of the calls."""
    for layer in sorted(network.layers.values(), key=lambda each: -each.order):  # the state's own layer comes late
        passes = [each for each in layer.passes if each[0] >= _LOOP]
        if len(passes) < _LOOPS or not all(0 < reached <= _OF_CALLS * calls for calls, reached in passes):
            continue
        calls, reached = passes[-1]
        yield Diagnosis(
            code="detached-graph",
            confidence=0.85,
            message=f"{layer.name} ({layer.kind}) is called {calls} times in a pass, and a gradient comes back to "
            f"{reached} of them: the graph is cut from one turn of the loop to the next, so what came before the last "
            "turn cannot be learnt",
            fix="remove .detach() or .data from the state that is handed from turn to turn; cut it between batches",
            confirm=f"{layer.name} gets gradients from every turn",
            evidence={"calls": calls, "reached": reached},
            where=layer.name,
        )
        return


def _weights(network: Network) -> list[Parameter]:
    """Return the weights that were trained, in the order of the forward pass as far as it is known."""
    order = {name: layer.order for name, layer in network.layers.items()}
    own = [each for each in network.parameters.values() if len(each.shape) > 1 and len(each.steps) >= 2]
    own = [each for each in own if np.isfinite(each.gradient).any()]
    return sorted(own, key=lambda each: order.get(each.module, -1))


def _relative(parameters: list[Parameter]) -> float:
    found = [
        g / w
        for each in parameters
        for g, w in zip(each.gradient[:10], each.weight[:10], strict=True)
        if w > 0 and math.isfinite(g)
    ]
    return float(np.median(found)) if found else math.nan


def _median(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan
