"""Everything that a network costs, put together: counted, predicted and, if wanted, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from fovea.core.findings import Finding
from fovea.core.wording import counted
from fovea.cost import guidelines, latency, memory
from fovea.cost.counting import Count, Layer, count
from fovea.cost.latency import Measured, Prediction
from fovea.cost.memory import Peak
from fovea.cost.receptive import Reach, Reaches
from fovea.cost.roofline import Machine, this_machine


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a network costs.

    Attributes:
        reach: of the last feature map; None where the input is not followed at all.
        reaches: module path → the receptive field of what it made.
        predicted_peak: memory, by following tensors without data.
        machine, prediction: the ceilings of this machine, and the time of each layer under them; None unless measured.
        peak, measured: memory and time as measured; None unless measured.
    """

    count: Count
    reach: Reach | None
    reaches: dict[str, Reach]
    predicted_peak: Peak
    findings: list[Finding]
    machine: Machine | None = None
    prediction: dict[str, Prediction] | None = None
    peak: Peak | None = None
    measured: Measured | None = None

    @property
    def total(self) -> dict[str, Any]:
        """Everything in sum, as JSON-ready values."""
        return {**self.count.total, **_reach_values(self.reach), **self._memory(), **self._time()}

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values: `input`, `total`, `layers`, `unknown`, `machine`, `findings`."""
        return {
            "input": list(self.count.shape),
            "total": self.total,
            "layers": [self._layer(layer) for layer in self.count.layers],
            "unknown": self.count.unknown,
            "machine": None if self.machine is None else vars(self.machine),
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def layer_ms(self, name: str) -> tuple[float | None, float | None]:
        """Return the measured and the predicted time of a layer in milliseconds; None where it ran nothing."""
        measured = self.measured.by_layer.get(name) if self.measured else None
        predicted = self.prediction.get(name) if self.prediction else None
        return (
            None if measured is None else 1000 * measured,
            None if predicted is None or not predicted.seconds else 1000 * predicted.seconds,
        )

    def _layer(self, layer: Layer) -> dict[str, Any]:
        measured_ms, predicted_ms = self.layer_ms(layer.name)
        predicted = (self.prediction or {}).get(layer.name)
        return {
            **layer.as_dict(),
            **_reach_values(self.reaches.get(layer.name)),
            "latency_ms": measured_ms,
            "predicted_latency_ms": predicted_ms,
            "bound": predicted.bound if predicted else None,
        }

    def _memory(self) -> dict[str, Any]:
        return {
            "peak_inference_bytes": self.peak and self.peak.inference,
            "peak_training_bytes": self.peak and self.peak.training,
            "predicted_peak_inference_bytes": self.predicted_peak.inference,
            "predicted_peak_training_bytes": self.predicted_peak.training,
        }

    def _time(self) -> dict[str, Any]:
        predicted = sum((self.prediction or {}).values(), start=Prediction()) if self.prediction else None
        return {
            "latency_ms": self.measured and 1000 * self.measured.seconds,
            "predicted_latency_ms": predicted and 1000 * predicted.seconds,
            "bound": predicted and predicted.bound,
        }


def cost_of(
    model: nn.Module,
    shape: Sequence[int],
    *,
    measure: bool = True,
    strict: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Costs:
    """Return what one forward pass of `model` in eval mode on images (B,3,H,W) costs.

    Args:
        measure: measure time and memory on this machine, too, and its ceilings if they are not known yet; without,
            nothing is run and the network may lie on "meta".
        strict: an operator without a formula is an error, in place of a finding.
        say: told what takes long.

    Raises:
        ModelError: the network does not take such images, or `strict` found a gap.

    >>> cost_of(nn.Conv2d(3, 8, 3), (1, 3, 10, 10), measure=False).reach.size_px
    3
    """
    was_training = model.training
    model.eval()
    try:
        reaches = Reaches()
        sums = count(model, shape, strict=strict, also=[reaches])
        findings = (_gaps(sums), *guidelines.judge(sums), guidelines.foldable(model, sums))
        found = Costs(
            count=sums,
            reach=reaches.last,
            reaches=reaches.by_layer,
            predicted_peak=memory.predict_peak(model, shape),
            findings=[finding for finding in findings if finding is not None],
        )
        return _with_measurements(found, model, say) if measure else found
    finally:
        model.train(was_training)


def _with_measurements(found: Costs, model: nn.Module, say: Callable[[str], None]) -> Costs:
    shape = found.count.shape
    say("measuring what this machine can do")
    machine = this_machine()
    say("measuring time")
    measured = latency.measure(model, shape)
    say("measuring memory")
    peak = memory.measure_peak(model, shape)
    prediction = {layer.name: latency.predict(layer.operations, machine) for layer in found.count.layers}
    whole = sum(prediction.values(), start=Prediction())
    about_time = [
        guidelines.noisy(measured),
        guidelines.why_slow(measured.by_layer, whole, found.count, running=measured.running),
    ]
    return replace(
        found,
        findings=[*filter(None, about_time), *found.findings],
        machine=machine,
        prediction=prediction,
        peak=peak,
        measured=measured,
    )


def _gaps(found: Count) -> Finding | None:
    if not found.unknown:
        return None
    names = ", ".join(f"{name} ×{times}" for name, times in found.unknown.items())
    return Finding(
        severity="warning",
        code="unknown-operator",
        message=f"{counted(len(found.unknown), 'operator')} without a formula, whose arithmetic is missing: {names}",
        fix="register a formula in fovea.cost.formulas, and the sums will be whole",
        evidence={"operators": found.unknown},
    )


def _reach_values(reach: Reach | None) -> dict[str, Any]:
    return {
        "receptive_field": reach and reach.size_px,
        "receptive_field_local": reach and reach.local_px,
        "receptive_field_stride": reach and reach.stride_px,
        "receptive_field_padding": reach and reach.padding_px,
        "sees_whole_image": reach and reach.whole,
        "receptive_field_gap": (reach and reach.gap) or None,
    }
