"""What several probes ask of a record: curves, chance, the training's own loss."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from fovea.doctor.galleries import Compared, compare
from fovea.doctor.record import Batch, Gallery, Loss, Phase, Record, Round
from fovea.doctor.tensors import are_pictures

PAINTED = 0.35  # share of training pictures, of one value and not in evaluated ones, from which they are painted over
LEARNT = 0.9  # accuracy of the last training batches, from which on a choice that is unusual has done no harm
_GROUND = 0.1  # share of one value in evaluated pictures, from which it is a ground that training has, too
_MOST_CLASSES = 100_000
_ALL_TOLD = 0.97  # of evaluated images, beyond which fewer than three points can be lost
_SAMPLES, _SAME_LENGTH = 3, 1e-3  # steps that were looked at, and by how much of their length gradients may differ
CLASSIFYING = ("cross_entropy", "nll_loss", "multi_margin_loss")
FOR_NUMBERS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def losses_of_steps(record: Record) -> np.ndarray:
    """Return the training loss at each step (N,), NaN where none was seen."""
    return np.array([step.loss for step in record.steps])


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return means over `window` neighbours, (N,) -> (N - window + 1,), NaN left out; short curves as they are."""
    known = values[np.isfinite(values)]
    if len(known) <= window:
        return known
    return np.convolve(known, np.full(window, 1 / window), mode="valid")


def start_and_end(record: Record) -> tuple[float, float]:
    """Return the training loss over the first and over the last tenth of the steps; NaN without any."""
    values = losses_of_steps(record)
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    part = max(1, min(20, len(values) // 10))
    return float(values[:part].mean()), float(values[-part:].mean())


def accuracy_of_steps(record: Record, *, last: int | None = None) -> float:
    """Return the share of training images told right over the last steps, in the network's training mode."""
    steps = [step for step in record.steps if step.right >= 0 and step.images]
    steps = steps[-last:] if last else steps
    images = sum(step.images for step in steps)
    return sum(step.right for step in steps) / images if images else math.nan


def training_loss(record: Record, names: Iterable[str] = CLASSIFYING) -> Loss | None:
    """Return the loss function of the training that was called most, of these names; None if there is none."""
    found = [
        loss
        for loss in record.losses
        if loss.phase == "train" and loss.name in set(names) and len(loss.scores_shape) <= 2 and not within_batch(loss)
    ]
    return max(found, key=lambda loss: loss.calls) if found else None


def within_batch(loss: Loss) -> bool:
    """Whether the classes are the other images of the batch, as in contrastive losses: each occurs once a call."""
    if loss.label_counts is None or not loss.classes or not loss.values:
        return False
    return loss.classes >= loss.values[0][2] and bool(loss.label_counts.max() <= loss.looked_at)


def for_classes(record: Record) -> bool:
    """Whether the training is one of classes: its loss says so, or no loss function was seen and its batches do."""
    if training_loss(record) is not None:
        return True
    return not any(loss.phase == "train" for loss in record.losses) and any(step.right >= 0 for step in record.steps)


def several_tasks(record: Record) -> bool:
    """Whether losses of classes are given scores of several widths."""
    widths = {each.classes for each in record.losses if each.phase == "train" and each.name in CLASSIFYING}
    return len(widths) > 1


def several_targets(record: Record) -> bool:
    """Whether losses of classes are computed several times for each backward: two heads, mixed labels, two views."""
    calls = sum(each.calls for each in record.losses if each.phase == "train" and each.name in CLASSIFYING)
    return calls > 1.5 * sum(step.batches for step in record.steps)


def always_clipped(record: Record) -> bool:
    """Whether each step that was looked at had a gradient of the same length, whatever the size of the loss."""
    followed = [each.gradient for network in record.networks for each in network.parameters.values() if each.gradient]
    samples = min(map(len, followed), default=0)
    if samples < _SAMPLES:
        return False
    lengths = np.sqrt(sum(np.square(each[:samples]) for each in followed))
    return bool(np.isfinite(lengths).all() and np.ptp(lengths) < _SAME_LENGTH * lengths.mean())


def usual_cut(record: Record, scores: np.ndarray) -> float:
    """Return the score (n,) above which an answer is yes: of a half where they are near zeros and ones, else of 0."""
    near = {loss.name in FOR_NUMBERS for loss in record.losses if loss.phase == "train"} == {True}
    return 0.5 if near or (scores.min() >= 0 and scores.max() <= 1) else 0.0


def answers_of_batches(record: Record, each: Round) -> list[np.ndarray]:
    """Return the counts (2, 2) of the batches of an evaluation of yes and no, rows true, as the scores decide."""
    if not each.scores:
        return []
    cut = usual_cut(record, np.concatenate(each.scores))
    return [
        np.bincount(2 * truths + (scores > cut), minlength=4).reshape(2, 2)
        for scores, truths in zip(each.scores, each.truths, strict=True)
    ]


def confusion_of(record: Record, each: Round) -> np.ndarray | None:
    """Return the counts (C, C) of an evaluation, rows true; (2, 2) of yes and no; None where labels are not known."""
    if each.confusion is not None:
        return each.confusion
    answers = answers_of_batches(record, each)
    return np.sum(answers, axis=0) if answers else None


def label_counts(record: Record) -> np.ndarray | None:
    """Return how often each class occurred among the training labels that were seen (C,), or None without any.

    None too where there are several tasks, one beside the other or one after the other: whose labels are these?
    """
    if not for_classes(record) or several_tasks(record):
        return None
    for loader in record.loaders:
        if loader.phase == "train" and loader.label_batches:
            labels = np.concatenate(loader.label_batches)
            if labels.min() >= 0 and labels.max() < _MOST_CLASSES:
                return np.bincount(labels)
    loss = training_loss(record)
    return None if loss is None or loss.label_counts is None or not loss.label_counts.sum() else loss.label_counts


def label_shares(record: Record) -> np.ndarray | None:
    """Return the shares of the classes among training labels (C,), or None where none were seen."""
    counts = label_counts(record)
    return None if counts is None else counts / counts.sum()


def chance_loss(shares: np.ndarray) -> float:
    """Return the log loss of always answering with the shares of the classes.

    >>> round(chance_loss(np.array([0.5, 0.5])), 4)
    0.6931
    """
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())


def chance_spread(shares: np.ndarray, images: float) -> float:
    """Return the standard deviation of that loss over batches of so many images: rare classes make it leap.

    >>> round(chance_spread(np.array([0.5, 0.5]), 32), 4), round(chance_spread(np.array([0.97, 0.03]), 32), 2)
    (0.0, 0.1)
    """
    known = shares[shares > 0]
    single = -np.log(known)
    return math.sqrt(max(0.0, float((known * single**2).sum()) - float((known * single).sum()) ** 2) / max(1.0, images))


def goes_with_steps(record: Record) -> bool:
    """Whether calls without a backward go with nearly every step: those of a teacher, or the other half of a GAN."""
    often = len(record.steps) >= 8 and len(record.rounds) > 0.5 * len(record.steps)
    return often and float(np.median([each.batches for each in record.rounds])) <= 2


def evaluated_pictures(record: Record) -> Gallery:
    """Return what was evaluated as pictures, but for what only went with the steps of the training."""
    every = record.galleries["eval"]
    if not goes_with_steps(record):
        return every
    most = max(each.images for each in record.rounds)
    steps = {each.step for each in record.rounds if each.images > 0.5 * most}
    if len(steps) > len(record.rounds) / 2:
        return Gallery()
    return every.only(row for row, step in enumerate(every.steps) if step in steps)


def compared(record: Record) -> Compared | None:
    """Return how training pictures look from evaluated ones, where that tells something.

    None too where labels are places in the batch, as those of contrastive losses.
    """
    if any(within_batch(loss) for loss in record.losses):
        return None
    return compare(record.galleries["train"], evaluated_pictures(record))


def held_against(record: Record) -> Iterator[tuple[Gallery, Gallery]]:
    """Yield what each network was trained on and what it was evaluated on, as pictures.

    Of k folds each has a network of its own, and what one is trained on another may be evaluated on. A copy that is not
    trained itself is held against all. Pictures without labels are not what is learnt by heart, where others have some.
    """
    train, evaluated = record.galleries["train"], evaluated_pictures(record)
    labelled = any(label >= 0 for label in train.labels)
    rows = [row for row, label in enumerate(train.labels) if label >= 0 or not labelled]
    for place in sorted(set(evaluated.networks)):
        trained = any(each.optimised or each.reached for each in record.networks[place].parameters.values())
        yield (
            train.only(row for row in rows if not trained or train.networks[row] == place),
            evaluated.only(row for row, network in enumerate(evaluated.networks) if network == place),
        )


def main_rounds(record: Record, *, least: int = 1) -> list[Round]:
    """Return the evaluations that are made again and again, by their size; none that go with the steps.

    A test at the end, of other images, is not one of them, and neither is how well training images are told.
    """
    if goes_with_steps(record):
        return []
    rounds = [each for each in record.rounds if not record.trains_on(each.loader)] or record.rounds
    kinds = Counter((each.images, each.loader is None) for each in rounds)
    again = {kind for kind, count in kinds.items() if count > 1}
    usual, by_hand = max(again or set(kinds), default=(0, False))
    most = 1.25 * usual if again else math.inf
    rounds = [each for each in rounds if not again or (each.loader is None) == by_hand]
    return [each for each in rounds if max(least, usual / 2) <= each.images <= most]


def batches_of(record: Record, phase: Phase) -> list[Batch]:
    """Return the described batches of a phase that are images."""
    return [batch for batch in record.batches if batch.phase == phase and are_pictures(batch.shape)]


def erased(record: Record) -> float:
    """Return the share of the training images that is one value which evaluated ones lack: what is painted over."""
    train, evaluated = _common(record, "train"), _common(record, "eval")
    if not train or not evaluated:
        return 0.0
    ground, share = max(evaluated.items(), key=lambda item: item[1])
    if share > _GROUND and train.get(ground, 0.0) < 0.05 * share:
        return 0.0  # the ground has another value there: it is all of the picture that was prepared in another way
    return max(share - evaluated.get(value, 0.0) for value, share in train.items())


def painted(record: Record) -> dict[float, float]:
    """Return the commonest values of training images that evaluated ones lack, with their shares: borders, say."""
    evaluated = _common(record, "eval")
    return {value: share for value, share in _common(record, "train").items() if value not in evaluated}


def _common(record: Record, phase: Phase) -> dict[float, float]:
    """Return the commonest values of a phase's images, with their mean shares over batches."""
    batches = batches_of(record, phase)
    shares: dict[float, float] = {}
    for batch in batches:
        for value, share in batch.common.items():
            shares[value] = shares.get(value, 0.0) + share / len(batches)
    return shares


def unlike_chance(each: Round, *, by: float = 0.15) -> bool:
    """Whether an evaluation is better than the commonest class by more than `by`."""
    if each.confusion is None or not each.judged:
        return False
    return bool(each.accuracy > each.confusion.sum(axis=1).max() / each.judged + by)


def nothing_to_gain(record: Record) -> bool:
    """Whether the last evaluations tell nearly all images of each class: what costs accuracy has cost next to none."""
    last = [confusion_of(record, each) for each in main_rounds(record, least=100)][-2:]
    told = [share for counts in last if counts is not None for share in shares_told(counts)]
    return bool(told) and min(told) >= _ALL_TOLD


def shares_told(counts: np.ndarray) -> tuple[float, float]:
    """Return the shares of the images that are told right: of all, and of each class in the mean."""
    right, true = counts.diagonal(), counts.sum(axis=1)
    return float(right.sum() / true.sum()), float((right[true > 0] / true[true > 0]).mean())


def poor(record: Record) -> bool:
    """Whether the training has learnt little: its loss is above 70 % of guessing, and so is its share of errors."""
    shares = label_shares(record)
    _, last = start_and_end(record)
    if shares is None or not math.isfinite(last) or last <= 0.7 * chance_loss(shares):
        return False
    accuracy = accuracy_of_steps(record, last=20)  # weights and smoothing raise a loss that is well learnt
    return not accuracy > 1 - 0.7 * (1 - float(shares.max()))


def pretrained(record: Record) -> bool:
    """Whether a network that is trained did not begin with freshly drawn weights."""
    return any(network.pretrained_hint for network in record.networks)


def round_rate(rate: float) -> float:
    """Return the nearest of 1, 2 or 5 times a power of ten.

    >>> round_rate(0.0031), round_rate(0.7), round_rate(88.0)
    (0.002, 0.5, 100.0)
    """
    power = 10.0 ** math.floor(math.log10(rate))
    steps = (1, 2, 5, 10)
    best = min(steps, key=lambda step: abs(math.log(rate / (step * power))))
    return float(f"{best * power:.0e}")
