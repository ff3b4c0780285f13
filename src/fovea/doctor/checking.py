"""`checkup`: look at a network, a loss and a loader for a few seconds before a training begins.

Everything happens on a deep copy of the network, with PyTorch's, NumPy's and Python's random states, and those of the
loader's own generators, put back afterwards. It tells what one batch can show; the rest takes a training and `watch`.
"""

from __future__ import annotations

import copy
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from fovea.core.errors import DataError, FoveaError
from fovea.core.wording import counted, duration, listed, number, percent
from fovea.doctor.diagnosis import diagnose
from fovea.doctor.finding import Diagnosis
from fovea.doctor.probes.capacity import network_field
from fovea.doctor.record import Record
from fovea.doctor.tensors import find_inputs, find_labels, find_scores, is_class_labels
from fovea.doctor.watching import Doctor

LossFunction = Callable[[Any, Any], torch.Tensor]
_MOST_IMAGES, _MOST_STEPS, _LEAST_STEPS = 32, 200, 60
_FROM_ONE_BATCH = frozenset({
    "softmax-before-loss", "loss-summed", "loss-sign", "missing-nonlinearity", "constant-init", "init-scale", "nan",
    "not-normalised", "normalised-twice", "dead-relu", "saturated-units", "vanishing-gradient", "exploding-gradient",
    "detached-graph", "batchnorm-momentum", "bias-before-norm", "dropout-misuse", "receptive-field",
})  # fmt: skip


@dataclass(frozen=True)
class Checkup:
    """What a checkup found.

    Args:
        findings: best guess first, as a `Doctor` has them.
        measured: what was measured, by name.
        unseen: what could not be checked, in words.
        seconds: that it took.
    """

    findings: tuple[Diagnosis, ...]
    measured: Mapping[str, str]
    unseen: tuple[str, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether there is no alarm."""
        return not any(finding.severity == "alarm" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return everything that is said as JSON-ready values."""
        return {
            "healthy": self.healthy,
            "findings": [finding.as_dict() for finding in self.findings],
            "measured": dict(self.measured),
            "seconds": round(self.seconds, 2),
            "unseen": list(self.unseen),
        }

    def to_json(self) -> str:
        """Return `as_dict` as indented JSON."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def text(self) -> str:
        """Return what is said, for a terminal."""
        lines = [f"checkup: {duration(self.seconds)}"]
        lines += [f"  {name}: {value}" for name, value in self.measured.items()]
        if self.healthy:
            lines.append("healthy: nothing was found that would harm a training")
        lines += [line for finding in self.findings for line in finding.lines()]
        lines += [f"not checked: {what}" for what in self.unseen]
        return "\n".join(lines)


def checkup(
    model: nn.Module,
    loss_fn: LossFunction,
    loader: DataLoader[Any],
    *,
    optimizer: Optimizer | None = None,
    budget_s: float = 5.0,
) -> Checkup:
    """Return what is wrong before a training begins.

    One batch (at most 32 images) is learnt by heart by a copy of the network, under observation; the loss at the start
    is held against ln C, the loss of empty images against that of real ones; parameters without a gradient, or that
    `optimizer` lacks, are named; the same index is loaded twice where `loader` does not shuffle.

    Args:
        model: the network as it will be trained; nothing of it changes.
        loss_fn: called with the network's output and the labels of a batch.
        loader: hands out batches of images and labels, as pairs or mappings with names.
        optimizer: of the training, to see whether it has every parameter; it takes no step.
        budget_s: seconds for learning one batch by heart; at most 200 steps are taken.

    Raises:
        DataError: if the loader hands out nothing, or no images and labels are found in what it does.

    Example:
        report = fovea.doctor.checkup(model, nn.CrossEntropyLoss(), loader, optimizer=optimizer)
        print(report.text())
    """
    began = time.perf_counter()
    with _random_states_kept(loader):
        images, labels = _first_batch(loader)
        device = next((each.device for each in model.parameters()), torch.device("cpu"))
        images, labels = images[:_MOST_IMAGES].to(device), labels[:_MOST_IMAGES].to(device)
        patient = copy.deepcopy(model)
        exam = _Exam(loss_fn, images, labels, budget_s)
        exam.learn_by_heart(patient)
        exam.compare_with_nothing(patient)
        exam.findings += [*_modes(model), *_missed(model, optimizer), *_loaded_twice(loader)]
    exam.findings.sort(key=lambda each: (each.severity != "alarm", -each.confidence))
    unseen = ["the index that is loaded twice: the dataset has none"] * isinstance(loader.dataset, IterableDataset)
    return Checkup(tuple(exam.findings), exam.measured, (*exam.unseen, *unseen), time.perf_counter() - began)


class _Exam:
    """One batch, and what was found with it."""

    def __init__(self, loss_fn: LossFunction, images: torch.Tensor, labels: torch.Tensor, budget_s: float) -> None:
        self._loss_fn, self._images, self._labels, self._budget_s = loss_fn, images, labels, budget_s
        self.findings: list[Diagnosis] = []
        self.measured: dict[str, str] = {}
        self.unseen: list[str] = []
        self._losses: list[float] = []

    def learn_by_heart(self, patient: nn.Module) -> None:
        """Train on the one batch, without dropout, until it is learnt or time is up; judge what was seen."""
        patient.train()
        for layer in patient.modules():
            if isinstance(layer, _DropoutNd):
                layer.eval()
        weights = [each for each in patient.parameters() if each.requires_grad]
        if not weights:
            self.unseen.append("learning one batch by heart: no parameter is trainable")
            return
        adam = torch.optim.Adam(weights, lr=1e-3)
        until = time.perf_counter() + self._budget_s
        watched = Doctor()
        scores = None
        try:
            with watched, torch.enable_grad():
                for _ in range(_MOST_STEPS):
                    adam.zero_grad()
                    output = patient(self._images)
                    loss = self._loss_fn(output, self._labels)
                    loss.backward()
                    adam.step()
                    self._losses.append(float(loss.detach()))
                    scores = find_scores(output)
                    if self._losses[-1] < 0.02 * abs(self._losses[0]) or time.perf_counter() > until:
                        break
        except FoveaError:
            raise
        except Exception as error:  # whatever a network or a loss can raise is the answer
            self.findings.append(_broken(error, self._images, self._labels))
        self._judge(watched.record, scores)

    def _judge(self, record: Record, scores: torch.Tensor | None) -> None:
        self.findings += [each for each in diagnose(record) if each.code in _FROM_ONE_BATCH]
        if not self._losses:
            return
        first, last, steps = self._losses[0], self._losses[-1], len(self._losses)
        classes = scores is not None and is_class_labels(self._labels, scores)
        guess = ""
        if scores is not None and classes:
            guess = f"; guessing among {scores.shape[1]} classes loses {math.log(scores.shape[1]):.2f}"
            right = float((scores.argmax(1) == self._labels).float().mean())
            self.measured["one batch by heart"] = f"{percent(right)} right after {counted(steps, 'step')}"
        self.measured["loss at the start"] = f"{number(first)}{guess}"
        self.measured["loss of one batch at the end"] = number(last)
        for network in record.networks:
            field, layer = network_field(network)
            if layer is not None:
                self.measured["receptive field"] = f"{field} x {field} pixels at {layer.name}"
        learnt = right >= 0.95 if classes else last < 0.5 * first
        if steps >= _LEAST_STEPS and not learnt and not _improves(self._losses) and not _alarmed(self.findings):
            self.findings.append(
                Diagnosis(
                    code="under-capacity",
                    confidence=0.6,
                    message=f"one batch of {counted(len(self._images), 'image')} is not learnt by heart in "
                    f"{counted(steps, 'step')}: its loss goes from {first:.3g} to {last:.3g} and rests there",
                    fix="widen the network; if that does not help, look for what cuts the labels off from the images",
                    confirm="one batch reaches a training error of 0",
                    evidence={"first_loss": first, "last_loss": last, "steps": steps},
                )
            )

    @torch.no_grad()
    def compare_with_nothing(self, patient: nn.Module) -> None:
        """Hold the loss of empty images against that of the real ones."""
        if not self._losses or not math.isfinite(self._losses[-1]):
            return
        real, empty = (
            float(self._loss_fn(patient(images), self._labels))
            for images in (self._images, torch.zeros_like(self._images))
        )
        self.measured["loss of empty images"] = f"{number(empty)}; of real ones {number(real)}"
        scores = find_scores(patient(self._images))
        same = scores is not None and len(scores) > 1 and _spread(scores) < 1e-4 * float(scores.abs().max())
        constant = bool((self._images == self._images[:1]).all())
        if len(self._images) > 1 and (constant or same):
            self.findings = [each for each in self.findings if each.code != "under-capacity"]
            self.findings.append(
                Diagnosis(
                    code="input-ignored",
                    confidence=0.9 if constant else 0.75,
                    message="all images of the batch are the same"
                    if constant
                    else "the network answers the same for every image of the batch (loss of empty images "
                    f"{empty:.3g}, of real ones {real:.3g}): it does not depend on the pixels",
                    fix="look at a batch as pictures; check the path from the file to the first layer",
                    confirm="the loss of real images falls below that of empty ones",
                    evidence={"real": real, "empty": empty},
                )
            )


def _spread(scores: torch.Tensor) -> float:
    """Return how far any score (B, ...) is from its mean over the batch."""
    return float((scores - scores.mean(dim=0)).abs().max())


def _alarmed(findings: list[Diagnosis]) -> bool:
    return any(each.severity == "alarm" for each in findings)


def _improves(losses: list[float]) -> bool:
    """Whether the loss still fell by a tenth over the last third."""
    part = len(losses) // 3
    return float(np.mean(losses[-part:])) < 0.9 * float(np.mean(losses[-2 * part : -part]))


def _broken(error: Exception, images: torch.Tensor, labels: torch.Tensor) -> Diagnosis:
    told = str(error).strip().splitlines()
    return Diagnosis(
        code="wrong-head",
        confidence=0.7,
        message=f"forward, loss or backward fail on a batch of images {tuple(images.shape)} ({images.dtype}) and "
        f"labels {tuple(labels.shape)} ({labels.dtype}): {type(error).__name__}: {told[0] if told else ''}",
        fix="match the network's outputs to the labels, and both to what the loss expects",
        confirm="one batch passes through network, loss and backward",
        evidence={"error": f"{type(error).__name__}: {error}"},
    )


def _modes(model: nn.Module) -> Iterator[Diagnosis]:
    """Yield a note where layers that mind their mode are in evaluation mode before a training."""
    minding = {name: each for name, each in model.named_modules() if isinstance(each, (_BatchNorm, _DropoutNd))}
    wrong = [name for name, each in minding.items() if not each.training]
    if wrong:
        yield Diagnosis(
            code="batchnorm-mode",
            confidence=0.5,
            severity="note",
            message=f"{len(wrong)} of {counted(len(minding), 'layer')} with BatchNorm or dropout are in evaluation "
            f"mode now ({listed(wrong, limit=2)})",
            fix="call model.train() before training, unless they are frozen on purpose",
            evidence={"layers": wrong[:50]},
            where=wrong[0],
        )


def _missed(model: nn.Module, optimizer: Optimizer | None) -> Iterator[Diagnosis]:
    """Yield what the optimiser lacks of the network's trainable parameters."""
    if optimizer is None:
        return
    has = {id(each) for group in optimizer.param_groups for each in group["params"]}
    own = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    missed = [name for name, each in own if id(each) not in has]
    if missed:
        yield Diagnosis(
            code="optimizer-misses-parameters",
            confidence=0.9,
            message=f"the optimiser has none of {counted(len(missed), 'trainable parameter')} of {len(own)}: "
            f"{listed(missed, limit=3)}",
            fix="build the optimiser from model.parameters() after the network is complete; to freeze on purpose, set "
            "requires_grad to False",
            confirm="every trainable parameter is in the optimiser",
            evidence={"missed": missed[:50]},
        )


def _loaded_twice(loader: DataLoader[Any]) -> Iterator[Diagnosis]:
    """Yield that images are random, where the loader does not shuffle, as loaders of validation images do not."""
    if isinstance(loader.dataset, IterableDataset) or not isinstance(loader.sampler, SequentialSampler):
        return
    count = len(loader.sampler)
    first, second = ([_images_of(loader.dataset[index]) for index in range(min(4, count))] for _ in range(2))
    differ = [
        index
        for index, (one, other) in enumerate(zip(first, second, strict=True))
        if one is not None and other is not None and not torch.equal(one, other)
    ]
    if differ:
        yield Diagnosis(
            code="augmented-validation",
            confidence=0.7,
            message=f"image {differ[0]} has other pixels each time that it is loaded, though the loader does not "
            "shuffle as one for training would",
            fix="give validation a transform without random steps; if this loader is for training, shuffle",
            confirm="loading the same index twice gives the same tensor",
            evidence={"indices": differ},
        )


def _images_of(item: Any) -> torch.Tensor | None:
    values = item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else [item]
    return find_inputs(list(values), {})


def _first_batch(loader: DataLoader[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images and labels of the first batch."""
    batch = next(iter(loader), None)
    if batch is None:
        raise DataError("the loader hands out no batch", hint="look at len(loader.dataset) and at drop_last")
    images, labels = _images_of(batch), find_labels(batch)
    if images is None or labels is None:
        raise DataError(
            f"no images and labels were found in a batch, which is a {type(batch).__name__}",
            hint="let the dataset return (image, label), or a mapping with 'image' and 'label'",
        )
    return images, labels


@contextmanager
def _random_states_kept(loader: DataLoader[Any]) -> Iterator[None]:
    """Put back every random state afterwards: Python's, NumPy's, PyTorch's on all devices, the loader's own."""
    own = {
        id(each): each
        for each in (loader.generator, getattr(loader.sampler, "generator", None))
        if isinstance(each, torch.Generator)
    }
    states = [(each, each.get_state()) for each in own.values()]
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        for generator, state in states:
            generator.set_state(state)
