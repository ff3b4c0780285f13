"""Faults of evaluation, and what train and validation say together."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.stats import rankdata

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.probes.shown import averaged_figures
from fovea.doctor.reading import (
    accuracy_of_steps,
    chance_loss,
    for_classes,
    goes_with_steps,
    label_shares,
    main_rounds,
    pretrained,
    several_tasks,
    start_and_end,
    usual_cut,
    within_batch,
)
from fovea.doctor.record import Loader, Place, Record

_RANDOM = re.compile(r"Random\w*(Crop|Flip|Rotation|Affine|Erasing|Perspective)|ColorJitter|AutoAugment|RandAugment")
_WIDE = 0.05  # half of a 95 % interval
_APART = 1.5  # times the training loss that a validation loss has, to speak of images learnt by heart
_WORSE, _FAR = 0.02, 3.0  # points of accuracy lost since the best loss, and times that loss
_FLUCTUATES = 2.0  # times what accuracy usually changes by, for a fall to be one
_LEARNT = 0.8  # training accuracy from which something was learnt
_LIKELY = 0.9  # accuracy for which an interval is told where none is known


@PROBES.register("eval-in-train-mode", summary="evaluation with dropout and batch statistics on")
def eval_in_train_mode(record: Record) -> Iterator[Diagnosis]:
    """Evaluated batches that a network in training mode was given, where it has layers for which that matters."""
    # training images may be passed through once more to gather BatchNorm's statistics, and evaluated ones many times
    # with dropout on purpose, once all else is done
    usual = float(np.median([each.images for each in record.rounds])) if record.rounds else 0
    rounds = [each for each in record.rounds if each.images >= max(2, usual / 2) and not goes_with_steps(record)]
    rounds = [each for each in rounds if not record.trains_on(each.loader)]
    wrong = [each for each in rounds if each.batches and each.training_mode > 0.5 * each.batches]
    if rounds and len(wrong) >= 0.5 * len(rounds):
        yield Diagnosis(
            code="eval-in-train-mode",
            confidence=0.95,
            message=f"the network was in training mode in {len(wrong)} of {counted(len(rounds), 'evaluation')}: "
            "dropout was on, and BatchNorm used, and learnt from, the evaluated images",
            fix="call model.eval() before evaluation and model.train() afterwards",
            confirm="two evaluations of the same weights agree to the last digit",
            evidence={"evaluations": len(rounds), "in_training_mode": len(wrong)},
        )
        return
    for drop in record.drops:
        calls = drop.on_without_gradients
        if calls >= 2 and drop.off == 0 and drop.on:
            yield Diagnosis(
                code="eval-in-train-mode",
                confidence=0.85,
                message=f"a dropout function drops {percent(drop.p)} whatever the mode: it did so in "
                f"{counted(calls, 'call')} without gradients too, and let everything pass in none",
                fix="give it the mode, F.dropout(x, p, training=self.training), or use nn.Dropout, and call "
                "model.eval() before evaluation",
                confirm="two evaluations of the same weights agree to the last digit",
                evidence={"p": drop.p, "without_gradients": calls},
                where=drop.where,
            )
            return


@PROBES.register("augmented-validation", summary="validation images that change from time to time")
def augmented_validation(record: Record) -> Iterator[Diagnosis]:
    """The first batch of evaluations that use a loader without shuffling is never twice the same."""
    rounds = [each for each in main_rounds(record, least=2) if each.first_digest]
    if any(within_batch(loss) for loss in record.losses):
        return  # two random views of an image are what a contrastive loss is about
    sizes = Counter(each.images for each in rounds)
    usual = sizes.most_common(1)[0][0] if sizes else 0
    rounds = [each for each in rounds if each.images == usual]  # other sizes are other data
    rounds = [each for each in rounds if each.loader is None or _is_fixed(record.loaders[each.loader])]
    fixed = [loader for loader in record.loaders if _is_fixed(loader)]
    digests = {each.first_digest for each in rounds}
    random = next((each.transforms for each in fixed if len(rounds) == 1 and _RANDOM.search(each.transforms)), "")
    if random:
        yield Diagnosis(
            code="augmented-validation",
            confidence=0.7,
            message=f"the transform of the evaluated images has random steps: {random[:160]}",
            fix="give validation a transform without random steps: resize, centre crop, normalise",
            confirm="loading the same index twice gives the same tensor",
        )
    elif fixed and len(rounds) >= 2 and len(digests) == len(rounds):
        yield Diagnosis(
            code="augmented-validation",
            confidence=0.85,
            message=f"the same validation batch had other pixels in each of {len(rounds)} evaluations: random "
            "augmentation is "
            "on in validation" + (f" ({fixed[0].transforms[:160]})" if "Random" in fixed[0].transforms else ""),
            fix="give validation a transform without random steps: resize, centre crop, normalise",
            confirm="loading the same index twice gives the same tensor",
            evidence={"evaluations": len(rounds), "different": len(digests)},
        )


def _is_fixed(loader: Loader) -> bool:
    """Whether a loader hands out evaluated images, in the same order each time."""
    return loader.phase == "eval" and loader.shuffled is False


@PROBES.register("validation-too-small", summary="too few validation images to tell anything")
def validation_too_small(record: Record) -> Iterator[Diagnosis]:
    """The 95 % interval of the accuracy reaches more than 5 points to each side (Wilson 1927)."""
    rounds = main_rounds(record)
    judged = [each for each in rounds if each.judged]
    if not judged and not (rounds and for_classes(record) and rounds[-1].images):
        return
    last = (judged or rounds)[-1]
    share = last.accuracy if judged else _LIKELY  # where answers were judged by the script alone
    count, z = last.judged or last.images, 1.96
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    if half > _WIDE:
        tiny = half > 0.12
        yield Diagnosis(
            code="validation-too-small",
            confidence=0.9 if tiny else 0.6,
            severity="alarm" if tiny else "note",
            message=f"with {counted(count, 'evaluated image')} an accuracy of {percent(share)} means "
            f"{percent(max(0, share - half))} to {percent(min(1, share + half))}: smaller differences than that say "
            "nothing",
            fix="evaluate on more images, or by k-fold cross-validation (fovea train --folds 5)",
            evidence={"images": count, "half_width": half},
        )


@PROBES.register("overfitting", summary="training that gets better while validation gets worse")
def overfitting(record: Record) -> Iterator[Diagnosis]:
    """Validation loss rises for several evaluations while training loss falls, or nothing learnt holds; no mere gap."""
    yield from _nothing_holds(record)
    rounds = [each for each in main_rounds(record) if math.isfinite(each.loss)]
    if len(rounds) < 4:
        return
    losses = np.array([each.loss for each in rounds])
    best = int(losses.argmin())
    first, last = start_and_end(record)
    rise = losses[-1] / max(losses[best], 1e-9)
    before = max((later / earlier for later, earlier in _later(losses[: best + 1])), default=0.0)
    accuracy = [each.accuracy for each in rounds]
    apart = losses[-1] > _APART * last
    learnt = accuracy_of_steps(record, last=50) > 0.9
    if len(losses) - 1 - best >= 2 and rise > 1.25 and apart and last < 0.5 * first and learnt:
        count, share = max(1, rounds[-1].judged), accuracy[best]
        by_chance = 2 * math.sqrt(max(0.0, share * (1 - share)) / count)  # of the same images: less, in truth
        usual = _FLUCTUATES * float(np.median(np.abs(np.diff(accuracy[1:]))))  # from one evaluation to the next
        worse = math.isfinite(share) and share - accuracy[-1] > max(_WORSE, by_chance, usual)
        yield Diagnosis(
            code="overfitting",
            confidence=0.8,
            # surer and surer of the same answers harms less, and what has come back before may do so again
            severity="alarm" if rise > before and (worse or rise > _FAR) else "note",
            message=f"validation loss was lowest at evaluation {best + 1} ({losses[best]:.3g}) and has risen to "
            f"{losses[-1]:.3g} at {len(losses)}, while training loss fell to {last:.3g}: the network learns the "
            "training images by heart",
            fix="stop at the best evaluation; augment, add weight decay or dropout, use a smaller or a pretrained "
            "network, or more images",
            confirm="validation loss no longer rises",
            evidence={"losses": losses, "best": best, "training_loss": last, "accuracy": accuracy},
        )


def _later(values: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield each value with each one before it."""
    return ((float(values[two]), float(values[one])) for two in range(len(values)) for one in range(two))


def _nothing_holds(record: Record) -> Iterator[Diagnosis]:
    """Yield that training images are told well and evaluated ones no better than by guessing, again and again."""
    rounds = [each for each in main_rounds(record, least=40) if each.confusion is not None and each.judged]
    learnt = accuracy_of_steps(record, last=50)
    if len(rounds) < 3 or not learnt > _LEARNT or several_tasks(record):
        return
    last = rounds[-1]
    assert last.confusion is not None
    commonest = float(last.confusion.sum(axis=1).max() / last.judged)
    limit = commonest + 2 * math.sqrt(commonest * (1 - commonest) / last.judged)
    told = [each.accuracy for each in rounds[-3:]]
    if commonest < 0.9 and learnt > limit + 0.2 and max(told) <= limit:
        yield Diagnosis(
            code="overfitting",
            confidence=0.55,
            message=f"training images are told right in {percent(learnt)}, evaluated ones in {percent(told[-1])}, "
            f"which is no better than always saying the commonest class ({percent(commonest)}): nothing of what was "
            "learnt holds for them",
            fix="compare a training and an evaluated batch by eye: labels, preprocessing, and what else than the "
            "object tells the classes apart in training; fovea audit looks for such shortcuts",
            confirm="evaluating the training images gives the training accuracy; then the images differ, not the code",
            evidence={"training": learnt, "evaluated": told, "commonest": commonest},
        )


@PROBES.register("decision-threshold", summary="a good ranking, cut at the wrong place")
def decision_threshold(record: Record) -> Iterator[Diagnosis]:
    """Yes and no are ranked well, but the usual threshold tells no better than always giving one answer."""
    rounds = [each for each in main_rounds(record, least=20) if each.scores]
    if not rounds:
        return
    scores, truths = np.concatenate(rounds[-1].scores), np.concatenate(rounds[-1].truths)
    if min(truths.sum(), (~truths).sum()) < 5 or not np.isfinite(scores).all():
        return
    several, usual = len(truths) > rounds[-1].images, usual_cut(record, scores)
    area = rank_area(scores, truths)
    at_usual, (best, threshold) = _balanced(scores, truths, usual), _best_cut(scores, truths)
    if area > 0.75 and at_usual < 0.6 and best > at_usual + 0.15:
        told = threshold if usual else 1 / (1 + math.exp(-float(np.clip(threshold, -500, 500))))
        yield Diagnosis(
            code="decision-threshold",
            confidence=0.5 if several else 0.85,
            severity="note" if several else "alarm",  # each of several labels needs its own anyway
            message=f"scores rank well (area under the ROC curve {area:.2f}), but cut at a probability of 0.5 they are "
            f"right in only {percent(at_usual)} of each class on average (guessing: 50 %); cut at {told:.2g} it would "
            f"be {percent(best)}",
            fix=f"choose the threshold on validation images ({told:.2g} on these), or weight the classes in the loss",
            confirm=f"balanced accuracy rises to about {percent(best)}",
            evidence={"auc": area, "balanced_accuracy": at_usual, "best": best, "threshold": told},
        )


def rank_area(scores: np.ndarray, truths: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a true one outranks a false one; ties count half.

    >>> rank_area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    ranks = rankdata(scores)
    true, false = int(truths.sum()), int((~truths).sum())
    return float((ranks[truths].sum() - true * (true + 1) / 2) / (true * false))


def _balanced(scores: np.ndarray, truths: np.ndarray, threshold: float) -> float:
    """Return the mean of the shares of trues and of falses that a threshold tells right."""
    said = scores > threshold
    return float((said[truths].mean() + (~said[~truths]).mean()) / 2)


def _best_cut(scores: np.ndarray, truths: np.ndarray) -> tuple[float, float]:
    """Return the best balanced accuracy of any of a hundred thresholds, and that threshold."""
    cuts = np.quantile(scores, np.linspace(0.005, 0.995, 100))
    return max((_balanced(scores, truths, float(cut)), float(cut)) for cut in cuts)


@PROBES.register("metric-averaging", summary="means of batches where the last one is much smaller")
def metric_averaging(record: Record) -> Iterator[Diagnosis]:
    """The mean over evaluated batches differs from that over images; an alarm only where it is what is printed."""
    printed = list(averaged_figures(record))
    if printed:
        yield from printed
        return
    for values, images, what, where in _by_batch(record):
        if len(values) < 2 or images[-1] == images[0] or not np.isfinite(values).all():
            continue
        by_batch, by_image = float(values.mean()), float((values * images).sum() / images.sum())
        if abs(by_batch - by_image) > 0.01 * abs(by_image):
            yield Diagnosis(
                code="metric-averaging",
                confidence=0.5,
                severity="note",
                message=f"the last of {counted(len(values), 'evaluated batch', 'evaluated batches')} has "
                f"{counted(int(images[-1]), 'image')}, the others {images[0]}: the mean {what} over batches would be "
                f"{by_batch:.4g}, that over images is {by_image:.4g}",
                fix="sum losses and right answers over images, and divide by their number once at the end",
                evidence={"by_batch": by_batch, "by_image": by_image, "last_batch": int(images[-1])},
                where=where,
            )
            return


def _by_batch(record: Record) -> Iterator[tuple[np.ndarray, np.ndarray, str, Place | None]]:
    """Yield losses or accuracies of the batches of the last evaluation, their images, what it is, and where."""
    for loss in record.losses:
        if loss.phase == "eval" and loss.values and loss.reduction == "mean":
            found = np.array([each[1:] for each in loss.values if each[0] == loss.values[-1][0]])  # (batches, 2)
            yield found[:, 0], found[:, 1].astype(np.int64), "loss", loss.where
    rounds = main_rounds(record, least=2)
    if rounds and rounds[-1].parts:
        parts = np.array(rounds[-1].parts)  # (batches, 2)
        yield parts[:, 0] / parts[:, 1], parts[:, 1], "accuracy", None


@PROBES.register("underfitting", summary="a network that has not learnt the training images")
def underfitting(record: Record) -> Iterator[Diagnosis]:
    """After many steps the training loss is still near guessing, without any cause that other probes name."""
    shares = label_shares(record)
    first, last = start_and_end(record)
    if shares is None or not math.isfinite(last) or len(record.steps) < 50:
        return
    guess = chance_loss(shares)
    learnt = accuracy_of_steps(record, last=20) > float(shares.max()) + 0.2  # weights in the loss raise it
    if last > 0.85 * guess and first < 3 * guess + 1 and not learnt:
        yield Diagnosis(
            code="underfitting",
            confidence=0.35,
            severity="note" if pretrained(record) and len(record.steps) < 300 else "alarm",
            message=f"after {counted(len(record.steps), 'step')} the training loss is {last:.3g}; guessing would give "
            f"{guess:.3g}",
            fix="train longer, with a higher learning rate or a larger network; first check that one batch can be "
            "learnt by heart (doctor.checkup)",
            confirm="one batch alone reaches a training error of 0",
            evidence={"first_loss": first, "last_loss": last, "chance_loss": guess},
        )
