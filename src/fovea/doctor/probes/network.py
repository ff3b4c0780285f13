"""Faults in the network itself: what lies between its layers, how it was initialised, normalisation and dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, listed, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import (
    FOR_NUMBERS,
    accuracy_of_steps,
    label_counts,
    main_rounds,
    poor,
    pretrained,
    training_loss,
)
from fovea.doctor.record import Layer, Loss, Network, Place, Record

_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "BatchNormAct2d")
_SMALL_BATCH = 8
_MANY = 0.4  # of the convolutions
_MUCH = 0.6  # dropout
_WORSE = 0.15  # by how much fewer evaluated images than training images are told right
_NEARLY_ALL, _SEVERAL = 0.95, 0.5  # of the calls
_PASSING = ("Dropout", "Dropout1d", "Dropout2d", "Flatten", "Identity", "AlphaDropout")


@PROBES.register("missing-nonlinearity", summary="linear layers one after another")
def missing_nonlinearity(record: Record) -> Iterator[Diagnosis]:
    """A linear layer takes the very output of another: together they are one linear layer.

    A narrow middle is a factorisation on purpose, as are a depthwise convolution before a 1x1 one and a convolution
    without an activation after a bottleneck (MobileNetV2); only full layers count.
    """
    for network in record.networks:
        pairs = [(first, second) for first, second in _linear_pairs(network) if not _factorised(first, second)]
        if not pairs:
            continue
        first, second = pairs[0]
        alike = [layer for layer in network.layers.values() if layer.kind == first.kind and layer.order >= 0]
        harmless = first.kind == "Conv2d" and len(pairs) < _MANY * len(alike) and not poor(record)
        yield Diagnosis(
            code="missing-nonlinearity",
            confidence=0.5 if harmless else 0.9 if first.kind == "Linear" else 0.75,
            severity="note" if harmless else "alarm",  # a stage's first convolution often has none, and others do
            message=f"{second.name} takes the output of {first.name} as it is: without a nonlinearity between them two "
            f"{first.kind} layers do no more than one"
            + (f" ({counted(len(pairs), 'such pair')} in {network.kind})" if len(pairs) > 1 else ""),
            fix=f"put a ReLU between {first.name} and {second.name}",
            confirm="training accuracy rises beyond that of a linear classifier",
            evidence={"pairs": [[one.name, other.name] for one, other in pairs][:20]},
            where=second.name,
        )


def _linear_pairs(network: Network) -> list[tuple[Layer, Layer]]:
    before = {second: first for first, second in network.follows}
    pairs = []
    for layer in network.layers.values():
        if layer.kind not in ("Linear", "Conv2d"):
            continue
        source = before.get(layer.name)
        while source is not None and network.layers[source].kind in (*_PASSING, *_NORMS):  # these are linear, too
            source = before.get(source)
        if source is not None and network.layers[source].kind == layer.kind:
            pairs.append((network.layers[source], layer))
    return pairs


def _factorised(first: Layer, second: Layer) -> bool:
    if first.kind == "Linear":
        middle = first.settings["out_features"]
        return bool(middle < first.settings["in_features"] and middle < second.settings["out_features"])
    one_by_one = any(_kernel(layer) == 1 for layer in (first, second))
    grouped = first.settings["groups"] > 1 or second.settings["groups"] > 1
    apart = any(min(_kernel_shape(layer)) == 1 for layer in (first, second))  # 1x3 before 3x1
    return one_by_one or grouped or apart


def _kernel_shape(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.settings["kernel_size"])


def _kernel(layer: Layer) -> int:
    return max(_kernel_shape(layer))


@PROBES.register("constant-init", summary="weights whose rows are all equal")
def constant_init(record: Record) -> Iterator[Diagnosis]:
    """Equal rows get equal gradients and stay equal: a layer of one unit."""
    for network in record.networks:
        equal = [each for each in network.parameters.values() if each.equal_rows == 1.0 and each.shape[0] > 2]
        order = {name: layer.order for name, layer in network.layers.items()}
        last = max(order.values(), default=-1)
        inner = [each for each in equal if order.get(each.module, -1) != last]  # a zero head is a good start
        if inner:
            yield Diagnosis(
                code="constant-init",
                confidence=0.95,
                message=f"all rows of {inner[0].name} were equal at the start"
                + (f", and so are those of {counted(len(inner) - 1, 'other weight')}" if len(inner) > 1 else "")
                + ": their units compute the same and get the same gradients, for ever",
                fix="initialise weights at random (nn.init.kaiming_normal_); zeros are for biases only",
                confirm="rows differ, and the loss falls",
                evidence={"parameters": [each.name for each in inner][:30]},
                where=inner[0].name,
            )


@PROBES.register("wrong-head", summary="more or fewer outputs than classes, or a loss for another task")
def wrong_head(record: Record) -> Iterator[Diagnosis]:
    """The width of the output against the labels, and the loss against both."""
    for other in record.losses:
        if other.phase == "train" and _compares_all_with_all(other):
            yield Diagnosis(
                code="wrong-head",
                confidence=0.97,
                message=f"{other.name} is given scores of shape {other.scores_shape} and targets of shape "
                f"{other.target_shape}, so that every score is compared with every target: the best answer is the mean "
                "of all targets",
                fix="give both one shape: scores.squeeze(1), or targets.unsqueeze(1)",
                confirm="PyTorch no longer warns of a target size that differs, and the loss falls below the variance "
                "of the targets",
                evidence={"scores": list(other.scores_shape), "targets": list(other.target_shape)},
                where=other.where,
            )
        if other.phase == "train" and other.name == "binary_cross_entropy" and _shares_one_yes(other):
            yield Diagnosis(
                code="wrong-head",
                confidence=0.93,
                message=f"images have several labels (in {other.several} of {other.looked_at} calls), but the scores "
                "given to binary_cross_entropy sum to 1 in each row: softmax shares one yes among the classes, so no "
                "two can be sure",
                fix="give every class a sigmoid of its own: raw scores to binary_cross_entropy_with_logits",
                confirm="the loss falls further, and several classes of an image reach 0.5",
                evidence={"calls": other.looked_at, "sum_to_one": other.rows_sum_to_one, "several": other.several},
                where=other.where,
            )
        if other.phase == "train" and other.name == "cross_entropy" and other.several > _SEVERAL * other.looked_at:
            yield Diagnosis(
                code="wrong-head",
                confidence=0.9,
                message=f"images have several labels (in {other.several} of {other.looked_at} calls), but "
                "cross_entropy shares one yes among the classes by its softmax, so no two can be sure",
                fix="give every class a yes or no of its own: binary_cross_entropy_with_logits on the same scores and "
                "targets",
                confirm="several classes of an image have a sigmoid above 0.5",
                evidence={"calls": other.looked_at, "several": other.several},
                where=other.where,
            )
        if other.phase == "train" and other.name == "nll_loss" and _gets_scores(other):
            yield Diagnosis(
                code="wrong-head",
                confidence=0.9,
                message=f"nll_loss expects logarithms of probabilities, which are never above 0, but is given scores "
                f"above 0 in {other.above_zero} of {other.looked_at} calls: the loss falls below 0 without learning",
                fix="use nn.CrossEntropyLoss, or log_softmax before nll_loss",
                confirm="the loss stays above 0",
                evidence={"calls": other.looked_at, "above_zero": other.above_zero},
                where=other.where,
            )
    loss, counts = training_loss(record), label_counts(record)
    if loss is not None and loss.classes and counts is not None:
        seen, images = int((counts > 0).sum()), int(counts.sum())
        enough, rest = images >= 5 * loss.classes, loss.classes - seen
        if loss.classes >= 2 * max(2, seen) and rest >= 4 and (enough or images >= 50 * seen):
            yield Diagnosis(
                code="wrong-head",
                confidence=0.85 if enough else 0.7,
                message=f"the network has {loss.classes} outputs, but only {counted(seen, 'class', 'classes')} "
                f"occurred among {images} labels",
                fix=f"give the last layer {seen} outputs",
                confirm=f"the first loss is near ln {seen}",
                evidence={"outputs": loss.classes, "classes": seen, "images": images},
                where=loss.where,
            )
    for other in record.losses:
        if other.phase != "train" or not other.calls:
            continue
        whole = len(other.target_shape) <= 2 and int(np.prod(other.target_shape[1:])) == 1  # not pictures
        certain = _classifies(record)
        if other.name in FOR_NUMBERS and whole and (certain or _like_classes(other)) and len(record.optimisers) == 1:
            yield Diagnosis(
                code="wrong-head",
                confidence=0.8 if certain else 0.6,
                message=f"{other.name} is a loss for numbers, but the labels are classes; class 3 is not three times "
                "class 1, and the gradient is weak where the answer is most wrong",
                fix="use nn.CrossEntropyLoss on one output for each class",
                confirm="training accuracy rises faster",
                evidence={"loss": other.name},
                where=other.where,
            )


def _compares_all_with_all(loss: Loss) -> bool:
    """Whether a loss for numbers stretches scores and targets against each other, as (B, 1) and (B,)."""
    shapes = loss.scores_shape, loss.target_shape
    if loss.name not in FOR_NUMBERS or shapes[0] == shapes[1]:
        return False
    try:
        together = math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        return False
    return together > max(math.prod(shape) for shape in shapes)


def _shares_one_yes(loss: Loss) -> bool:
    return loss.rows_sum_to_one >= _NEARLY_ALL * loss.looked_at > 0 and loss.several > _SEVERAL * loss.looked_at


def _gets_scores(loss: Loss) -> bool:
    return loss.looked_at >= 3 and loss.above_zero > 0.5 * loss.looked_at and not loss.rows_sum_to_one


def _like_classes(loss: Loss) -> bool:
    """Whether targets of numbers are 0, 1, 2 ... without a gap, each about as often: counts would thin out."""
    counts = loss.whole_counts
    if counts is None or counts.sum() < 100:
        return False
    highest = int(np.flatnonzero(counts).max())
    return highest >= 4 and bool(counts[: highest + 1].max() < 2 * counts[: highest + 1].min())


def _classifies(record: Record) -> bool:
    """Whether the labels that loaders handed out are few whole numbers, as classes are."""
    for loader in record.loaders:
        if loader.phase == "train" and loader.label_batches:
            labels = np.concatenate(loader.label_batches)
            values = np.unique(labels)
            return bool(
                2 <= len(values) <= max(2, len(labels) // 5) and values[0] >= 0 and values[-1] < 2 * len(values)
            )
    return False


@PROBES.register("batchnorm-small-batch", summary="batch statistics over a handful of images")
def batchnorm_small_batch(record: Record) -> Iterator[Diagnosis]:
    """Below eight images a batch, BatchNorm's statistics are mostly noise (Wu & He, "Group Normalization", 2018)."""
    norms = [layer for network in record.networks for layer in network.layers.values() if layer.kind in _NORMS]
    sizes = [batch.shape[0] for batch in record.batches if batch.phase == "train" and batch.module_training]
    if not norms or not sizes or not any(layer.out_shape for layer in norms):
        return
    size = int(np.median(sizes))
    if size < _SMALL_BATCH:
        yield Diagnosis(
            code="batchnorm-small-batch",
            confidence=0.9 if size <= 4 else 0.7,
            message=f"{counted(len(norms), 'BatchNorm layer')} see {counted(size, 'image')} at a time: means and "
            "variances over so few are mostly noise, and the running ones that evaluation uses fit no batch",
            fix="use batches of 16 and more, or GroupNorm; with pretrained weights, keep BatchNorm in eval mode",
            confirm="training and evaluation of the same images give similar losses",
            evidence={"batch_size": size, "layers": len(norms)},
            where=norms[0].name,
        )


@PROBES.register("batchnorm-mode", summary="training with BatchNorm or dropout in evaluation mode")
def batchnorm_mode(record: Record) -> Iterator[Diagnosis]:
    """Steps with a network in evaluation mode, though it has layers for which that matters; or, in a network that is
    evaluated, running statistics that never moved, or those of one layer that stands in several places.
    """
    for network in record.networks:
        if network.fresh_norms and record.steps and not any(step.eval_mode for step in record.steps):
            yield Diagnosis(
                code="batchnorm-mode",
                confidence=0.9,
                message=f"{network.kind} is evaluated with the running statistics that "
                f"{counted(len(network.fresh_norms), 'BatchNorm layer')} began with (mean 0, variance 1): they were "
                "never updated, so evaluation normalises with numbers that fit nothing",
                fix="a copy with averaged weights needs its buffers too: copy them, or AveragedModel(..., "
                "use_buffers=True), or update_bn; else train in training mode",
                confirm="evaluation loss comes close to that of training",
                evidence={"layers": network.fresh_norms[:50]},
                where=network.fresh_norms[0],
            )
            return
        shared = _shared_norms(network)
        evaluated = [each.accuracy for each in main_rounds(record, least=40) if each.judged]
        trained = accuracy_of_steps(record, last=50)
        if shared and evaluated and trained - evaluated[-1] > _WORSE:
            yield Diagnosis(
                code="batchnorm-mode",
                confidence=0.85,
                message=f"{shared[0].name} is called {shared[0].passes[-1][0]} times in a pass of {network.kind}: its "
                "running statistics are a mean of several layers' and fit none of them, so training images are told "
                f"right in {percent(trained)} and evaluated ones in {percent(evaluated[-1])}",
                fix="give each place a BatchNorm layer of its own",
                confirm="evaluating training images gives the training accuracy",
                evidence={"layers": [layer.name for layer in shared], "trained": trained, "evaluated": evaluated[-1]},
                where=shared[0].name,
            )
            return
    wrong = [number for number, step in enumerate(record.steps) if step.eval_mode]
    minding = [
        layer
        for network in record.networks
        for layer in network.layers.values()
        if layer.kind in _NORMS or (layer.kind.startswith("Dropout") and layer.settings.get("p", 0) > 0)
    ]
    if not minding or len(wrong) < max(2, 0.3 * len(record.steps)):
        return
    after = wrong[0]
    held = all(
        not parameter.trainable
        for network in record.networks
        for parameter in network.parameters.values()
        if network.layers.get(parameter.module) in minding
    )
    on_purpose = after == 0 and (pretrained(record) or (held and any(layer.kind in _NORMS for layer in minding)))
    yield Diagnosis(
        code="batchnorm-mode",
        confidence=0.5 if on_purpose else 0.85,
        severity="note" if on_purpose else "alarm",
        message=f"the network is in evaluation mode while it is trained (from step {after} on): "
        f"{listed([layer.name for layer in minding], limit=2)} use frozen statistics or let everything through",
        fix="call model.train() at the start of every epoch, after each evaluation",
        confirm="model.training is True in training batches",
        evidence={"steps_in_eval_mode": len(wrong), "steps": len(record.steps), "first_step": after},
        where=minding[0].name,
    )


def _shared_norms(network: Network) -> list[Layer]:
    """Return BatchNorm layers that one pass calls more often than any layer with weights: they serve several."""
    calls = [(layer, layer.passes[-1][0]) for layer in network.layers.values() if layer.passes]
    usual = max((times for layer, times in calls if layer.kind.startswith(("Conv", "Linear"))), default=0)
    return [layer for layer, times in calls if layer.kind in _NORMS and usual and times >= 2 * usual]


@PROBES.register("batchnorm-momentum", summary="running statistics that follow too slowly or not at all")
def batchnorm_momentum(record: Record) -> Iterator[Diagnosis]:
    """PyTorch's momentum is the share of the new batch: 0.99 forgets everything, 0.001 never arrives."""
    for network in record.networks:
        odd = []
        for layer in network.layers.values():
            momentum = layer.settings.get("momentum") if layer.kind in _NORMS else None
            if isinstance(momentum, float) and layer.out_shape and (momentum >= 0.7 or momentum <= 0.005):
                odd.append((layer, momentum))
        if odd:
            layer, momentum = odd[0]
            low = momentum <= 0.005
            if low and len(record.steps) * momentum > 3:
                continue
            yield Diagnosis(
                code="batchnorm-momentum",
                confidence=0.85,
                message=f"{layer.name} has momentum {momentum:g}, which in PyTorch is the weight of the newest batch: "
                + (
                    f"after {len(record.steps)} steps its running statistics are still close to where they began"
                    if low
                    else "its running statistics are those of the last batch or two"
                ),
                fix="use 0.1 (what Keras calls 0.9)",
                confirm="evaluation and training losses of the same images agree",
                evidence={"momentum": momentum, "layers": len(odd)},
                where=layer.name,
            )


@PROBES.register("bias-before-norm", summary="biases that the next layer subtracts again")
def bias_before_norm(record: Record) -> Iterator[Diagnosis]:
    """A bias right before BatchNorm has no effect: the mean is subtracted again. Never an alarm."""
    for network in record.networks:
        idle = [
            first
            for first, second in network.follows
            if network.layers[second].kind in _NORMS
            and network.layers[first].kind in ("Conv2d", "Linear", "Conv1d")
            and network.layers[first].settings.get("bias")
        ]
        if idle:
            yield Diagnosis(
                code="bias-before-norm",
                confidence=0.95,
                severity="note",
                message=f"{counted(len(idle), 'layer')} of {network.kind} have a bias that the BatchNorm behind "
                f"subtracts again: {listed(idle, limit=3)}",
                fix="bias=False saves a little memory and time; nothing else changes",
                evidence={"layers": idle[:50]},
                where=idle[0],
            )


@PROBES.register("dropout-misuse", summary="too much dropout, or dropout on the scores")
def dropout_misuse(record: Record) -> Iterator[Diagnosis]:
    """Dropout of more than one half, or behind the last layer with weights."""
    for drop in record.drops:
        if drop.p > _MUCH and drop.on:
            yield _much_dropout(drop.p, "the dropout function", where=drop.where)
    for network in record.networks:
        drops = [each for each in network.layers.values() if each.kind.startswith("Dropout") and each.out_shape]
        if not drops:
            continue
        last = max((layer.order for layer in network.layers.values() if layer.kind in ("Linear", "Conv2d")), default=-1)
        behind = [layer for layer in drops if layer.order > last >= 0 and layer.settings.get("p", 0) > 0]
        much = [layer for layer in drops if layer.settings.get("p", 0) > _MUCH]
        if behind:
            layer = behind[0]
            share = layer.settings["p"]
            yield Diagnosis(
                code="dropout-misuse",
                confidence=0.95,
                message=f"{layer.name} drops {100 * share:.0f} % of the scores themselves: in training the right "
                "class's score is often set to 0",
                fix=f"move {layer.name} before the last layer",
                confirm="training accuracy comes close to that in evaluation mode",
                evidence={"p": share},
                where=layer.name,
            )
        elif much:
            layer = max(much, key=lambda each: each.settings["p"])
            others = f", and {counted(len(much) - 1, 'more layer')} do likewise" if len(much) > 1 else ""
            yield _much_dropout(layer.settings["p"], layer.name, where=layer.name, others=others)


def _much_dropout(p: float, what: str, *, where: str | Place, others: str = "") -> Diagnosis:
    return Diagnosis(
        code="dropout-misuse",
        confidence=0.6 if p < 0.8 else 0.85,
        message=f"{what} drops {percent(p)} of what passes through it{others}",
        fix="use 0.1 to 0.5 (p is the share that is dropped, not the one that is kept)",
        confirm="training loss falls faster",
        evidence={"p": p},
        where=where,
    )
