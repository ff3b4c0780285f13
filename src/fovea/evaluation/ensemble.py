"""Several models that answer as one, such as those of k-fold training: by the mean of their probabilities or by vote.

An `Ensemble` has the methods of a `Predictor` and stands wherever one does. An image is read once for each way in which
the models want it, not once a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fovea.core.errors import DataError
from fovea.evaluation.predicting import PathLike, Pixels, Prediction, Predictor, Probabilities, answered

if TYPE_CHECKING:
    from PIL import Image

WAYS = ("average", "vote")


def combine(probabilities: Probabilities, how: str, *, threshold: float | None = None) -> Probabilities:
    """Return what M models say together, (M, N, C) -> (N, C).

    Args:
        probabilities: of each model.
        how: "average": the mean of the probabilities. "vote": each model gives its vote to its likeliest class (with a
            threshold, to every label that reaches it), and the mean of the probabilities votes once more, divided among
            the classes: (votes + mean) / (M + 1). So the class with most votes is the likeliest, of equally many the
            one with the higher mean, and the numbers still sum to 1; with several labels an image at a threshold of
            0.5, a label is given by the majority, in a draw by the mean.
        threshold: set for several labels an image.

    >>> says = np.array([[[0.6, 0.4]], [[0.6, 0.4]], [[0.0, 1.0]]])  # three models, one image, two classes
    >>> combine(says, "average").round(2).tolist(), combine(says, "vote").round(2).tolist()
    ([[0.4, 0.6]], [[0.6, 0.4]])
    """
    if how not in WAYS:
        raise ValueError(f"how is {how!r}; expected one of {WAYS}")
    mean: Probabilities = probabilities.mean(axis=0)
    if how == "average":
        return mean
    if threshold is None:
        votes = np.eye(probabilities.shape[2])[probabilities.argmax(axis=2)].sum(axis=0)  # (M,N,C) -> (N,C)
    else:
        votes = (probabilities >= threshold).sum(axis=0)
    together: Probabilities = (votes + mean) / (len(probabilities) + 1)
    return together


class Ensemble:
    """Models that answer as one.

    Args:
        members: at least one, all of the same classes.
        how: "average" or "vote"; see `combine`.
    """

    def __init__(self, members: Sequence[Predictor], *, how: str = "average") -> None:
        if how not in WAYS:
            raise ValueError(f"how is {how!r}; expected one of {WAYS}")
        if not members or any(
            (member.classes, member.threshold) != (members[0].classes, members[0].threshold) for member in members
        ):
            raise ValueError(f"{len(members)} members; expected at least one, and all of the same classes")
        self.members = tuple(members)
        self.how = how
        self.classes = members[0].classes
        self.threshold = members[0].threshold
        self.batch = members[0].batch
        self.threads = members[0].threads
        ways = [(member.preprocess, member.max_pixels) for member in members]
        distinct = list(dict.fromkeys(ways))
        self._readers = [members[ways.index(way)] for way in distinct]
        self._view_of = [distinct.index(way) for way in ways]  # which of the reader's pixels each member takes

    def predict(self, image: Path | str | bytes | Image.Image | np.ndarray) -> Prediction:
        """Classify one image, as `Predictor.predict` does.

        Raises:
            DataError: the image cannot be read.
        """
        views = self._read(image)
        answers = [member.judge(views[view]) for member, view in zip(self.members, self._view_of, strict=True)]
        together = self._combine([answer[None] for answer in answers])
        return Prediction(together[0], self.classes, self.threshold)

    def probabilities(self, paths: Iterable[PathLike]) -> Iterator[tuple[PathLike, Probabilities | DataError]]:
        """Yield each path, in order, with its probabilities (C,) or with the reason why it could not be read."""
        return answered(paths, read=self._read, answer=self._answer, batch=self.batch, threads=self.threads)

    def _read(self, image: Path | str | bytes | Image.Image | np.ndarray) -> tuple[Pixels, ...]:
        return tuple(reader.read(image) for reader in self._readers)

    def _answer(self, images: Sequence[tuple[Pixels, ...]]) -> Probabilities:
        views = [np.stack(pixels) for pixels in zip(*images, strict=True)]
        return self._combine(
            [member.predict_pixels(views[view]) for member, view in zip(self.members, self._view_of, strict=True)]
        )

    def _combine(self, answers: Sequence[Probabilities]) -> Probabilities:
        return combine(np.stack(answers), self.how, threshold=self.threshold)
