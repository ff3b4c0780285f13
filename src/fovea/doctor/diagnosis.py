"""From a record to what is said: every probe is asked, causes come before what follows from them.

A finding that another one explains is not said for itself: it becomes part of that one's chain.
"""

from __future__ import annotations

import dataclasses
import warnings

from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.probes import all_probes as all_probes
from fovea.doctor.reading import nothing_to_gain
from fovea.doctor.record import Record

_LEAST_CAUSE = 0.5  # confidence below which nothing is explained by a finding
_DIVERGED = (
    "learning-rate-high",
    "exploding-gradient",
    "nan",
    "dead-relu",
    "underfitting",
    "init-scale",
    "momentum-high",
)
_STUCK = ("underfitting", "learning-rate-low", "decision-threshold")
_COSTS_ACCURACY = (  # and nothing else: where all is told right, they are worth knowing and no more
    "dead-relu", "dropout-misuse", "exploding-gradient", "init-scale", "learning-rate-high", "learning-rate-low",
    "loss-summed", "momentum-high", "saturated-units", "under-capacity", "underfitting", "vanishing-gradient",
    "weight-decay-high",
)  # fmt: skip
EXPLAINS: dict[str, tuple[str, ...]] = {
    "not-normalised": (*_DIVERGED, *_STUCK, "saturated-units"),
    "normalised-twice": (*_DIVERGED, *_STUCK, "saturated-units", "labels-shuffled"),
    "missing-zero-grad": (*_DIVERGED, *_STUCK, "detached-graph", "frozen-parameters"),
    "amp-underflow": (*_STUCK, "frozen-parameters"),
    "loss-summed": (*_DIVERGED,),
    "loss-sign": (*_DIVERGED, *_STUCK),
    "softmax-before-loss": (*_STUCK, "vanishing-gradient"),
    "constant-init": (*_STUCK, "vanishing-gradient", "dead-relu"),
    "init-scale": ("exploding-gradient", "nan", "saturated-units", "dead-relu", "learning-rate-high", *_STUCK),
    "learning-rate-high": ("exploding-gradient", "nan", "dead-relu", "saturated-units", *_STUCK),
    "momentum-high": ("learning-rate-high", "exploding-gradient", "nan", "dead-relu", *_STUCK),
    "exploding-gradient": ("nan", *_STUCK),
    "nan": ("exploding-gradient", *_STUCK),
    "dead-relu": ("vanishing-gradient", *_STUCK),
    "saturated-units": ("vanishing-gradient", *_STUCK),
    "vanishing-gradient": (*_STUCK,),
    "detached-graph": ("frozen-parameters", *_STUCK),
    "optimizer-misses-parameters": ("frozen-parameters", *_STUCK),
    "frozen-parameters": (*_STUCK,),
    "weight-decay-high": (*_STUCK, "dead-relu", "vanishing-gradient"),
    "schedule-unit": (*_STUCK,),
    "dropout-misuse": (*_STUCK,),
    "not-shuffled": (
        "underfitting",
        "labels-shuffled",
        "dead-relu",
        "decision-threshold",
        "learning-rate-high",
        "overfitting",
    ),
    "input-ignored": (*_STUCK, "labels-shuffled", "normalised-twice", "train-eval-transform"),
    "labels-shuffled": ("underfitting", "overfitting", "noisy-labels", "under-capacity", "dead-relu"),
    "class-map": ("overfitting", "labels-shuffled"),
    "wrong-head": (*_STUCK, "init-scale", "dead-relu", "loss-sign"),
    "train-eval-transform": ("class-map", "augmentation-too-strong", "overfitting", "decision-threshold"),
    "channel-order": ("class-map", "overfitting", "train-eval-transform"),
    "bad-resize": ("overfitting", "train-eval-transform", "augmentation-too-strong", "split-leakage", *_STUCK),
    "metadata-shortcut": ("overfitting",),
    "augmented-validation": ("train-eval-transform", "augmentation-too-strong"),
    "batchnorm-mode": ("underfitting", "overfitting"),
    "batchnorm-momentum": ("overfitting",),
    "eval-in-train-mode": ("augmented-validation", "overfitting"),
    "learning-rate-low": ("underfitting",),
    "imbalance": ("decision-threshold", "labels-shuffled", "underfitting"),
    "missing-nonlinearity": (*_STUCK, "under-capacity"),
    "noisy-labels": ("underfitting", "overfitting", "under-capacity"),
    "label-changing-augmentation": (
        "noisy-labels",
        "labels-shuffled",
        "augmentation-too-strong",
        "train-eval-transform",
        *_STUCK,
    ),
    "augmentation-too-strong": ("train-eval-transform", "labels-shuffled", *_STUCK),
    "under-capacity": ("dead-relu", *_STUCK),
    "receptive-field": ("under-capacity", *_STUCK),
}


def diagnose(record: Record) -> list[Diagnosis]:
    """Return what is the matter with a training, best guess first, alarms before notes.

    A probe that breaks costs its own answer and no training: `record.unseen` says so.
    """
    found: list[Diagnosis] = []
    for probe in PROBES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries that a probe asks: nothing that the user could change
                found += probe.build(record)
        except Exception as error:  # this runs at the end of somebody's training, whatever it was
            told = f"{probe.name}: {type(error).__name__}: {error}"
            record.unseen += [told] * (told not in record.unseen)
    if nothing_to_gain(record):
        found = [dataclasses.replace(each, severity="note") if each.code in _COSTS_ACCURACY else each for each in found]
    found.sort(key=lambda diagnosis: (diagnosis.severity != "alarm", -diagnosis.confidence))
    causes = [each for each in found if each.severity == "alarm" and each.confidence >= _LEAST_CAUSE]
    chains: dict[str, list[str]] = {}
    explained: set[int] = set()
    for cause in causes:
        if id(cause) in explained:
            continue
        for other in found:
            if other is not cause and other.severity == "alarm" and other.code in EXPLAINS.get(cause.code, ()):
                mutual = cause.code in EXPLAINS.get(other.code, ())
                if id(other) not in explained and not (mutual and other.confidence > cause.confidence):
                    explained.add(id(other))
                    chains.setdefault(cause.code, []).append(f"{other.code}: {other.message}")
    kept = [each for each in found if id(each) not in explained]
    return [dataclasses.replace(each, chain=tuple(chains.get(each.code, ()))) for each in kept]
