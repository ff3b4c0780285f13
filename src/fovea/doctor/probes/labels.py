"""Faults of the labels: maps that differ, labels without relation to the pixels, imbalance, copies across splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from fovea.core.wording import counted, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.galleries import are_drawings, copied, equal, leaked, learnable
from fovea.doctor.reading import (
    accuracy_of_steps,
    batches_of,
    compared,
    evaluated_pictures,
    held_against,
    label_counts,
    label_shares,
    main_rounds,
    several_targets,
    training_loss,
    unlike_chance,
    within_batch,
)
from fovea.doctor.record import Gallery, Record, Round

_IMBALANCED = 10.0
_KNOWS = 0.6  # accuracy in training from which on a network's answers are no mere confusion
_TELLS = 0.3  # accuracy that a renaming gains, which says the same of a network that has learnt something
_LEAST_OTHERS = 20  # evaluated pictures that are in no training, for the rest to be taken for training's own
_LEAST_MASKS = 30
_LOOKS_WELL = 0.5  # accuracy that can hide something
_BEHIND = 0.3  # points of recall that small classes may lie behind the accuracy
_LEAKED, _CHANGED = 0.05, 0.1  # of the evaluated pictures: as they are, and changed; cells look alike
_LEAST_PX = 32  # smaller pictures are all coarse structure, which many share
_LOOKED_AT, _LOOKED_AT_A_SECOND = (240, 1000), 15  # pictures compared as copies, and as many of a long training
_NEARLY_ALL = 0.85  # of the labels: whoever says that class always is hardly surpassed
_LEAST_HELD = 5  # evaluated images of a class, for its recall to mean something


@PROBES.register("class-map", summary="labels whose numbers mean something else elsewhere")
def class_map(record: Record) -> Iterator[Diagnosis]:
    """Validation that is right once its classes are renamed, or labels that leave the first or last class out."""
    rounds = [each for each in main_rounds(record, least=20) if each.confusion is not None]
    renamed = _renamed(rounds[-1]) if rounds else None
    trained, shares = accuracy_of_steps(record, last=100), label_shares(record)
    learnt = shares is not None and trained > float(shares.max()) + 0.1
    if renamed is not None and (
        trained > max(_KNOWS, rounds[-1].accuracy + 0.1) or (learnt and renamed.accuracy > rounds[-1].accuracy + _TELLS)
    ):
        yield Diagnosis(
            code="class-map",
            confidence=0.95 if renamed.accuracy > 0.5 else 0.85,
            message=f"validation accuracy is {percent(rounds[-1].accuracy)}, but would be {percent(renamed.accuracy)} "
            f"if {counted(renamed.moved, 'class', 'classes')} were renamed: class numbers are {renamed.told} between "
            "training and validation",
            fix="use one saved list of class names for both (ImageFolder numbers the folders that it finds)",
            confirm="the confusion matrix has its maxima on the diagonal",
            evidence={"accuracy": rounds[-1].accuracy, "renamed": renamed.accuracy, "moved": renamed.moved},
        )
        return
    yield from _numbered_by_image(record)
    loss = training_loss(record)
    if loss is None or loss.label_counts is None or not loss.classes:
        return
    counts = label_counts(record)
    if counts is None:
        return
    beyond = loss.labels_highest is not None and loss.labels_highest >= loss.classes
    first_missing = len(counts) >= loss.classes >= 2 and counts[0] == 0 and (counts[1:] > 0).all()
    if beyond or (first_missing and counts.sum() >= 20 * loss.classes):
        yield Diagnosis(
            code="class-map",
            confidence=0.9 if beyond else 0.85,
            message=f"labels are {loss.labels_lowest} to {loss.labels_highest}, outputs are 0 to {loss.classes - 1}: "
            + ("a label has no output" if beyond else "class 0 never occurs, so labels are counted from 1"),
            fix="count labels from 0 and give the network as many outputs as there are classes",
            confirm="every output is the target of some image",
            evidence={"lowest": loss.labels_lowest, "highest": loss.labels_highest, "outputs": loss.classes},
            where=loss.where,
        )


def _numbered_by_image(record: Record) -> Iterator[Diagnosis]:
    """Yield that every mask holds the first classes and no others, however many: each was numbered for itself.

    Of four classes or more; three often lie within one another, as a tumour does in its organ.
    """
    for loss in record.losses:
        if loss.phase != "train" or loss.held is None or loss.held_from_0 is None or (loss.classes or 0) < 4:
            continue
        some = slice(2, loss.classes)  # neither the background alone nor everything
        held, first = loss.held[some], loss.held_from_0[some]
        if held.sum() >= _LEAST_MASKS and held.sum() == first.sum() and (held > 0).sum() >= 2:
            yield Diagnosis(
                code="class-map",
                confidence=0.8,
                message=f"all of {counted(int(held.sum()), 'mask')} with 2 to {(loss.classes or 0) - 1} of the "
                f"{loss.classes} classes hold the lowest ones and no others: classes seem to be numbered anew in each "
                "mask, so that a number means something else from image to image",
                fix="number the values of masks by one table for all images, not by np.unique of each",
                confirm="there are masks that hold a class and lack a lower one",
                evidence={"masks_by_classes": loss.held, "of_the_first": loss.held_from_0},
                where=loss.where,
            )
            return


class _Renamed(NamedTuple):
    accuracy: float  # once classes are renamed
    moved: int  # classes with another name
    told: str


def _renamed(last: Round) -> _Renamed | None:
    """Return the renaming of classes that makes an evaluation right, or None if no such thing explains it.

    The best renaming always gains something, the more the fewer images of a class there are. So it must be right
    clearly more often than the answers as they are, and than the same answers dealt out at random, and the classes that
    it moves must have been wrong nearly always.
    """
    counts = last.confusion
    assert counts is not None
    rows, columns = linear_sum_assignment(-counts)
    sizes = counts.sum(axis=1)
    moved = (rows != columns) & (sizes > 0) & (counts[rows, columns] > 0)
    before, after = counts.diagonal()[moved].sum(), counts[rows, columns][moved].sum()
    images = int(sizes[moved].sum())
    if moved.sum() < 2 or after - before < 10 or before > 0.2 * images or after < 0.3 * images:
        return None
    truths, said = np.repeat(rows, sizes), np.repeat(np.tile(np.arange(len(counts)), len(counts)), counts.ravel())
    rng = np.random.default_rng(0)
    by_chance = max(_best(truths, rng.permutation(said), len(counts)) for _ in range(5))
    right = int(counts[rows, columns].sum())
    if right < max(by_chance, int(counts.diagonal().sum())) + 0.08 * last.judged:
        return None
    offsets = set(((columns - rows) % len(rows))[moved].tolist())
    told = f"shifted by {offsets.pop()}" if len(offsets) == 1 and moved.sum() > 2 else "permuted"
    return _Renamed(right / last.judged, int(moved.sum()), told)


def _best(truths: np.ndarray, said: np.ndarray, classes: int) -> int:
    """Return how many answers (N,) the best renaming of classes makes right."""
    counts = np.bincount(truths * classes + said, minlength=classes**2).reshape(classes, classes)
    return int(counts[linear_sum_assignment(-counts)].sum())


@PROBES.register("imbalance", summary="classes of very different sizes")
def imbalance(record: Record) -> Iterator[Diagnosis]:
    """The largest class has more than ten times the images of the smallest (SageMaker Debugger's limit)."""
    counts = label_counts(record)
    if counts is None or counts.sum() < 50 or (counts > 0).sum() < 2:
        return
    known = counts[counts > 0] / counts.sum()
    ratio = float(known.max() / known.min())
    if ratio <= _IMBALANCED:
        return
    rounds = [each for each in main_rounds(record, least=20) if each.confusion is not None]
    hidden = False
    if rounds:
        confusion = rounds[-1].confusion
        assert confusion is not None
        held = confusion.sum(axis=1) >= _LEAST_HELD
        if held.sum() >= 2:
            recalls = np.diag(confusion)[held] / confusion.sum(axis=1)[held]
            small = np.isin(np.flatnonzero(held), np.flatnonzero(counts < counts.max() / _IMBALANCED))
            hidden = bool(small.any() and recalls[small].mean() < max(rounds[-1].accuracy, recalls.mean()) - _BEHIND)
            if rounds[-1].accuracy >= _LOOKS_WELL:
                hidden |= bool(rounds[-1].accuracy - recalls.mean() > 0.15 or recalls.min() < 0.2)
    yield Diagnosis(
        code="imbalance",
        confidence=0.85 if hidden else 0.55,
        severity="alarm" if hidden or ratio > 30 else "note",
        message=f"the largest class has {ratio:.0f} times the images of the smallest ({percent(float(known.max()))} "
        f"against {percent(float(known.min()))} of the labels)"
        + ("; accuracy hides that small classes are hardly ever told right" if hidden else ""),
        fix="weight the classes in the loss, or draw them evenly (WeightedRandomSampler); judge by balanced accuracy",
        confirm="the recall of the smallest class rises",
        evidence={"ratio": ratio, "shares": known},
    )


@PROBES.register("split-leakage", summary="training images in validation")
def split_leakage(record: Record) -> Iterator[Diagnosis]:
    """Pictures that occur in training and in evaluation."""
    pairs = [pair for pair in held_against(record) if all(len(each.pictures) >= 20 for each in pair)]
    found = [_shared(record, train, evaluated) for train, evaluated in pairs]
    if not found:
        return
    shared = _of_validation(*(np.concatenate(each) for each in zip(*[one[:2] for one in found], strict=True)))
    share, changed = float(shared.mean()), any(changed for *_, changed in found)
    if share > (_CHANGED if changed else _LEAKED) and shared.sum() >= 5:
        yield Diagnosis(
            code="split-leakage",
            confidence=0.9 if share > 0.2 else 0.75,
            message=f"{percent(share)} of {len(shared)} evaluated pictures looked at also occur among "
            f"{sum(len(train.pictures) for train, _ in pairs)} training pictures"
            f"{', cropped, mirrored, turned or changed otherwise' if changed else ''}: validation measures what was "
            "learnt by heart",
            fix="split by groups so that copies stay together (fovea audit names them)",
            confirm="no picture occurs in both",
            evidence={"shared": int(shared.sum()), "looked_at": len(shared)},
        )


def _of_validation(shared: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Leave out what is evaluated to see how well training images are told, where other images are evaluated, too.

    Of loaders it is known which hand out what is trained on; without any, batches of the two kinds lie side by side.
    """
    shares = {int(source): float(shared[sources == source].mean()) for source in np.unique(sources)}
    others = np.isin(sources, [source for source, share in shares.items() if share < _LEAKED / 2])
    if others.sum() < _LEAST_OTHERS or (sources >= 0).any():
        return shared
    return shared[others]


def _shared(record: Record, train: Gallery, evaluated: Gallery) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return which evaluated pictures are training pictures (N,), their sources (N,), and if changed ones count."""
    side = min((min(batch.shape[2:]) for batch in batches_of(record, "train")), default=0)
    sources = np.array(evaluated.sources)
    if are_drawings(train, side_px=side):
        images = next((loader.images for loader in record.loaders if loader.phase == "train"), None)
        return equal(train, evaluated, images=images), sources, False
    shared = leaked(train, evaluated)
    if shared.mean() > _LEAKED or side < _LEAST_PX or record.audited:
        return shared, sources, False
    most = int(np.clip(record.seconds * _LOOKED_AT_A_SECOND, *_LOOKED_AT))
    rows, changed = copied(train, evaluated, side_px=side, most=most)
    return changed, sources[rows], True


@PROBES.register("labels-shuffled", summary="labels that have nothing to do with the pixels")
def labels_shuffled(record: Record) -> Iterator[Diagnosis]:
    """A plain classifier on small pictures, cross-validated, tells the labels no better than their shares."""
    if any(unlike_chance(each) for each in main_rounds(record, least=20)):
        return
    if any(within_batch(loss) for loss in record.losses):
        return  # labels are places in the batch
    train, evaluated = record.galleries["train"], evaluated_pictures(record)
    found = learnable(train)
    if found is None or found.commonest > _NEARLY_ALL:
        return
    if not found.no_better:
        yield from _contradicted(record)
        return
    other = learnable(evaluated)
    only_train = other is not None and not other.no_better
    yield Diagnosis(
        code="labels-shuffled",
        confidence=0.85 if only_train else 0.6,
        message=f"a plain classifier on {counted(found.images, 'training picture')} tells held-out labels in "
        f"{percent(found.accuracy)}, the commonest class alone in {percent(found.commonest)}: labels do not follow "
        "from the "
        "pixels" + (", though those of validation do" if only_train else ""),
        fix="join labels and images again by file name, not by position; look at a batch with its labels",
        confirm="a plain classifier does better than the commonest class",
        evidence={"accuracy": found.accuracy, "commonest": found.commonest, "images": found.images},
    )


def _contradicted(record: Record) -> Iterator[Diagnosis]:
    """Yield that training pictures look like evaluated ones, whose labels tell theirs no better than guessing."""
    found = None if several_targets(record) else compared(record)
    if found is None or found.across > found.commonest or not found.of_one_kind:
        return
    yield Diagnosis(
        code="labels-shuffled",
        confidence=0.7,
        message=f"the likest evaluated pictures tell {percent(found.within)} of evaluated labels, but only "
        f"{percent(found.across)} of those of {counted(found.images, 'training picture')}, which look no different; "
        f"the commonest class alone would tell {percent(found.commonest)}: training labels do not belong to their "
        "pictures",
        fix="join labels and images again by file name, not by position; look at a batch with its labels",
        confirm="a plain classifier of training pictures tells evaluated ones",
        evidence={"of_evaluated": found.within, "of_training": found.across, "commonest": found.commonest},
    )
