"""Baselines for bench/doctor.py: published rules, applied to the same records that the doctor reads.

Each returns the codes that it would name, surest first. Written from the papers and the documentation, not from their
code; where a rule needs what a record does not hold, it is left out and said so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fovea.doctor.reading import accuracy_of_steps, losses_of_steps, main_rounds, training_loss
from fovea.doctor.record import Record


def umlaut(record: Record) -> list[str]:
    """UMLAUT (Schoop et al., CHI 2021), table 1: input range, softmax, NaN, overfitting, rates, dropout."""
    found = []
    train = [batch for batch in record.batches if batch.phase == "train"]
    if train and (max(b.highest for b in train) > 1 or min(b.lowest for b in train) < -1):
        found.append("not-normalised")
    values = losses_of_steps(record)
    if np.isnan(values).any():
        found.append("nan")
    rates = record.optimisers[0].lr if record.optimisers else []
    if rates and rates[0] > 0.01:
        found.append("learning-rate-high")
    if rates and rates[0] < 1e-7:
        found.append("learning-rate-low")
    rounds = main_rounds(record)
    if rounds and accuracy_of_steps(record, last=50) > rounds[-1].accuracy:
        found.append("overfitting")
    loss = training_loss(record)
    if loss is not None and loss.rows_sum_to_one:
        found.append("softmax-before-loss")
    if any(
        layer.kind == "Dropout" and layer.settings.get("p", 0) > 0.5
        for n in record.networks
        for layer in n.layers.values()
    ):
        found.append("dropout-misuse")
    if rounds and rounds[-1].accuracy > 0.95:
        found.append("split-leakage")
    return found


def sagemaker(record: Record) -> list[str]:
    """SageMaker Debugger's built-in rules with their default thresholds."""
    found = []
    values = losses_of_steps(record)
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        found.append("nan")
    for network in record.networks:
        for each in network.parameters.values():
            if not each.steps:
                continue
            gradient = float(np.nanmax([*each.gradient, 0]))
            size = math.sqrt(math.prod(each.shape))
            if gradient / size < 1e-7 and "vanishing-gradient" not in found:
                found.append("vanishing-gradient")
            if each.equal_rows > 0.9 and "constant-init" not in found:
                found.append("constant-init")
            if max(each.update) == 0 and "frozen-parameters" not in found:
                found.append("frozen-parameters")
        for layer in network.layers.values():
            if layer.kind == "ReLU" and layer.zeros and layer.zeros[-1] > 0.85 and "dead-relu" not in found:
                found.append("dead-relu")
            if layer.kind in ("Tanh", "Sigmoid") and layer.saturated and layer.saturated[-1] > 0.5:
                found.append("saturated-units")
    train = [batch for batch in record.batches if batch.phase == "train"]
    if train and float(np.abs(np.mean([b.mean for b in train], axis=0)).max()) > 0.2:
        found.append("not-normalised")
    loss = training_loss(record)
    if loss is not None and loss.label_counts is not None:
        known = loss.label_counts[loss.label_counts > 0]
        if len(known) and known.max() / known.min() > 10:
            found.append("imbalance")
    if len(finite) > 20 and finite[-10:].mean() > 0.99 * finite[-20:-10].mean():
        found.append("learning-rate-low")  # LossNotDecreasing
    rounds = [each for each in main_rounds(record) if math.isfinite(each.loss)]
    if rounds and len(finite) and rounds[-1].loss > 1.1 * finite[-10:].mean():
        found.append("overfitting")
    return found


def deep_diagnosis(record: Record) -> list[str]:
    """DeepDiagnosis (Wardat et al., ICSE 2022), its eight symptoms, mapped to the fault that each stands for."""
    found = []
    values = losses_of_steps(record)
    if not np.isfinite(values).all():
        found.append("nan")
    for network in record.networks:
        for layer in network.layers.values():
            if layer.kind == "ReLU" and layer.zeros and float(np.mean(layer.zeros)) > 0.7 and "dead-relu" not in found:
                found.append("dead-relu")
            if layer.kind in ("Tanh", "Sigmoid") and layer.largest and layer.largest[-1] > 0.99:
                found.append("saturated-units")
        gradients = [each.gradient[-1] for each in network.parameters.values() if each.gradient and len(each.shape) > 1]
        gradients = [value for value in gradients if math.isfinite(value)]
        if gradients and min(gradients) < 1e-6:
            found.append("vanishing-gradient")
        if gradients and max(gradients) > 70:
            found.append("exploding-gradient")
        if any(each.steps and max(each.update) == 0 for each in network.parameters.values()):
            found.append("frozen-parameters")
    finite = values[np.isfinite(values)]
    if len(finite) > 20 and finite[-10:].mean() > 0.98 * finite[:10].mean():
        found.append("learning-rate-low")  # loss not decreasing
    accuracy = accuracy_of_steps(record, last=30)
    if math.isfinite(accuracy) and accuracy < 0.3:
        found.append("underfitting")
    return found


def loss_curve(record: Record) -> list[str]:
    """What people look at: not finite, rising, flat."""
    values = losses_of_steps(record)
    if not np.isfinite(values).all():
        return ["nan"]
    if len(values) < 20:
        return []
    first, last = values[:10].mean(), values[-10:].mean()
    if last > 1.2 * first:
        return ["learning-rate-high"]
    return ["learning-rate-low"] if last > 0.9 * first else []


BASELINES: dict[str, Callable[[Record], list[str]]] = {
    "UMLAUT": umlaut,
    "SageMaker": sagemaker,
    "DeepDiagnosis": deep_diagnosis,
    "loss curve": loss_curve,
}
