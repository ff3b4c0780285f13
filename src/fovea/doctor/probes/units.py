"""Units that never fire, and units that lie at the ends of their range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import accuracy_of_steps, label_shares, poor, start_and_end
from fovea.doctor.record import Layer, Record

_RECTIFIERS = ("ReLU", "ReLU6")
_DEAD, _SATURATED = 0.5, 0.5  # share of a layer's units
_SAMPLES = 3  # at which a unit must have been silent


@PROBES.register("dead-relu", summary="units that never fire for any image")
def dead_relu(record: Record) -> Iterator[Diagnosis]:
    """More than half of a layer's units have put out nothing at any of the last samples.

    Counted are units, not values: a ReLU is sparse by design. cs231n: a learning rate too high can kill 40 % of a
    network; TheDeepChecker's limits are 1e-5 and half of a layer.
    """
    found: list[tuple[float, Layer]] = []
    for network in record.networks:
        for layer in network.layers.values():
            if layer.kind not in _RECTIFIERS or layer.fired_at is None or len(layer.steps) < _SAMPLES:
                continue
            since = layer.steps[-_SAMPLES]
            dead = float((layer.fired_at < since).mean())
            if dead > _DEAD and len(layer.fired_at) >= 4:
                found.append((dead, layer))
    if not found:
        return
    share, worst = max(found, key=lambda item: item[0])
    assert worst.fired_at is not None
    never = float((worst.fired_at < worst.steps[1]).mean())
    first, last = start_and_end(record)
    known = label_shares(record) is not None
    learnt = accuracy_of_steps(record, last=20) > 0.9 or last < 0.5 * first or (known and not poor(record))
    harmless = learnt and (share < 0.8 or accuracy_of_steps(record, last=20) > 0.9)  # enough units are left
    yield Diagnosis(
        code="dead-relu",
        confidence=0.85 if share > 0.8 else 0.7,
        severity="note" if harmless else "alarm",
        message=f"{100 * share:.0f} % of the units of {worst.name} put out nothing for any image of the last "
        f"{_SAMPLES} batches looked at"
        + (f"; so do units of {counted(len(found) - 1, 'other layer')}" if len(found) > 1 else "")
        + (" (they were dead from the start)" if never > _DEAD else ""),
        fix="check the initialisation (Kaiming, biases at 0) and the scale of the inputs"
        if never > _DEAD
        else "lower the learning rate; if units still die, use LeakyReLU or normalise before the ReLU",
        confirm="fewer than a tenth of the units are silent after the first epoch",
        evidence={
            "layers": [
                {"layer": layer.name, "dead_share": round(dead, 3), "units": layer.out_shape[1]}
                for dead, layer in sorted(found, key=lambda item: -item[0])[:20]
            ],
            "from_the_start": never > _DEAD,
        },
        where=worst.name,
    )


@PROBES.register("saturated-units", summary="sigmoid or tanh units at the ends of their range")
def saturated_units(record: Record) -> Iterator[Diagnosis]:
    """Most units of a layer lie within 5 % of the ends of their range for more than 85 % of the images."""
    found = [
        (float(np.median(layer.saturated[-3:])), layer)
        for network in record.networks
        for layer in network.layers.values()
        if layer.kind in ("Sigmoid", "Tanh", "Hardsigmoid") and len(layer.steps) >= 2
    ]
    ends = {max(network.layers.values(), key=lambda each: each.order).name for network in record.networks}
    found = [item for item in found if item[0] > _SATURATED and item[1].name not in ends]  # sure answers lie there
    if not found:
        return
    share, worst = max(found, key=lambda item: item[0])
    yield Diagnosis(
        code="saturated-units",
        confidence=0.85,
        message=f"{100 * share:.0f} % of the units of {worst.name} ({worst.kind}) lie at the ends of their range for "
        "nearly every image, where their gradient is close to 0",
        fix="normalise the inputs, initialise by Xavier's rule, put a normalisation before it, or use ReLU",
        confirm="the units' values spread over their range",
        evidence={"layers": [{"layer": layer.name, "saturated_share": round(part, 3)} for part, layer in found[:20]]},
        where=worst.name,
    )
