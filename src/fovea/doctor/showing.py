"""What shows a finding: the small drawing or pictures that belong to its code, and the step at which it arose."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import numpy as np

from fovea.core import matrix
from fovea.core.report import Block, Figure, Gallery, Picture
from fovea.doctor import pictures
from fovea.doctor.finding import Diagnosis
from fovea.doctor.galleries import leaked
from fovea.doctor.reading import batches_of, label_counts, losses_of_steps, main_rounds
from fovea.doctor.record import Gallery as Seen
from fovea.doctor.record import Layer, Network, Record

PICTURES = 24  # of each phase or finding
_LEAPT = 1.5  # times the first loss

Drawn = tuple[str | None, str]  # an SVG or nothing, and its caption


def blocks_for(record: Record, finding: Diagnosis, classes: Sequence[str]) -> list[Block]:
    """Return the drawing, or the pictures, that show a finding; empty where the record holds none."""
    if finding.code in ("class-map", "decision-threshold") and (shown := confusion(record, classes)):
        return [shown]
    if finding.code in _GALLERIES:
        return _GALLERIES[finding.code](record, classes)
    if finding.code not in _DRAWN:
        return []
    drawing, caption = _DRAWN[finding.code](record, finding)
    return [Figure(drawing, caption, caption, half=True)] if drawing else []


def moment(record: Record, finding: Diagnosis) -> int | None:
    """Return the step at which a finding arose, or None where the record does not tell.

    >>> moment(Record(), Diagnosis(code="nan", confidence=1, message="", fix="", evidence={"step": 7}))
    7
    """
    find = _MOMENTS.get(finding.code)
    return None if find is None else find(record, finding)


def confusion(record: Record, classes: Sequence[str]) -> Figure | None:
    """Return the confusion matrix of the last evaluation, or None where labels were not seen."""
    rounds = [each for each in main_rounds(record) if each.confusion is not None]
    if not rounds:
        return None
    last = rounds[-1]
    assert last.confusion is not None
    names = [classes[number] if number < len(classes) else f"{number}" for number in range(len(last.confusion))]
    drawing = matrix.confusion(last.confusion, names, order=matrix.cluster(last.confusion))
    caption = f"The last evaluation, after {last.step:,} steps: {last.right:,} of {last.judged:,} images right."
    return Figure(drawing, caption, caption)


def shown_pictures(seen: Seen, rows: Sequence[int], classes: Sequence[str]) -> list[Picture]:
    """Return some of the small pictures that were kept, each with its label and the step it was seen at."""
    made = []
    for row in list(rows)[:PICTURES]:
        label = seen.labels[row]
        name = "" if label < 0 else classes[label] if label < len(classes) else f"{label}"
        picture = seen.colours[row] if row < len(seen.colours) else seen.pictures[row]
        made.append(Picture(_png(picture), name, f"step {seen.steps[row]}", alt=f"an input, label {name}"))
    return made


def labels_seen(record: Record) -> dict[str, np.ndarray]:
    """Return how often each label occurred in training and in evaluation, (C,) each, where labels were seen."""
    found = {}
    if (counts := label_counts(record)) is not None:
        found["training"] = counts
    rounds = [each for each in main_rounds(record) if each.confusion is not None]
    if rounds and rounds[-1].confusion is not None:
        found["evaluation"] = rounds[-1].confusion.sum(axis=1)
    return found


def channel_drawing(record: Record) -> str | None:
    """Draw the channels of the images that training and evaluation were given."""
    named = {}
    for told, own in (("training", batches_of(record, "train")), ("evaluation", batches_of(record, "eval"))):
        if own and len({len(batch.mean) for batch in own}) == 1:
            named[told] = (np.mean([b.mean for b in own], axis=0), np.mean([b.std for b in own], axis=0))
    return pictures.channels(named)


def _png(picture: np.ndarray) -> bytes:
    """Return a grey picture (H, W) or one in colour (H, W, 3), of uint8, as a PNG."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


# -- drawings ---------------------------------------------------------------------------------------------------------


def _loss(record: Record, finding: Diagnosis) -> Drawn:
    named = {"chance_loss": "guessing", "loss_floor": "floor of the loss"}
    evidence = finding.evidence
    levels = {told: float(evidence[key]) for key, told in named.items() if isinstance(evidence.get(key), float)}
    when = moment(record, finding)
    marks = {"here": when} if when else None
    caption = "The loss over the steps" + (f"; dashed: {' and '.join(levels)}." if levels else ".")
    return pictures.loss_curve(record, marks=marks, levels=levels), caption


def _accuracy(record: Record, finding: Diagnosis) -> Drawn:
    return pictures.accuracy_curve(record), "The share of images told right."


def _rates(record: Record, finding: Diagnosis) -> Drawn:
    return pictures.rate_curve(record.optimisers), "The learning rate over the steps."


def _gradient(record: Record, finding: Diagnosis) -> Drawn:
    drawing = pictures.gradient_norm(network) if (network := _trained(record)) else None
    return drawing, "The norm of the whole gradient at the steps that were looked at."


def _gradient_by_layer(record: Record, finding: Diagnosis) -> Drawn:
    return _by_weight(record, "gradient"), "The usual norm of each weight's gradient, from the first layer to the last."


def _changes(record: Record, finding: Diagnosis) -> Drawn:
    caption = "How much a step usually changes each weight, as a share of it; what has no bar never changed."
    return _by_weight(record, "update"), caption


def _by_weight(record: Record, what: str) -> str | None:
    network = _trained(record)
    if network is None:
        return None
    label = {"gradient": "norm of the gradient", "update": "update over weight"}[what]
    named = {}
    for each in network.parameters.values():
        if len(each.shape) < 2:
            continue
        values = each.gradient if what == "gradient" else _ratios(each.update, each.weight)
        known = [value for value in values if math.isfinite(value)]
        named[each.name] = float(np.median(known)) if known else 0.0
    return pictures.layer_bars(named, label=label, log=True)


def _ratios(update: Sequence[float], weight: Sequence[float]) -> list[float]:
    return [u / w if w else math.nan for u, w in zip(update, weight, strict=True)]


def _silent_units(record: Record, finding: Diagnosis) -> Drawn:
    named = {}
    for layer in _seen_layers(record):
        if layer.fired_at is not None and layer.kind in pictures.RECTIFIERS:
            named[layer.name or layer.kind] = 100 * float((layer.fired_at < layer.steps[-1]).mean())
    drawing = pictures.layer_bars(named, label="% of the units silent at the last sample", limit=50.0)
    return drawing, "How many units of each layer no image makes fire any more; dashed, half of them."


def _saturated(record: Record, finding: Diagnosis) -> Drawn:
    named = {
        layer.name or layer.kind: 100 * layer.saturated[-1] for layer in _seen_layers(record) if any(layer.saturated)
    }
    drawing = pictures.layer_bars(named, label="% of the units at the ends of their range", limit=50.0)
    return drawing, "How many units of each layer sit where their slope is almost nothing; dashed, half of them."


def _channels(record: Record, finding: Diagnosis) -> Drawn:
    return channel_drawing(record), "Mean and spread of each channel as the network is given them."


def _labels(record: Record, finding: Diagnosis) -> Drawn:
    seen = labels_seen(record)
    width = max((len(counts) for counts in seen.values()), default=0)
    return pictures.label_bars(seen, [f"{number}" for number in range(width)]), "How often each label occurred."


def _order(record: Record, finding: Diagnosis) -> Drawn:
    loaders = [loader for loader in record.loaders if loader.phase == "train" and loader.label_batches]
    caption = "Labels as they are handed out: mixed ones are a cloud, sorted ones a staircase."
    return (pictures.label_order(loaders[0]) if loaders else None), caption


def _modes(record: Record, finding: Diagnosis) -> Drawn:
    caption = "How much of each evaluation was done by a network in training mode; 0 is right."
    return pictures.evaluations_by_mode(record), caption


def _trained(record: Record) -> Network | None:
    """Return the network of which most parameters were seen to move."""
    moved = [(sum(bool(p.steps) for p in network.parameters.values()), network) for network in record.networks]
    return max(moved, key=lambda pair: pair[0])[1] if any(count for count, _ in moved) else None


def _seen_layers(record: Record) -> list[Layer]:
    layers = [layer for network in record.networks for layer in network.layers.values() if layer.steps]
    return sorted(layers, key=lambda layer: layer.order)


_DRAWN: dict[str, Callable[[Record, Diagnosis], Drawn]] = {
    **dict.fromkeys(
        (
            *("softmax-before-loss", "loss-summed", "loss-sign", "init-scale", "nan", "learning-rate-high"),
            *("learning-rate-low", "momentum-high", "underfitting", "overfitting", "missing-zero-grad", "wrong-head"),
            *("constant-init", "amp-underflow", "weight-decay-high", "input-ignored"),
        ),
        _loss,
    ),
    **dict.fromkeys(
        ("validation-too-small", "batchnorm-small-batch", "batchnorm-momentum", "dropout-misuse"), _accuracy
    ),
    **dict.fromkeys(("detached-graph", "frozen-parameters", "optimizer-misses-parameters"), _changes),
    **dict.fromkeys(("not-normalised", "normalised-twice", "train-eval-transform", "channel-order"), _channels),
    "schedule-unit": _rates,
    "exploding-gradient": _gradient,
    "vanishing-gradient": _gradient_by_layer,
    "dead-relu": _silent_units,
    "saturated-units": _saturated,
    "imbalance": _labels,
    "not-shuffled": _order,
    "eval-in-train-mode": _modes,
    "batchnorm-mode": _accuracy,
}


def _shared(record: Record, classes: Sequence[str]) -> list[Block]:
    train, evaluated = record.galleries["train"], record.galleries["eval"]
    if not train.pictures or not evaluated.pictures:
        return []
    rows = np.flatnonzero(leaked(train, evaluated)).tolist()
    return [Gallery(shown_pictures(evaluated, rows, classes), title="Evaluated, and in training too", strip=True)]


def _labelled(record: Record, classes: Sequence[str]) -> list[Block]:
    train = record.galleries["train"]
    rows = sorted(range(len(train.pictures)), key=lambda row: train.labels[row])
    spread = [rows[place] for place in np.linspace(0, len(rows) - 1, min(len(rows), PICTURES)).astype(int)]
    return [Gallery(shown_pictures(train, spread, classes), title="Training images, by label", strip=True)]


def _again(record: Record, classes: Sequence[str]) -> list[Block]:
    """The first images of the first evaluations, which should be the same ones."""
    evaluated = record.galleries["eval"]
    steps = list(dict.fromkeys(evaluated.steps))[:3]
    rows = [[row for row, at in enumerate(evaluated.steps) if at == step][: PICTURES // 3] for step in steps]
    title = "The first images of several evaluations: they should repeat"
    return [
        Gallery(shown_pictures(evaluated, [row for part in rows for row in part], classes), title=title, strip=True)
    ]


_GALLERIES: dict[str, Callable[[Record, Sequence[str]], list[Block]]] = {
    "split-leakage": _shared,
    "labels-shuffled": _labelled,
    "augmented-validation": _again,
}


# -- moments ----------------------------------------------------------------------------------------------------------


def _leap(record: Record, finding: Diagnosis) -> int | None:
    """The first step whose loss is far above the first one, or no number."""
    values = losses_of_steps(record)
    if not len(values) or not math.isfinite(values[0]):
        return None
    far = np.flatnonzero(~(values <= _LEAPT * values[0]))
    return int(far[0]) if len(far) else None


def _fell_silent(record: Record, finding: Diagnosis) -> int | None:
    """The last sample at which most of the units that are silent now still fired."""
    layers = [
        layer for layer in _seen_layers(record) if layer.name == str(finding.where) and layer.fired_at is not None
    ]
    if not layers or layers[0].fired_at is None:
        return None
    silent = layers[0].fired_at[layers[0].fired_at < layers[0].steps[-1]]
    return max(0, int(np.median(silent))) if len(silent) else None


def _best_round(record: Record, finding: Diagnosis) -> int | None:
    rounds = [each for each in main_rounds(record) if math.isfinite(each.loss)]
    return min(rounds, key=lambda each: each.loss).step if rounds else None


def _largest_gradient(record: Record, finding: Diagnosis) -> int | None:
    network = _trained(record)
    traces = [] if network is None else [each for each in network.parameters.values() if each.name == finding.where]
    if not traces:
        return None
    gradient = np.nan_to_num(traces[0].gradient, nan=0.0)
    return traces[0].steps[int(gradient.argmax())]


def _first(flags: Sequence[bool], steps: Sequence[int]) -> int | None:
    return next((step for flag, step in zip(flags, steps, strict=True) if flag), None)


def _from_evidence(key: str) -> Callable[[Record, Diagnosis], int | None]:
    return lambda record, finding: None if finding.evidence.get(key) is None else int(finding.evidence[key])


_MOMENTS: dict[str, Callable[[Record, Diagnosis], int | None]] = {
    "nan": _from_evidence("step"),
    "batchnorm-mode": _from_evidence("first_step"),
    "learning-rate-high": _leap,
    "momentum-high": _leap,
    "exploding-gradient": _largest_gradient,
    "dead-relu": _fell_silent,
    "overfitting": _best_round,
    "missing-zero-grad": lambda record, finding: _first(
        [step.stale_gradients for step in record.steps], range(len(record.steps))
    ),
    "loss-sign": lambda record, finding: _first([step.flipped for step in record.steps], range(len(record.steps))),
    "eval-in-train-mode": lambda record, finding: _first(
        [each.training_mode > 0 for each in record.rounds], [each.step for each in record.rounds]
    ),
    "schedule-unit": lambda record, finding: next((at for each in record.optimisers for at in each.lr_set_at), None),
    **dict.fromkeys(
        ("softmax-before-loss", "loss-summed", "init-scale", "constant-init", "not-normalised", "normalised-twice"),
        lambda record, finding: 0,
    ),
}
