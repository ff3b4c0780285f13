"""From images to probabilities, the same way for evaluation and for prediction.

Many images go through in batches of one fixed size, the last one padded, so that the numbers of an image do not depend
on what else is in its batch, and `fovea predict` repeats `fovea evaluate` to the last digit. One image at a time
(`Predictor.predict`) goes through unpadded, for the lowest latency; its numbers may differ in the last float32 digits.

Nothing is read from a run folder here and nothing is written; see `output` for that.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fovea.core.errors import DataError, ModelError
from fovea.data.decoding import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

    from fovea.data.preprocess import Preprocess

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float64]
PathLike = TypeVar("PathLike", str, Path)
Inputs = TypeVar("Inputs")


@dataclass(frozen=True)
class Prediction:
    """What the model says about one image.

    Args:
        probabilities: (C,); they sum to 1, or with several labels an image each stands alone.
        classes: the C names.
        threshold: None for one label an image; else a label is given where its probability reaches this.
    """

    probabilities: Probabilities
    classes: tuple[str, ...]
    threshold: float | None = None

    @property
    def index(self) -> int:
        """The id of the likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """The probability of the likeliest class."""
        return float(self.probabilities[self.index])

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label given: one, or with several labels an image those that reach the threshold, likeliest first."""
        if self.threshold is None:
            return (self.label,)
        return tuple(name for name, probability in self.top(len(self.classes)) if probability >= self.threshold)

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the `count` likeliest classes with their probabilities; ties go to the lower id."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]


def answered(
    paths: Iterable[PathLike],
    *,
    read: Callable[[PathLike], Inputs],
    answer: Callable[[Sequence[Inputs]], Iterable[Probabilities]],
    batch: int,
    threads: int,
) -> Iterator[tuple[PathLike, Probabilities | DataError]]:
    """Yield each path, in order, with its answer or with the reason why it could not be read.

    Args:
        paths: taken as they are needed, however many.
        read: from a path to what a model takes; raises `DataError`. Runs ahead in threads.
        answer: from what was read of some images to the probabilities (C,) of each.
        batch: images to answer together.
        threads: that read.
    """
    chunk: list[tuple[PathLike, Inputs | DataError]] = []
    readable = 0
    for path, inputs in _ahead(paths, read, ahead=2 * batch, threads=threads):
        chunk.append((path, inputs))
        readable += not isinstance(inputs, DataError)
        if readable == batch or len(chunk) == 4 * batch:  # a run of bad files must not hold answers back
            yield from _chunk_answered(chunk, answer)
            chunk, readable = [], 0
    yield from _chunk_answered(chunk, answer)


def _chunk_answered(
    chunk: list[tuple[PathLike, Inputs | DataError]], answer: Callable[[Sequence[Inputs]], Iterable[Probabilities]]
) -> Iterator[tuple[PathLike, Probabilities | DataError]]:
    images = [inputs for _, inputs in chunk if not isinstance(inputs, DataError)]
    answers = iter(answer(images) if images else ())
    for path, inputs in chunk:
        yield path, inputs if isinstance(inputs, DataError) else next(answers)


def _ahead(
    paths: Iterable[PathLike], read: Callable[[PathLike], Inputs], *, ahead: int, threads: int
) -> Iterator[tuple[PathLike, Inputs | DataError]]:
    def read_or_reason(path: PathLike) -> Inputs | DataError:
        try:
            return read(path)
        except DataError as error:
            return error

    waiting: deque[tuple[PathLike, Future[Inputs | DataError]]] = deque()
    pending = iter(paths)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fovea-decode")
    try:
        for path in itertools.islice(pending, ahead):
            waiting.append((path, pool.submit(read_or_reason, path)))
        while waiting:
            path, future = waiting.popleft()
            yield path, future.result()
            for following in itertools.islice(pending, 1):
                waiting.append((following, pool.submit(read_or_reason, following)))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Predictor:
    """A model with its preprocessing, ready to answer.

    Args:
        model: takes float32 (B, 3, S, S) and returns logits (B, C); it is moved to `device` and set to evaluate.
        preprocess: the specification the model was trained with.
        classes: the C names.
        device: where the arithmetic runs.
        batch: images that go through the network together.
        multilabel: whether each label stands alone (sigmoid) instead of excluding the others (softmax).
        threshold: a label is given where its probability reaches this, if `multilabel`.
        threads: how many decode ahead.
        max_pixels: images that declare more are refused.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        preprocess: Preprocess,
        classes: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        batch: int = 16,
        multilabel: bool = False,
        threshold: float = 0.5,
        threads: int = 2,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if batch < 1 or threads < 1:
            raise ValueError(f"batch is {batch} and threads {threads}; both must be at least 1")
        self.device = torch.device(device)
        self.model = model.eval().to(self.device).to(memory_format=torch.channels_last)
        self.preprocess = preprocess
        self.classes = tuple(classes)
        self.batch = batch
        self.threshold = threshold if multilabel else None
        self.threads = threads
        self.max_pixels = max_pixels

    def predict(self, image: Path | str | bytes | Image.Image | np.ndarray) -> Prediction:
        """Classify one image: a path, the bytes of a file, a Pillow image or an RGB array (H, W, 3).

        Raises:
            DataError: the image cannot be read.
        """
        return Prediction(self.judge(self.read(image)), self.classes, self.threshold)

    def read(self, image: Path | str | bytes | Image.Image | np.ndarray) -> Pixels:
        """Return the pixels (S, S, 3) of an image as the network wants them; raises `DataError` where it cannot."""
        return self.preprocess.read(image, max_pixels=self.max_pixels)

    def judge(self, pixels: Pixels) -> Probabilities:
        """Return probabilities (C,) for the preprocessed pixels of one image, uint8 (S, S, 3)."""
        one = pixels[None].copy()  # what comes from Pillow may be read-only, which torch warns of
        with torch.inference_mode():
            return self._forward(torch.from_numpy(one))[0]

    def predict_pixels(self, pixels: Pixels) -> Probabilities:
        """Return probabilities (B, C) for preprocessed pixels, uint8 (B, S, S, 3), whatever B is."""
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 (B, S, S, 3)")
        results = np.empty((len(pixels), len(self.classes)))
        padded = np.zeros((self.batch, *pixels.shape[1:]), dtype=np.uint8)
        with torch.inference_mode():
            for start in range(0, len(pixels), self.batch):
                block = pixels[start : start + self.batch]
                padded[: len(block)] = block
                results[start : start + len(block)] = self._forward(torch.from_numpy(padded))[: len(block)]
        return results

    def probabilities(self, paths: Iterable[PathLike]) -> Iterator[tuple[PathLike, Probabilities | DataError]]:
        """Yield each path, in order, with its probabilities (C,) or with the reason why it could not be read.

        Images are decoded ahead by threads; at most three batches of pixels are in memory, however long `paths` is.
        """
        return answered(
            paths,
            read=self.read,
            answer=lambda images: self.predict_pixels(np.stack(images)),
            batch=self.batch,
            threads=self.threads,
        )

    def _forward(self, pixels: torch.Tensor) -> Probabilities:
        """uint8 (B, S, S, 3) -> float64 (B, C). The softmax is in float64 so that rows sum to 1 in every digit."""
        inputs = self.preprocess.normalise(pixels.to(self.device)).contiguous(memory_format=torch.channels_last)
        logits = self.model(inputs)
        if logits.shape != (len(pixels), len(self.classes)):
            raise ModelError(
                f"the model answered {tuple(logits.shape)}, expected {(len(pixels), len(self.classes))}: one number "
                "for each class",
                hint="the class list and the weights are not of the same model",
            )
        logits = logits.double()
        answer = logits.softmax(dim=1) if self.threshold is None else logits.sigmoid()
        result: Probabilities = answer.cpu().numpy()
        return result
