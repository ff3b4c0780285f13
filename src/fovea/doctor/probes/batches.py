"""Faults in what the network is given: scale of the pixels, train against evaluation, order of the labels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from fovea.core.wording import counted
from fovea.doctor.files.colors import orders
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.reading import PAINTED, batches_of, erased, for_classes, painted, pretrained
from fovea.doctor.record import Batch, Loader, Record

_SHIFT = 0.35  # standard deviations, between the channel means of training and evaluation
_SCALE = 1.6  # ratio of standard deviations
_FEW = 3
_IN_A_ROW = 8  # batches of the first steps, for their order to tell
_BATCHES = 3  # of training, below which only what is far off counts
_WIDER = 1.3  # of standard deviations: noise and erasing alone stretch the range, scaling both
_TRACE = 0.02  # share of one colour in training images, from which it moves their spread
_OTHER_CLASSES = 0.2  # half the sum of the differences between class shares


@PROBES.register("not-normalised", summary="pixels as they come from the file")
def not_normalised(record: Record) -> Iterator[Diagnosis]:
    """Inputs of 0 to 255, or channel means far from 0 in units of their spread."""
    train = batches_of(record, "train")
    if not train:
        return
    lowest, highest = min(batch.lowest for batch in train), max(batch.highest for batch in train)
    mean, std = _channels(train)
    if lowest >= 0 and highest > 20:
        yield Diagnosis(
            code="not-normalised",
            confidence=0.95,
            message=f"pixels reach the network as {lowest:.0f} to {highest:.0f}: first activations are a hundred "
            "times what initialisation and learning rates are made for",
            fix="divide by 255, then subtract the mean and divide by the standard deviation of each channel "
            "(transforms.ToTensor, transforms.Normalize)",
            confirm="inputs have a mean near 0 and a spread near 1",
            evidence={"lowest": lowest, "highest": highest, "mean": mean, "std": std},
        )
    elif lowest >= 0 and 0.2 < highest <= 1.01 and float(np.abs(mean).max()) > 0.2:
        trained = pretrained(record) and len(mean) == 3
        yield Diagnosis(
            code="not-normalised",
            confidence=0.6 if trained else 0.5,
            severity="alarm" if trained else "note",
            message=f"pixels reach the network as 0 to 1, with channel means of {_told(mean)}: they are not centred. "
            + (
                "Its weights were trained before, most likely on normalised images"
                if trained
                else "Networks with BatchNorm mostly cope; pretrained ones lose accuracy"
            ),
            fix="subtract the mean and divide by the standard deviation of each channel (transforms.Normalize); for "
            "pretrained weights, those that they were trained with",
            evidence={"mean": mean, "std": std},
        )


@PROBES.register("normalised-twice", summary="pixels scaled or normalised a second time")
def normalised_twice(record: Record) -> Iterator[Diagnosis]:
    """A spread far from 1 with a mean far from 0 in the way that a second division or normalisation makes it."""
    train = batches_of(record, "train")
    if not train:
        return
    mean, std = _channels(train)
    lowest, highest = min(batch.lowest for batch in train), max(batch.highest for batch in train)
    width, middle = float(std.mean()), float(mean.mean())
    if width <= 0:
        return
    divided = highest - lowest < 0.05
    twice = width > 2.2 and lowest < -4 and middle < -0.8
    offset = width < 0.1 and abs(middle) > 8 * width and highest < 0.3
    if divided or twice or offset:
        other, other_std = _channels(batches_of(record, "eval") or train)
        in_both = float(other_std.mean()) < 0.1 and abs(float(other.mean())) > 8 * float(other_std.mean())
        yield Diagnosis(
            code="normalised-twice",
            confidence=0.92 if offset and in_both else 0.9 if divided or twice else 0.7,
            message=f"inputs have a mean of {middle:.3g}, a spread of {width:.3g} and a range of {lowest:.3g} to "
            f"{highest:.3g}"
            + (
                ": they were normalised twice"
                if twice
                else ": they were divided by 255 twice, or normalised as if they were still 0 to 255"
            ),
            fix="drop one of the two steps (ToTensor already divides by 255)",
            confirm="inputs have a mean near 0 and a spread near 1",
            evidence={"mean": mean, "std": std, "lowest": lowest, "highest": highest},
        )


@PROBES.register("train-eval-transform", summary="other preprocessing in evaluation than in training")
def train_eval_transform(record: Record) -> Iterator[Diagnosis]:
    """Channel statistics, range or size of the evaluated images differ from those of training."""
    train, evaluated = batches_of(record, "train"), batches_of(record, "eval")
    if not train or not evaluated:
        return
    (mean, std), (other, other_std) = _channels(train), _channels(evaluated)
    if mean.shape != other.shape or not np.isfinite([*mean, *other]).all():
        return
    if erased(record) > PAINTED:
        return  # what was painted over moves means and spreads
    scale = np.maximum(std, 1e-6)
    shift = float(np.abs((mean - other) / scale).max())
    ratio = float(np.max(np.maximum(other_std / scale, scale / np.maximum(other_std, 1e-6))))
    spans = [_span(part) for part in (train, evaluated)]
    stretched = max(spans) / max(min(spans), 1e-6)
    # between single batches of one kind of image, means differ too
    noise = 3 * float(np.max(np.std([b.mean for b in train], axis=0) / scale)) if len(train) > 2 else 0.0
    known = orders(record)  # where files are known, they tell whether that is so, and in which of the two
    if any(order is not None and order.swapped for order in known) and _swapped(mean, other, std):
        return
    swapped = _swapped(mean, other, std) and any(order is None for order in known)
    far, wide, long = (_SHIFT if swapped else max(_SHIFT, noise)), _SCALE, 1.8
    if len(train) < _BATCHES:
        far, wide = max(far, 1.0), 2.5
    if not swapped and _other_classes(train, evaluated):
        far, wide, long = max(far, 1.5), 2.5, 2.5
    if not (shift > far or ratio > wide or (stretched > long and ratio > _WIDER)):
        return
    if not swapped and _is_paint(painted(record), (mean, std), (other, other_std)):
        return
    yield Diagnosis(
        code="channel-order" if swapped else "train-eval-transform",
        confidence=0.9 if shift > 1 or ratio > 2.5 or stretched > 2.5 else 0.7,
        message=f"training images have channel means of {_told(mean)} and a spread of {_told(std)}, evaluated ones "
        f"{_told(other)} and {_told(other_std)}"
        + (
            ": red and blue are swapped in one of the two"
            if swapped
            else f" (means differ by {shift:.2g} standard deviations): they are prepared in another way"
        ),
        fix="decode images the same way in both (OpenCV reads BGR: cv2.cvtColor(image, cv2.COLOR_BGR2RGB))"
        if swapped
        else "use one preprocessing for both: same size, scaling, mean and std; only random changes belong to training "
        "alone",
        confirm="means and spreads agree to a tenth of a standard deviation",
        evidence={"train_mean": mean, "train_std": std, "eval_mean": other, "eval_std": other_std, "shift": shift},
    )


def _is_paint(
    colour: dict[float, float], train: tuple[np.ndarray, np.ndarray], evaluated: tuple[np.ndarray, np.ndarray]
) -> bool:
    """Whether training images without a colour that is painted over parts of them are spread as evaluated ones are.

    Moves and turns leave borders of one colour: of each channel (C,), some share has one value of that colour.

    Args:
        colour: its values, one or one for each channel, with their shares of all values.
        train, evaluated: means and standard deviations (C,).
    """
    share = sum(colour.values())
    if not _TRACE < share < PAINTED:
        return False
    values = np.array(list(colour))[:, None]  # (V, 1)
    mean = (train[0] - share * values) / (1 - share)  # (V, C), without the value
    square = (train[1] ** 2 + train[0] ** 2 - share * values**2) / (1 - share)
    spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
    fits = (np.abs(mean - evaluated[0]) < _SHIFT * spread) & (
        np.maximum(spread / evaluated[1], evaluated[1] / spread) < _SCALE
    )
    return bool(fits.any(axis=0).all())


def _other_classes(train: list[Batch], evaluated: list[Batch]) -> bool:
    """Whether the batches looked at show other shares of the classes: drawn evenly in training, or sorted."""
    labels = [
        np.concatenate([np.empty(0), *(each.labels for each in part if each.labels is not None)])
        for part in (train, evaluated)
        if all(each.labels is None or each.labels.ndim == 1 for each in part)
    ]
    if len(labels) < 2 or not all(len(each) for each in labels):
        return False
    values = np.unique(np.concatenate(labels))
    shares = [np.array([(each == value).mean() for value in values]) for each in labels]
    return bool(np.abs(shares[0] - shares[1]).sum() / 2 > _OTHER_CLASSES)


def _channels(batches: list[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over batches, (C,) each."""
    mean = np.mean([batch.mean for batch in batches], axis=0)
    square = np.mean([batch.std**2 + batch.mean**2 for batch in batches], axis=0)
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


def _span(batches: list[Batch]) -> float:
    return max(batch.highest for batch in batches) - min(batch.lowest for batch in batches)


def _swapped(mean: np.ndarray, other: np.ndarray, std: np.ndarray) -> bool:
    """Whether one set of three channel means is the other in reverse, and not itself."""
    if len(mean) != 3:
        return False
    straight, reverse = (float(np.abs((mean - each) / np.maximum(std, 1e-6)).max()) for each in (other, other[::-1]))
    near = reverse < 0.2 and reverse < 0.4 * straight
    return straight > 0.3 and (near or (reverse < 0.35 and reverse < 0.25 * straight))  # few images: means differ, too


def _told(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


@PROBES.register("not-shuffled", summary="training batches in the order of the classes")
def not_shuffled(record: Record) -> Iterator[Diagnosis]:
    """Batches hold fewer classes than batches drawn at random would."""
    drawn = [loader for loader in record.loaders if loader.phase == "train" and len(loader.label_batches) >= 3]
    if not drawn and (own := _by_hand(record)).label_batches:
        drawn = [own]
    for loader in drawn:
        ratio = _mixture(loader)
        chosen = loader.shuffled is None and not for_classes(record)  # as miners of triplets want them
        if math.isfinite(ratio) and ratio < 0.6 and not chosen:
            yield Diagnosis(
                code="not-shuffled",
                confidence=0.95 if loader.shuffled is False else 0.8,
                message=f"training batches are not mixed: the labels of a batch have {100 * ratio:.0f} % of the "
                "variety of batches drawn at random, so the network learns one class and forgets the one before"
                + ("; the loader has shuffle=False" if loader.shuffled is False else ""),
                fix="DataLoader(..., shuffle=True)",
                confirm="the loss no longer goes up and down with the classes",
                evidence={"variety": ratio, "shuffle": loader.shuffled, "batch_size": loader.batch_size},
            )
        elif loader.shuffled is False and loader.rounds >= 2 and not _reordered(loader):
            yield Diagnosis(
                code="not-shuffled",
                confidence=0.5,
                severity="note",
                message="training batches come in the same order in every epoch (shuffle=False), though the labels "
                "are mixed",
                fix="DataLoader(..., shuffle=True)",
                evidence={"variety": ratio},
            )


def _by_hand(record: Record) -> Loader:
    """Return the batches of the first steps as if a loader had handed them out, where none did."""
    train = enumerate(batches_of(record, "train"))
    labels = [batch.labels for place, batch in train if batch.step <= place + 1 and batch.labels is not None]
    labels = [each for each in labels if each.ndim == 1 and each.dtype.kind == "i"]
    own = Loader(batch_size=None, shuffled=None, drop_last=False, images=None)
    own.label_batches = labels if len(labels) >= _IN_A_ROW else []
    return own


def _mixture(loader: Loader) -> float:
    """Return the entropy of the labels of a batch over that of batches drawn at random from the same labels."""
    batches = [batch for batch in loader.label_batches if len(batch) > 1]
    if not batches:
        return math.nan
    every = np.concatenate(batches)
    if len(np.unique(every)) < 2:
        return math.nan
    rng = np.random.default_rng(0)
    drawn = rng.permutation(every)
    at, found, expected = 0, 0.0, 0.0
    for batch in batches:
        found += _entropy(batch)
        expected += _entropy(drawn[at : at + len(batch)])
        at += len(batch)
    return found / expected if expected else math.nan


def _entropy(labels: np.ndarray) -> float:
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())


def _reordered(loader: Loader) -> bool:
    """Whether a second epoch began with other labels than the first."""
    if not loader.images or not loader.batch_size:
        return True
    epoch = -(-loader.images // loader.batch_size) if not loader.drop_last else loader.images // loader.batch_size
    batches = loader.label_batches
    return not 0 < epoch < len(batches) or not np.array_equal(batches[0], batches[epoch])


@PROBES.register("input-ignored", summary="inputs without content, or outputs that do not depend on them")
def input_ignored(record: Record) -> Iterator[Diagnosis]:
    """Training inputs that are constant, the same in every batch, or colour pictures of two or three values."""
    train = batches_of(record, "train")
    if len(train) < 3:
        return
    most = max(batch.values for batch in train)
    if train[0].shape[1] == 3 and 2 <= most <= _FEW:
        yield Diagnosis(
            code="input-ignored",
            confidence=0.9,
            message=f"the pixels of colour pictures take only {most} values: what they showed was lost in rounding",
            fix="scale pixels as floating-point numbers: an array of uint8 turns what was divided by 255 into 0 and 1",
            confirm="inputs take hundreds of values, and look like the pictures",
            evidence={"values": most, "lowest": train[0].lowest, "highest": train[0].highest},
        )
        return
    _, std = _channels(train)
    flat = float(std.max()) < 1e-6
    drawn = [loader for loader in record.loaders if loader.phase == "train"]
    whole = not any(loader.images is None or loader.images > train[0].shape[0] for loader in drawn)
    digests = {batch.digest for batch in train}
    same = len(digests) == 1 and len({batch.step for batch in train}) > 2
    if flat or same:
        yield Diagnosis(
            code="input-ignored",
            confidence=0.5 if whole and not flat else 0.9,
            severity="note" if whole and not flat else "alarm",  # one batch that holds all, or is learnt by heart
            message="every pixel that the network is given has the same value"
            if flat
            else f"the network was given the very same batch at {counted(len(train), 'step')}",
            fix="look at a batch as a picture; check the path from the file to the tensor",
            confirm="inputs differ from image to image",
            evidence={"std": std, "different_batches": len(digests)},
        )
