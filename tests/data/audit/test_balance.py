"""Class sizes: what is uneven, too small to learn, too small to measure, and with which numbers."""

from __future__ import annotations

import pytest

from fovea.core.findings import Finding
from fovea.data.audit.balance import class_too_small, imbalance

from .subjects import subject


def sizes(*counts: int) -> list[int]:
    return [target for target, count in enumerate(counts) for _ in range(count)]


def of_kind(found: list[Finding], kind: str) -> Finding:
    (finding,) = [finding for finding in found if finding.evidence["kind"] == kind]
    return finding


def test_a_hundred_to_one_is_uneven_and_the_fix_names_the_settings() -> None:
    (found,) = imbalance(subject(sizes(1000, 10), classes=["cat", "Löwe"]))
    assert (found.code, found.severity) == ("imbalance", "warning")
    assert "cat has 1,000 training images, Löwe 10, which is 100 to 1" in found.message
    assert "always guessing cat is right for 99 %" in found.message
    assert "train.sampler" in found.fix and "train.class_weights" in found.fix
    assert found.evidence["counts"] == {"cat": 1000, "Löwe": 10}
    assert found.evidence["effective_classes"] == pytest.approx(1.06, abs=0.005)  # exp of 0.0555 nats


def test_ten_to_one_is_still_even() -> None:
    assert imbalance(subject(sizes(200, 20))) == []
    assert imbalance(subject(sizes(201, 20)))


def test_a_class_far_below_the_mean_is_uneven_at_any_ratio() -> None:
    (found,) = imbalance(subject(sizes(*[100] * 30, 9)))
    assert found.evidence["ratio"] == pytest.approx(11.11, abs=0.01)


def test_only_training_images_count_and_absent_classes_are_no_classes() -> None:
    split = ["train"] * 40 + ["val"] * 400
    assert imbalance(subject(sizes(20, 20, 400), table={"split": split})) == []


@pytest.mark.parametrize("targets", [[], [0], [0] * 50, [0, 1]])
def test_one_class_or_two_images_are_not_uneven(targets: list[int]) -> None:
    assert imbalance(subject(targets)) == []


def test_a_label_on_every_image_cannot_be_learnt() -> None:
    data = subject([[0, 1]] * 30 + [[0]] * 30, classes=["RBC", "WBC"], multilabel=True)
    (found,) = imbalance(data)
    assert found.severity == "note"
    assert "RBC (60 of 60)" in found.message


def test_nine_training_images_are_too_few_and_ten_are_not() -> None:
    (found,) = class_too_small(subject(sizes(10, 9), classes=["apple", "plum"]))
    assert (found.code, found.severity, found.evidence["kind"]) == ("class-too-small", "warning", "learn")
    assert "1 class has fewer than 10 training images that differ: plum (9)" in found.message
    assert found.files == tuple(f"plum/{row:04}.jpg" for row in range(10, 19))


def test_copies_and_groups_count_once() -> None:
    copies = [-1] * 20 + [7] * 15
    (found,) = class_too_small(subject(sizes(20, 15), classes=["a", "b"], copies=copies))
    assert "b (15, of which 1 differ)" in found.message
    groups = [None] * 20 + [f"session {row % 3}" for row in range(15)]
    (found,) = class_too_small(subject(sizes(20, 15), classes=["a", "b"], table={"group": groups}))
    assert "b (15, of which 3 differ)" in found.message


def test_three_images_of_a_class_allow_44_to_100_per_cent() -> None:
    targets = sizes(40, 40) + [0] * 3 + [1] * 400
    split = ["train"] * 80 + ["val"] * 403
    (found,) = class_too_small(subject(targets, classes=["kiwi", "lime"], table={"split": split}))
    assert (found.severity, found.evidence["kind"]) == ("note", "evaluate")
    assert "1 of 2 classes of val have fewer than 10 images" in found.message
    assert "with 3 images, as kiwi has, a class accuracy of 100 % means 44 % to 100 %" in found.message


def test_a_hundred_images_leave_an_accuracy_of_90_per_cent_open_by_six_points() -> None:
    targets = sizes(40, 40) + [0, 1] * 50
    data = subject(targets, table={"split": ["train"] * 80 + ["test"] * 100})
    (found,) = class_too_small(data)
    assert (found.severity, found.evidence["kind"], found.evidence["split"]) == ("warning", "split", "test")
    assert "an accuracy of 90 % on it means 83 % to 94 %" in found.message  # Wilson: 0.826 to 0.945
    assert found.evidence["interval"] == pytest.approx([0.8256, 0.9448], abs=1e-3)


def test_two_hundred_are_enough() -> None:
    targets = sizes(40, 40) + [0, 1] * 100
    assert class_too_small(subject(targets, table={"split": ["train"] * 80 + ["test"] * 200})) == []


def test_without_a_split_only_learning_is_judged() -> None:
    assert class_too_small(subject(sizes(30, 30))) == []
    assert class_too_small(subject([])) == []
    assert of_kind(class_too_small(subject([0])), "learn").evidence["classes"][0]["images"] == 1


def test_labels_of_multilabel_data_are_counted_each() -> None:
    data = subject([[0]] * 30 + [[0, 1]] * 4 + [[]] * 3, classes=["dog", "bone"], multilabel=True)
    found = of_kind(class_too_small(data), "learn")
    assert "bone (4)" in found.message
    assert len(found.files) == 4
