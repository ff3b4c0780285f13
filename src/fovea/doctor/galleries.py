"""What small pictures of the inputs tell: whether labels follow from pixels, and which pictures occur twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fovea.data.audit.copies import group_pictures
from fovea.doctor.record import Gallery

_SIDE = 16
_LEAST, _MOST = 100, 1000
_SAME_KIND = 0.02  # likeness that pictures of one kind may lose between training and evaluation
_EACH = 8  # pictures of a class, on average, from which a plain classifier can be expected to learn it
_PICTURE_PX, _LOOKED_AT = 64, 200
_PLAIN, _DRAWN = 3, 0.3  # grey levels within 3 x 3 pixels, and share of such places: photos have 0.05, drawings 0.6
_KIND = 0.05  # of all pictures, in one group of copies
_LEAST_EACH, _OPPOSITE = 15, -0.4  # pictures of a class; correlation of a difference of means with itself, mirrored
_ALIKE, _SAME = 0.995, 0.97  # correlation of pictures of 16 x 16, and of 64 x 64


@dataclass(frozen=True)
class Learnable:
    """How well a plain classifier tells the labels of pictures that it has not seen."""

    accuracy: float
    commonest: float
    images: int

    @property
    def no_better(self) -> bool:
        """Whether that is no better than always saying the commonest class, by more than chance."""
        spread = math.sqrt(self.commonest * (1 - self.commonest) / self.images)
        return self.accuracy < self.commonest + 3 * spread


def learnable(gallery: Gallery) -> Learnable | None:
    """Return how learnable labels are by nearest neighbours and a linear classifier, or None for too few pictures."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    labels = np.array(gallery.labels)
    known = np.flatnonzero(labels >= 0)[:_MOST]
    labels = labels[known]
    values, counts = np.unique(labels, return_counts=True)
    keep = np.isin(labels, values[counts >= 4])
    known, labels = known[keep], labels[keep]
    classes = len(np.unique(labels))
    if classes < 2 or len(known) < max(_LEAST, _EACH * classes):
        return None
    features = _small([gallery.pictures[row] for row in known])
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    best = max(
        float((cross_val_predict(model, features, labels, cv=folds) == labels).mean())
        for model in (RidgeClassifier(alpha=30.0), KNeighborsClassifier(5, metric="cosine"))
    )
    return Learnable(best, float(counts.max() / counts.sum()), len(known))


def leaked(train: Gallery, evaluated: Gallery) -> np.ndarray:
    """Return which evaluated pictures also occur among those of training, (N,) booleans.

    None, where evaluated pictures have nearly as many twins among themselves: drawings of one kind are all alike.
    Pictures of one and the same step do not count: a second network may have been asked about a training batch.
    """
    mine, theirs = np.stack(train.pictures), np.stack(evaluated.pictures)
    elsewhere = np.array(evaluated.steps)[:, None] != np.array(train.steps)[None]
    found = _twins(theirs, mine, elsewhere)
    once = np.unique(theirs.reshape(len(theirs), -1), axis=0).reshape(-1, *theirs.shape[1:])
    among = _twins(once, once, ~np.eye(len(once), dtype=bool))
    return found if among.mean() < 0.5 * found.mean() else np.zeros_like(found)


def are_drawings(gallery: Gallery, *, side_px: int) -> bool:
    """Whether pictures consist of plain areas, as drawings do and photos do not: many are nearly the same by chance.

    Args:
        side_px: the shorter side of what the pictures were made from; smaller ones were enlarged.
    """
    step = max(1, _PICTURE_PX // max(1, side_px))
    pictures = np.stack(gallery.pictures[:_LOOKED_AT])[:, step // 2 :: step, step // 2 :: step].astype(np.int16)
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), axis=(1, 2))
    plain = windows.max(axis=(-1, -2)) - windows.min(axis=(-1, -2)) <= _PLAIN
    return bool(plain.mean() > _DRAWN)


def equal(train: Gallery, evaluated: Gallery, *, images: int | None) -> np.ndarray:
    """Return which evaluated pictures are training pictures to the last pixel, (N,) booleans.

    None, where training pictures are one another's equals nearly as often: there are few different ones.

    Args:
        images: how many training pictures there are, before they come again.
    """
    pictures = [picture.tobytes() for picture in train.pictures]
    known = set(pictures)
    found = np.array([picture.tobytes() in known for picture in evaluated.pictures])
    once = pictures[:images]
    return found if 1 - len(set(once)) / len(once) < 0.5 * found.mean() else np.zeros_like(found)


def copied(train: Gallery, evaluated: Gallery, *, side_px: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some evaluated pictures (M,) and which of them show what a training picture shows, changed, (M,) booleans.

    Changed is cropped, mirrored, turned, brightened. Where very many are one another's copies they are drawings of one
    kind, and none counts.

    Args:
        side_px: the shorter side of the inputs.
        most: how many pictures of both to look at, a third of them evaluated ones: each takes milliseconds.
    """
    rows = [
        np.unique(np.linspace(0, len(gallery.pictures) - 1, count).astype(int))
        for gallery, count in ((train, most - most // 3), (evaluated, most // 3))
    ]
    mine, theirs = np.stack(train.pictures)[rows[0]], np.stack(evaluated.pictures)[rows[1]]
    groups = group_pictures(np.concatenate([mine, theirs]), side_px=side_px)
    sizes = np.bincount(groups[groups >= 0], minlength=1)
    groups = np.where(sizes[groups] > _KIND * len(groups), -1, groups)
    return rows[1], np.isin(groups[len(mine) :], groups[: len(mine)]) & (groups[len(mine) :] >= 0)


def _twins(some: np.ndarray, others: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return which pictures (N, 64, 64) have one among others (M, 64, 64) that is the same but for noise, (N,).

    Args:
        allowed: which may be one of which (N, M).
    """
    alike = _small(list(some)) @ _small(list(others)).T / _SIDE**2
    row, column = np.nonzero((alike > _ALIKE) & allowed)
    found = np.zeros(len(some), bool)
    for start in range(0, len(row), 4096):  # in full for those that are alike when small
        part = slice(start, start + 4096)
        one, other = (_standard(each.astype(np.float32)) for each in (some[row[part]], others[column[part]]))
        found[row[part][(one * other).mean(axis=1) > _SAME]] = True
    return found


def _standard(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (N, H, W) as rows of mean 0 and standard deviation 1."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-6)


def _small(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures (N, 64, 64) as rows (N, 256) of mean 0 and standard deviation 1."""
    stack = np.stack(pictures).astype(np.float32)
    part = stack.shape[1] // _SIDE
    return _standard(stack.reshape(len(stack), _SIDE, part, _SIDE, part).mean(axis=(2, 4)))


TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda pictures: pictures[:, :, ::-1],
    "upside down": lambda pictures: pictures[:, ::-1],
    "turned by 180 degrees": lambda pictures: pictures[:, ::-1, ::-1],
    "turned by 90 degrees": lambda pictures: np.rot90(pictures, 1, (1, 2)),
    "turned by 270 degrees": lambda pictures: np.rot90(pictures, 3, (1, 2)),
}


@dataclass(frozen=True)
class Turned:
    """What a flip or a turn of evaluated pictures does to their labels, and whether training pictures have it."""

    name: str
    excess: float  # share of the training pictures that are likest to a turned one, beyond that of evaluated ones
    accuracy: float  # of the neighbours of turned evaluated pictures
    recalls: np.ndarray  # (C,) of each class
    told: np.ndarray  # (C,) what each class is mostly told as
    explains: float  # share of the training labels that evaluated pictures contradict, which it makes right
    wrong_moved: float  # share of contradicted labels in classes that it makes others of
    wrong_rest: float  # and in the rest; 0 without a rest


def opposed(gallery: Gallery, one: int, other: int, *, axis: int) -> bool:
    """Whether two classes are each other's mirror image: flipping turns what sets their means apart into its opposite.

    Of classes that a flip leaves as they are, such as cats and dogs, the difference of the means stays what it is.

    Args:
        axis: of pictures (N, H, W) to flip: 2 for left and right.
    """
    labels = np.array(gallery.labels)
    rows = [np.flatnonzero(labels == each) for each in (one, other)]
    if min(map(len, rows)) < _LEAST_EACH:
        return False
    means = [_small([gallery.pictures[row] for row in each]).mean(axis=0).reshape(1, _SIDE, _SIDE) for each in rows]
    apart = means[0] - means[1]
    return bool(np.corrcoef(np.flip(apart, axis).ravel(), apart.ravel())[0, 1] < _OPPOSITE)


@dataclass(frozen=True)
class Compared:
    """Training pictures seen from evaluated ones by their five likest: no network takes part."""

    within: float  # share of evaluated labels that other evaluated pictures tell
    across: float  # share of training labels that evaluated pictures tell
    commonest: float  # share of the commonest evaluated class
    near_within: float  # median likeness of evaluated pictures to the likest other one
    near_across: float  # the same of training pictures
    near_train: float  # median likeness of training pictures to the likest other one of training
    turned: tuple[Turned, ...]
    images: int  # training pictures

    @property
    def of_one_kind(self) -> bool:
        """Whether training pictures are as like evaluated ones as those are to each other."""
        return self.near_across >= self.near_within - _SAME_KIND

    @property
    def drop(self) -> float:
        """How much less is told right of training labels, as a share."""
        return 1 - self.across / self.within


def compare(train: Gallery, evaluated: Gallery) -> Compared | None:
    """Return how training pictures look from evaluated ones, or None if there are too few or these tell too little."""
    pictures, labels = _labelled(train)
    held, truths = _once(*_labelled(evaluated))
    if len(labels) < _LEAST or len(truths) < _LEAST:
        return None
    likeness = held @ held.T / _SIDE**2
    np.fill_diagonal(likeness, -1)
    within = float((_told(likeness, truths) == truths).mean())
    commonest = float(np.bincount(truths).max() / len(truths))
    if within < commonest + 0.2:
        return None
    across, of_train = pictures @ held.T / _SIDE**2, pictures @ pictures.T / _SIDE**2
    np.fill_diagonal(of_train, -1)
    near_within, near_across = likeness.max(axis=1), across.max(axis=1)
    said = _told(across, truths)
    wrong = said != labels
    turned = []
    for name, turn in TURNS.items():
        other = turn(held.reshape(-1, _SIDE, _SIDE)).reshape(len(held), -1)
        of_held = held @ other.T / _SIDE**2
        np.fill_diagonal(of_held, -1)
        excess = _nearer(pictures @ other.T / _SIDE**2, near_across) - _nearer(of_held, near_within)
        told = _told(of_held.T, truths)
        classes = range(int(truths.max()) + 1)
        recalls = np.array([(told[truths == each] == each).mean() if (truths == each).any() else 1 for each in classes])
        mostly = np.array([np.bincount(told[truths == each], minlength=1).argmax() for each in classes])
        known = np.minimum(labels, len(mostly) - 1)
        moves = (mostly != np.arange(len(mostly)))[known] & (recalls < 0.5)[known]
        turned.append(
            Turned(
                name,
                excess,
                float((told == truths).mean()),
                recalls,
                mostly,
                explains=float((said == mostly[known])[wrong & moves].sum() / max(1, wrong.sum())),
                wrong_moved=float(wrong[moves].mean()) if moves.any() else 0.0,
                wrong_rest=float(wrong[~moves].mean()) if (~moves).any() else 0.0,
            )
        )
    return Compared(
        within=within,
        across=float((~wrong).mean()),
        commonest=commonest,
        near_within=float(np.median(near_within)),
        near_across=float(np.median(near_across)),
        near_train=float(np.median(of_train.max(axis=1))),
        turned=tuple(turned),
        images=len(labels),
    )


def _labelled(gallery: Gallery) -> tuple[np.ndarray, np.ndarray]:
    """Return the small pictures that have labels (N, 256), and those (N,)."""
    labels = np.array(gallery.labels, dtype=np.int64)
    known = np.flatnonzero(labels >= 0)[:_MOST]
    if not len(known):
        return np.zeros((0, _SIDE**2), np.float32), labels[known]
    return _small([gallery.pictures[row] for row in known]), labels[known]


def _once(pictures: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave each picture (N, 256) in once: a small validation set is seen again and again, and tells its own labels."""
    if not len(pictures):
        return pictures, labels
    first = np.sort(np.unique(pictures, axis=0, return_index=True)[1])
    return pictures[first], labels[first]


def _told(likeness: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what the five likest of others (N, M) say, given the labels (M,) of those; the likest counts most."""
    nearest = np.argsort(-likeness, axis=1)[:, :5]
    votes = np.zeros((len(likeness), int(labels.max()) + 1))
    for place in range(nearest.shape[1]):
        votes[np.arange(len(votes)), labels[nearest[:, place]]] += 1 - 0.01 * place
    return votes.argmax(axis=1)


def _nearer(likeness: np.ndarray, nearest: np.ndarray) -> float:
    """Return the share of pictures that are clearly liker to one of others (N, M) than `nearest` says (N,)."""
    return float((likeness.max(axis=1) > nearest + 0.02).mean())
