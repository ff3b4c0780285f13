"""Drawings: valid, themed, small, readable with two classes and with eighty-one, whatever the names are."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from fovea.core import matrix, svg
from fovea.evaluation import plots
from fovea.metrics.curves import average_curves, reliability, roc

GENERATOR = np.random.default_rng(0)
NAMES = ["<b>", "a & b", "Zwölf Äpfel", "$x_1^2$", "画像", "very long name of a class that goes on"]


def words(drawing: str) -> list[str]:
    """The texts in a drawing; also checks that a page takes it."""
    svg.inline(drawing, prefix="p-", label="x")
    return [re.sub(r"&amp;", "&", re.sub(r"&lt;", "<", re.sub(r"&gt;", ">", text))) for text in
            re.findall(r"<text[^>]*>([^<]*)</text>", drawing)]  # fmt: skip


def test_history_breaks_the_line_between_rungs_and_skips_what_is_missing() -> None:
    rows = [
        {"epoch": 1, "rung": "head", "train_loss": 2.0, "val_loss": None, "lr": None},
        {"epoch": 2, "rung": "tail", "train_loss": 1.5, "val_loss": 1.7, "lr": 0.01},
        {"epoch": 3, "rung": "tail", "train_loss": float("nan"), "val_loss": 1.6, "lr": 0.001},
    ]
    drawing = plots.history(rows, {"train_loss": "training", "val_loss": "validation"}, label="loss")
    assert drawing is not None
    assert {"loss", "epoch", "training", "validation", "head", "tail"} <= set(words(drawing))
    assert plots.history(rows, {"val_accuracy": "validation"}, label="accuracy") is None
    assert plots.history([], {"lr": "lr"}, label="lr") is None
    assert plots.history(rows, {"lr": "lr"}, label="learning rate", log=True, wide=True) is not None
    assert plots.history([{"lr": 0.0}, {"lr": 0.1}], {"lr": "lr"}, label="lr", log=True) is not None


def test_a_confusion_matrix_of_few_classes_has_names_and_counts() -> None:
    counts = np.diag([5, 4, 3, 2, 1, 0])
    counts[0, 1] = 7
    drawing = matrix.confusion(counts, NAMES, order=matrix.cluster(counts), marks=[(0, 1)])
    texts = words(drawing)
    assert {"<b>", "a & b", "Zwölf Äpfel", "$x_1^2$", "画像", "7", "5"} <= set(texts)
    assert "very long name … goes on" in " ".join(texts)
    assert "0" not in texts
    assert texts.count("1") == 1  # a count; the mark would be mistaken for another


def test_a_confusion_matrix_of_81_classes_is_a_small_raster_without_names() -> None:
    counts = GENERATOR.integers(0, 3, (81, 81)) * (GENERATOR.random((81, 81)) < 0.1) + np.diag(np.full(81, 9))
    order = matrix.cluster(counts)
    drawing = matrix.confusion(counts, [f"class {index}" for index in range(81)], order=order, marks=[(3, 4)])
    assert sorted(order) == list(range(81))
    assert set(words(drawing)) == {"predicted", "truth", "1"}
    assert len(drawing) < 60_000


def test_the_raster_shows_mistakes_in_orange_off_the_diagonal_and_nothing_where_nothing_is() -> None:
    counts = np.diag(np.full(20, 5))
    counts[2, 7] = 5
    drawing = matrix.confusion(counts, [f"c{index}" for index in range(20)], order=range(20))
    data = re.search(r"data:image/png;base64,([^\"]+)", drawing)
    assert data is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGBA"))
    pixels = pixels if pixels[2, 7, 3] else pixels[::-1]  # matplotlib may write it upside down and mirror it back
    assert pixels.shape == (20, 20, 4)
    red, _, blue, strength = pixels[2, 7]
    assert red > blue
    assert strength > 200
    assert pixels[5, 5, 2] > pixels[5, 5, 0]
    assert pixels[7, 2, 3] == 0


def test_classes_taken_for_each_other_stand_together() -> None:
    counts = np.diag(np.full(60, 10))
    counts[3, 50], counts[50, 3], counts[10, 41] = 6, 5, 7
    order = matrix.cluster(counts)
    assert abs(order.index(3) - order.index(50)) == 1
    assert abs(order.index(10) - order.index(41)) == 1
    assert matrix.cluster(counts[:40, :40]) == list(range(40))


def test_clustering_survives_empty_and_uniform_matrices() -> None:
    for counts in (np.zeros((45, 45), int), np.ones((45, 45), int)):
        assert sorted(matrix.cluster(counts)) == list(range(45))


def test_calibration_and_confidence_are_drawn_from_one_image_too() -> None:
    for count in (1, 500):
        sure, right = GENERATOR.random(count), GENERATOR.random(count) < 0.5
        assert "accuracy" in words(plots.reliability(reliability(sure, right)))
        assert {"right", "wrong"} <= set(words(plots.confidence(sure, right)))


def test_curves_name_their_areas() -> None:
    truth = np.eye(3, dtype=int)[GENERATOR.integers(0, 3, 60)]
    found = average_curves(truth, truth * 0.6 + 0.2)
    drawing = plots.curves({"micro": found["roc_micro"]}, kind="roc")
    assert drawing is not None
    assert "micro (1.000)" in words(drawing)
    assert plots.curves({}, kind="pr") is None
    half = roc(np.array([0, 1]), np.array([0.5, 0.5]))
    assert half is not None
    assert half.area == 0.5


@pytest.mark.parametrize("count", [1, 6, 41])
def test_class_sizes_and_recall_name_classes_while_they_fit(count: int) -> None:
    names = (NAMES * 7)[:count]
    sizes = plots.class_sizes(names, {"train": list(range(1, count + 1)), "val": [0] * count})
    rows = [{"class": name, "recall": 0.5, "recall_interval": [0.2, 0.8]} for name in names]
    recall = plots.class_recall([*rows, {"class": "absent", "recall": None, "recall_interval": None}])
    assert sizes is not None
    assert recall is not None
    for drawing in (sizes, recall):
        assert ("<b>" in words(drawing)) == (count <= 40)
    assert "absent" not in words(recall)
    assert plots.class_sizes([], {}) is None
    assert plots.class_recall([]) is None


def test_drawings_are_the_same_every_time_and_leave_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    first, second = (plots.class_sizes(["a", "b"], {"train": [3, 2]}) for _ in range(2))
    assert first == second
    assert dict(matplotlib.rcParams) == before


def test_drawings_are_transparent_and_use_only_colours_that_follow_the_page() -> None:
    drawing = plots.class_sizes(["a", "b"], {"train": [3, 2], "val": [1, 1]})
    assert drawing is not None
    used = {colour.lower() for colour in re.findall(r"(?:fill|stroke): (#[0-9a-fA-F]{6})", drawing)}
    assert used <= {colour.lower() for colour in svg.THEME}
