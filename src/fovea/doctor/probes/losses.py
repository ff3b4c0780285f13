"""Faults at the loss: what it is given, how it is summed, its sign, and its first value."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import (
    LEARNT,
    accuracy_of_steps,
    always_clipped,
    chance_loss,
    label_shares,
    losses_of_steps,
    pretrained,
    start_and_end,
    training_loss,
)
from fovea.doctor.record import Loss, Record

_ALWAYS = 0.95  # of the calls looked at
_BINARY = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss")
_LEAST_CLASSES, _LEAST_EXPECTED = 3, 30  # images that the rarest class alone would have right
_RELIABLY = 0.4  # of those
_LEAST_GRAPHS = 2  # losses whose computation was looked at
_WRITTEN = {
    "LogSoftmax": "log_softmax",
    "LogSigmoid": "logsigmoid",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
}
_CONTRADICTS = 0.3  # correlation of outputs with masks; a network that learns nothing is near 0
_UNBOUNDED = 100.0  # times its size at the start


@PROBES.register("softmax-before-loss", summary="probabilities where the loss expects scores")
def softmax_before_loss(record: Record) -> Iterator[Diagnosis]:
    """Scores that are never negative and sum to one: softmax is applied twice, and the loss cannot fall below a floor.

    With one-hot probabilities cross-entropy has the floor ln(e + C - 1) - 1 (0.31 for two classes, 1.46 for ten).
    """
    found = list(_probabilities_given(record))
    yield from found or _squashed_twice(record)


def _probabilities_given(record: Record) -> Iterator[Diagnosis]:
    """Look at the scores that loss functions were given."""
    for loss in record.losses:
        if loss.phase != "train" or not loss.looked_at:
            continue
        if loss.name in _BINARY and loss.looked_at >= 3 and loss.within_unit >= _ALWAYS * loss.looked_at:
            yield _sigmoid_before(loss)
        if loss.name not in ("cross_entropy", "nll_loss"):
            continue
        if loss.rows_sum_to_one < _ALWAYS * loss.looked_at or not loss.classes or loss.classes < 2:
            continue
        logs = loss.name == "nll_loss"
        floor = math.log(math.e + loss.classes - 1) - 1
        yield Diagnosis(
            code="softmax-before-loss",
            confidence=0.98,
            message=f"{loss.name} is given probabilities (no score below 0, each row sums to 1 in "
            f"{loss.rows_sum_to_one} of {loss.looked_at} calls), but it "
            + (
                "expects log-probabilities; it returns their negative mean and has no useful gradient"
                if logs
                else f"applies softmax itself; with {loss.classes} classes the loss cannot fall below {floor:.2f}"
            ),
            fix="use log_softmax before nll_loss"
            if logs
            else "remove the softmax from the network and give its raw scores to the loss",
            confirm="the loss at the start changes and training accuracy rises faster",
            evidence={"classes": loss.classes, "loss_floor": round(floor, 4), "calls": loss.looked_at},
            where=loss.where,
        )


def _squashed_twice(record: Record) -> Iterator[Diagnosis]:
    """Look at how a loss was computed, whatever has computed it."""
    for each in record.squashed:
        if each.calls < _LEAST_GRAPHS:
            continue
        first, second = each.first.lower(), _WRITTEN.get(each.second, each.second.lower())
        yield Diagnosis(
            code="softmax-before-loss",
            confidence=0.95,
            message=f"the loss applies {second} to what {first} has made probabilities of already (in {each.calls} "
            "losses whose computation was looked at), so that no answer can become a sure one",
            fix=f"remove the {first} from the network or from the loss, and give the raw scores to {second}; apply "
            f"{first} where probabilities are wanted",
            confirm="the loss falls further and training accuracy rises faster",
            evidence={"first": first, "second": second, "calls": each.calls},
            where=each.where,
        )


def _sigmoid_before(loss: Loss) -> Diagnosis:
    return Diagnosis(
        code="softmax-before-loss",
        confidence=0.96,
        message=f"{loss.name} is given probabilities (all scores lie between 0 and 1 in {loss.within_unit} of "
        f"{loss.looked_at} calls), but it applies a sigmoid itself, which makes 0.5 to 0.73 of them: no answer can "
        "become a sure no",
        fix="remove the sigmoid from the network and give its raw scores to the loss; apply it where probabilities are "
        "wanted",
        confirm="the loss falls below 0.4",
        evidence={"calls": loss.looked_at},
        where=loss.where,
    )


@PROBES.register("loss-summed", summary="a loss summed over the batch instead of averaged")
def loss_summed(record: Record) -> Iterator[Diagnosis]:
    """The gradient, and with it the fitting learning rate, grows with the batch.

    A note where all is learnt with it, or where gradients are cut to one length anyway.
    """
    harmless = accuracy_of_steps(record, last=50) > LEARNT or always_clipped(record)
    for loss in record.losses:
        if loss.phase == "train" and loss.reduction == "sum" and loss.values:
            images = float(np.median([images for _, _, images in loss.values]))
            yield Diagnosis(
                code="loss-summed",
                confidence=0.9,
                severity="note" if harmless else "alarm",  # the learning rate has been chosen for it
                message=f"{loss.name} is summed over the batch (reduction='sum'), so gradients are about {images:.0f} "
                "times those of the mean, and change with the batch size",
                fix="use reduction='mean'",
                confirm="the loss of the first step falls to about ln(number of classes)",
                evidence={"images_a_batch": images, "first_loss": loss.values[0][1]},
                where=loss.where,
            )


@PROBES.register("loss-sign", summary="a loss that is maximised")
def loss_sign(record: Record) -> Iterator[Diagnosis]:
    """What is propagated back is the negative of the loss, or the loss keeps falling below zero."""
    flipped = sum(step.flipped for step in record.steps)
    if len(record.optimisers) == 1 and flipped and flipped >= 0.5 * int(np.isfinite(losses_of_steps(record)).sum()):
        loss = training_loss(record)
        first, last = start_and_end(record)
        yield Diagnosis(
            code="loss-sign",
            confidence=0.97,
            message=f"backward is called on the negative of the loss, so training makes it larger: {first:.3g} at the "
            f"start, {last:.3g} at the end",
            fix="call backward on the loss itself, without the minus sign",
            confirm="the loss falls from the first steps on",
            evidence={"first_loss": first, "last_loss": last, "steps": flipped},
            where=None if loss is None else loss.where,
        )
    elif not record.losses and len(record.optimisers) == 1:
        first, last = start_and_end(record)
        if last < -_UNBOUNDED * max(1.0, abs(first)):
            yield Diagnosis(
                code="loss-sign",
                confidence=0.8,
                message=f"the loss falls without bound below zero, from {first:.3g} to {last:.3g}: what should become "
                "small is made large",
                fix="check the sign: a log-likelihood or a score that is to rise needs a minus sign in the loss",
                confirm="the loss falls towards a limit",
                evidence={"first_loss": first, "last_loss": last},
            )
    if not flipped:
        yield from _away_from_masks(record)
        yield from _worse_than_guessing(record)


def _away_from_masks(record: Record) -> Iterator[Diagnosis]:
    """A loss of one's own, such as Dice without its minus, by which outputs come to contradict the masks."""
    for network in record.networks:
        late = [value for step, value in network.on_masks if step >= len(record.steps) / 2]
        if not late or len(late) == len(network.on_masks):
            continue
        first, last = network.on_masks[0][1], float(np.mean(late))
        if last < -_CONTRADICTS and last < first - _CONTRADICTS / 2:
            yield Diagnosis(
                code="loss-sign",
                confidence=0.8,
                message=f"outputs of {network.kind} come to contradict the masks: their correlation went from "
                f"{first:.2f} to {last:.2f}. What should become small is made large, or the other way round",
                fix="check the sign of the loss: Dice, IoU and other overlaps are to rise, so the loss is 1 - Dice or "
                "-Dice",
                confirm="the correlation of outputs and masks rises above 0",
                evidence={"first": first, "last": last, "samples": len(network.on_masks)},
            )


def _worse_than_guessing(record: Record) -> Iterator[Diagnosis]:
    """Yield, with a loss of one's own, that labels are told wrong so reliably that they must have been learnt."""
    shares = label_shares(record)
    if shares is None or any(loss.phase == "train" for loss in record.losses) or (shares > 0).sum() < _LEAST_CLASSES:
        return
    rarest = float(shares[shares > 0].min())
    for line in record.compared:
        expected = rarest * line.images
        if line.yes_or_no or expected < _LEAST_EXPECTED or rarest * len(shares) < 0.5:
            continue
        if line.right < _RELIABLY * expected:
            yield Diagnosis(
                code="loss-sign",
                confidence=0.75,
                message=f"answers are right in {percent(line.right / line.images)} of {counted(line.images, 'image')}, "
                f"less often than if they were always the rarest class ({percent(rarest)}): the network has learnt the "
                "labels, and to avoid them",
                fix="check the sign of the loss: a similarity to the right class is to rise, so the loss is 1 minus it",
                confirm="accuracy rises above that of guessing",
                evidence={"accuracy": line.right / line.images, "rarest": rarest, "images": line.images},
                where=line.where,
            )
            return


@PROBES.register("init-scale", summary="a first loss far from that of guessing")
def init_scale(record: Record) -> Iterator[Diagnosis]:
    """A fresh classifier should lose about ln C; one that loses far more begins with large, wrong certainties.

    Karpathy, "A Recipe for Training Neural Networks" (2019), "verify loss @ init".
    """
    shares, loss = label_shares(record), training_loss(record, ("cross_entropy",))
    if shares is None or loss is None or not loss.values or not loss.classes or loss.reduction != "mean":
        return
    first, guess = loss.values[0][1], math.log(loss.classes)
    if math.isfinite(first) and first > 2 * guess + 1 and loss.rows_sum_to_one == 0:
        yield Diagnosis(
            code="init-scale",
            confidence=0.55 if first < 5 * guess else 0.75,
            severity="note" if pretrained(record) else "alarm",  # a trained head may know other classes
            message=f"the first loss is {first:.3g}; a fresh network that guesses among {loss.classes} classes loses "
            f"{guess:.2f}. It begins with large and wrong certainties",
            fix="initialise the last layer smaller (nn.init.zeros_ or a small std), the others by Kaiming's rule, and "
            "check that inputs are normalised",
            confirm=f"the first loss is near {guess:.2f}",
            evidence={"first_loss": first, "chance_loss": guess, "of_the_shares": chance_loss(shares)},
            where=loss.where,
        )


@PROBES.register("nan", summary="a value that is not finite, and where it came from")
def not_finite(record: Record) -> Iterator[Diagnosis]:
    """The first value that was NaN or infinite."""
    found = record.nonfinite
    values = losses_of_steps(record)
    if found is None or (record.skipped_steps and np.isfinite(values).all()):
        return
    at = "before the first step" if found.step == 0 else f"after {found.step} steps"
    yield Diagnosis(
        code="nan",
        confidence=0.9 if found.step < 2 or found.what == "input" else 0.75,
        message=f"the first value that is not finite is the {found.what} {found.name}, {at}",
        fix="clean the input files"
        if found.what == "input"
        else "lower the learning rate or clip gradients (torch.nn.utils.clip_grad_norm_); guard log, sqrt and "
        "divisions with a small eps",
        confirm="run with torch.autograd.set_detect_anomaly(True) from that step",
        evidence={"step": found.step, "what": found.what, "name": found.name},
        where=found.where or found.name,
    )
