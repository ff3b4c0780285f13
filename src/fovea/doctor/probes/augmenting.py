"""Training pictures against evaluated ones: labels that were mixed up, and augmentation that spoils pictures or labels.

All three ask which evaluated pictures a training picture is likest to, so they need some labelled ones of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted, listed, percent
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.galleries import Compared, Turned, opposed
from fovea.doctor.reading import (
    PAINTED,
    accuracy_of_steps,
    compared,
    erased,
    evaluated_pictures,
    main_rounds,
    several_targets,
    unlike_chance,
)
from fovea.doctor.record import Record

# chosen on trainings of digits with none, mild and strong augmentation; not calibrated on photographs
_NOISY = 0.1  # share of training labels that pictures contradict
_IN_USE = 0.3  # share of training pictures that are likest to turned ones
_ALWAYS = 0.75  # share from which on that is no augmentation
_CHANGED = 0.3  # share of labels that a turn makes wrong
_WRONG = 0.05  # of the answers
_BETWEEN, _COIN = 0.7, 0.6  # of the wrong ones; and shares of both classes in sum, 1 where a coin decides
_MIRRORED = 0.6  # of such pairs, whose pictures show that they are each other's mirror image
_TOLD = 0.8  # of each other class, where no flip is known
_FLIPS = {"RandomHorizontalFlip": 2, "RandomVerticalFlip": 1}  # axis of (N, H, W)
_UNLIKE = 0.65  # of the likeness among evaluated pictures


@PROBES.register("noisy-labels", summary="a part of the training labels is wrong")
def noisy_labels(record: Record) -> Iterator[Diagnosis]:
    """Evaluated pictures tell each other's labels, but not those of training pictures that look alike."""
    found = None if several_targets(record) else compared(record)
    if found is None or not found.of_one_kind:
        return
    if found.across <= found.commonest and not any(unlike_chance(each) for each in main_rounds(record, least=20)):
        return  # no noise: labels have nothing to do with the pixels, or mean something else
    if _learns_all(record, found.drop):
        return
    spread = math.sqrt(found.within * (1 - found.within) / found.images)
    if found.drop > _NOISY and found.within - found.across > 5 * spread:
        yield Diagnosis(
            code="noisy-labels",
            confidence=0.8,
            message=f"about {percent(found.drop)} of the training labels look wrong: the likest evaluated pictures "
            f"tell {percent(found.within)} of evaluated labels, but only {percent(found.across)} of those of "
            f"{counted(found.images, 'training picture')}, which look no different",
            fix="let fovea audit list the doubtful labels, correct them, and train again",
            confirm="training accuracy rises once they are corrected",
            evidence={"noise": found.drop, "of_evaluated": found.within, "of_training": found.across},
        )


def _learns_all(record: Record, noise: float) -> bool:
    """Whether the network tells more training labels than so many wrong ones allow, and evaluated ones as well."""
    rounds = [each for each in main_rounds(record, least=20) if each.judged]
    trained = accuracy_of_steps(record, last=50) > 1 - noise / 2
    return bool(rounds) and trained and rounds[-1].accuracy > 1 - noise / 2


@PROBES.register("label-changing-augmentation", summary="flips or turns that make another class of a picture")
def label_changing_augmentation(record: Record) -> Iterator[Diagnosis]:
    """Training pictures are likest to turned evaluated ones, and turning evaluated ones makes their labels wrong; or
    pictures are moved at random whose targets are places.
    """
    for loader in record.loaders:
        if loader.phase == "train" and loader.moves and loader.places:
            yield Diagnosis(
                code="label-changing-augmentation",
                confidence=0.9,
                message=f"{listed(loader.moves, limit=3)} moves training pictures at random, but not their "
                f"{loader.places}, which now mark other places",
                fix="move both together: torchvision.transforms.v2 on tv_tensors, given picture and target; or leave "
                "the random move out",
                confirm=f"the {loader.places}, drawn onto a training batch, lie where they should",
                evidence={"transforms": loader.moves, "targets": loader.places},
            )
            return
    found = compared(record)
    turn = None if found is None else _in_use(found)
    if found is None or turn is None:
        yield from _mirrored_classes(record)
        return
    if turn.excess > _ALWAYS:
        yield Diagnosis(
            code="train-eval-transform",
            confidence=0.85,
            message=f"{percent(turn.excess)} of the training pictures look like evaluated ones that are {turn.name}: "
            "one of the two is turned",
            fix="use one preprocessing for both, and look at a batch of each as pictures",
            confirm="pictures of both stand upright",
            evidence={"turn": turn.name, "share": turn.excess},
        )
        return
    worst = [int(each) for each in np.argsort(turn.recalls)[:3] if turn.recalls[each] < 0.5]
    swapped = [f"{each} looks like {turn.told[each]}" for each in worst if turn.told[each] != each]
    yield Diagnosis(
        code="label-changing-augmentation",
        confidence=0.85,
        message=f"training pictures are {turn.name} at random, but that changes what they show: evaluated pictures "
        f"tell {percent(found.within)} of each other's labels, and {percent(turn.accuracy)} once they are {turn.name}"
        + (f" (class {listed(swapped, limit=3)})" if swapped else ""),
        fix="leave this flip or turn out, or change the label with it",
        confirm="the classes named have a higher recall without it",
        evidence={
            "turn": turn.name,
            "share": turn.excess,
            "as_they_are": found.within,
            "turned": turn.accuracy,
            "recalls": turn.recalls,
        },
    )


def _mirrored_classes(record: Record) -> Iterator[Diagnosis]:
    """Yield that nearly all errors are within pairs of classes which a flip in use makes of one another."""
    rounds = [each for each in main_rounds(record, least=100) if each.confusion is not None]
    texts = [loader.transforms for loader in record.loaders if loader.phase == "train"]
    if not rounds:
        return
    counts = rounds[-1].confusion
    assert counts is not None
    sizes = np.maximum(counts.sum(axis=1), 1)
    wrong = counts - np.diag(np.diag(counts))
    both, mixed = np.triu(wrong + wrong.T), wrong / sizes[:, None]
    coins = np.triu(mixed + mixed.T, 1) >= _COIN
    pairs = [(int(one), int(other)) for one, other in np.argwhere(coins)]
    paired = {each for pair in pairs for each in pair}
    share = both[coins].sum() / max(1, wrong.sum())
    if wrong.sum() < _WRONG * counts.sum() or share < _BETWEEN or len(paired) < 2 * len(pairs):
        return
    rest = np.delete(np.diag(counts) / sizes, sorted(paired))
    for name, axis in _FLIPS.items():
        told = any(name in text for text in texts)
        if not told and len(pairs) < 2 and not (len(rest) and rest.min() > _TOLD):
            continue  # two classes alone may just not be told apart
        mirrored = [opposed(evaluated_pictures(record), *pair, axis=axis) for pair in pairs]
        if mirrored and sum(mirrored) >= _MIRRORED * len(pairs):
            named = [f"{one} for {other}" for one, other in pairs]
            yield Diagnosis(
                code="label-changing-augmentation",
                confidence=0.8 if told else 0.65 if len(pairs) < 2 else 0.75,
                message=f"{percent(float(share))} of the wrong answers take class {listed(named, limit=3)} or the "
                f"other way round, and these are each other's mirror image: {name if told else 'a flip'} makes one of "
                "the other in training and leaves the label",
                fix="leave this flip out, or change the label with it",
                confirm="the recall of both classes rises without it",
                evidence={
                    "pairs": [list(pair) for pair in pairs],
                    "share": float(share),
                    "accuracy": rounds[-1].accuracy,
                },
            )
            return


@PROBES.register("augmentation-too-strong", summary="augmentation after which little is left to see")
def augmentation_too_strong(record: Record) -> Iterator[Diagnosis]:
    """Training pictures are unlike evaluated ones, and the network tells fewer labels than plain likeness does."""
    found = compared(record)
    rounds = [each for each in main_rounds(record, least=20) if each.judged]
    if found is None or not rounds or _in_use(found) is not None:
        return
    reached = float(np.median([each.accuracy for each in rounds[-3:]]))
    painted = erased(record)
    likest = max(found.near_across, found.near_train)  # a fixed change leaves near_train
    spoiled = painted > PAINTED or likest < _UNLIKE * found.near_within
    if spoiled and found.drop > 0.2 and reached < found.within - 0.1:
        yield Diagnosis(
            code="augmentation-too-strong",
            confidence=0.92,
            message=f"training pictures hardly look like evaluated ones (likeness {found.near_across:.2f}, among "
            f"evaluated ones {found.near_within:.2f}"
            + (f"; {percent(painted)} of them is painted over" if painted > PAINTED else "")
            + f"), and the network reaches {percent(reached)} where comparing small pictures already reaches "
            f"{percent(found.within)}",
            fix="soften the augmentation (noise, erasing, crops); look at a training batch as pictures",
            confirm="validation accuracy rises with half of its strength",
            evidence={"likeness": found.near_across, "usual": found.near_within, "accuracy": reached},
        )


def _in_use(found: Compared) -> Turned | None:
    """Return the flip or turn that training pictures have and that changes labels, or None."""
    harmful = [turn for turn in found.turned if turn.excess > _IN_USE and found.within - turn.accuracy > _CHANGED]
    return max(harmful, key=lambda turn: turn.excess, default=None)
