"""A training with every change and an uneven sampler: refused where it makes no sense, exact after an interruption."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fovea.core.errors import Interrupted, RecipeError
from fovea.core.progress import Progress, Silent
from fovea.core.run import Run
from fovea.workflows import training

from .conftest import recipe

CHANGES = [
    *("data.shift=0.1", "data.shear=10", "data.rotate=10", "data.pca_jitter=0.1"),
    *("data.noise=5", "data.blur=1", "data.erase=0.3"),
]


class StopAt(Silent):
    """Asks for a stop at one batch, and remembers how many batches an epoch was said to have."""

    def __init__(self, label: str, batch: int) -> None:
        self.label, self.batch, self.batches = label, batch, 0
        self.asked = False

    def advance(self, label: str, done: int, total: int, detail: Mapping[str, Any] | None = None) -> None:
        if label.startswith("full"):
            self.batches = total
        self.asked |= (label, done) == (self.label, self.batch)

    @contextlib.contextmanager
    def stop(self, progress: Progress) -> Iterator[Callable[[], bool]]:
        """Stand in for `stop_on_signal`: a signal to a test's own process would end the worker that runs it."""
        yield lambda: self.asked


@pytest.fixture(scope="module")
def uneven(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 12, 6 and 3 training images, and 2 for validation of each class."""
    lines = ["path,label,split"]
    for label, count in (("apple red", 12), ("Birne grün", 6), ("plum", 3)):
        images = sorted(path for path in (photos / label).iterdir() if path.stem != "broken")
        lines += [f"{path},{label},train" for path in images[:count]]
        lines += [f"{path},{label},val" for path in images[-2:]]
    table = tmp_path_factory.mktemp("tables") / "uneven.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


# 36 images in batches of 8; 9 images, of which the last one joins the batch before it
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "batches"), [("oversample", 5), pytest.param("undersample", 1, marks=pytest.mark.slow)]
)
def test_an_interrupted_epoch_of_another_length_goes_on_to_the_same_weights(
    uneven: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, batches: int
) -> None:
    settings = recipe(
        f"model.weights={tiny_weights}", "train.strategy=full", "train.epochs=2", f"train.sampler={sampler}", *CHANGES
    )
    whole = training.train(uneven, recipe=settings, out=tmp_path / "whole")
    watch = StopAt("full 2/2", 1)
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_on_signal", watch.stop)
        with pytest.raises(Interrupted):
            training.train(uneven, recipe=settings, out=tmp_path / "cut", console=watch)
    assert watch.batches == batches
    resumed = training.resume(tmp_path / "cut")
    assert weights(resumed) == weights(whole)
    assert len(resumed.summary()) == 2


def weights(run: Run) -> bytes:
    return (run.model_path / "model.safetensors").read_bytes()


def test_several_labels_an_image_cannot_be_over_or_undersampled(
    uneven: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    table = tmp_path / "several.csv"
    table.write_text(uneven.read_text(encoding="utf-8").replace("plum,train", "plum|apple red,train"), encoding="utf-8")
    settings = recipe(f"model.weights={tiny_weights}", "train.sampler=undersample")
    with pytest.raises(RecipeError, match="'undersample', which needs one class an image"):
        training.train(table, recipe=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()  # said before anything was begun
