"""Images of no class, and images unlike the rest of theirs; and what must not be called one."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit import neighbours
from fovea.data.audit.base import FEATURE_CHECKS
from fovea.data.audit.neighbours import class_distances
from fovea.data.audit.outliers import outliers

from .subjects import subject


def clouds(*, classes: int = 4, each: int = 60, width: int = 16, apart: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(classes), each)
    return (apart * np.eye(classes, width)[targets] + rng.normal(size=(len(targets), width))).astype(
        np.float32
    ), targets


def found(features: np.ndarray, targets: np.ndarray, **values: object) -> dict[str, Finding]:
    findings = outliers(subject(targets.tolist(), features=features, **values))  # type: ignore[arg-type]
    assert {finding.code for finding in findings} <= {"outlier"}
    json.dumps([finding.as_dict() for finding in findings])
    return {finding.evidence["kind"]: finding for finding in findings}


def test_images_of_no_class_come_first_and_their_labels_are_told() -> None:
    features, targets = clouds()
    odd = np.array([5, 100, 170])
    features[odd] = 0
    features[odd, [8, 9, 10]] = 40.0
    finding = found(features, targets)["no class"]
    assert set(finding.files[:3]) == {"class 0/0005.jpg", "class 1/0100.jpg", "class 2/0170.jpg"}
    assert len(finding.files) <= 5
    assert finding.severity == "warning"
    assert "images look like no class of this data, the farthest first; labelled class " in finding.message
    assert "class 0 (1), class 1 (1), class 2 (1)" in finding.message
    assert finding.evidence["given"][:3] == [path.split("/")[0] for path in finding.files[:3]]
    assert finding.evidence["scores"] == sorted(finding.evidence["scores"], reverse=True)
    assert len(finding.evidence["scores"]) == len(finding.files)


def test_clean_data_has_next_to_none() -> None:
    features, targets = clouds(classes=8, each=100)
    named = sum(len(finding.files) for finding in found(features, targets).values())
    assert named <= 8  # 1 %


def test_a_wrong_label_is_no_outlier() -> None:
    features, targets = clouds()
    targets = targets.copy()
    targets[[3, 70]] = [2, 0]
    files = [file for finding in found(features, targets).values() for file in finding.files]
    assert not {"class 2/0003.jpg", "class 0/0070.jpg"} & set(files)


def test_copies_of_an_odd_image_do_not_vouch_for_each_other() -> None:
    features, targets = clouds()
    odd = np.arange(10, 20)
    features[odd] = 0
    features[odd, 12] = 40.0
    copies = np.full(len(targets), -1)
    assert "class 0/0010.jpg" not in str(found(features, targets, copies=copies))
    copies[odd] = 0
    finding = found(features, targets, copies=copies)["no class"]
    assert set(finding.files[:10]) == {f"class 0/{row:04}.jpg" for row in odd}


def test_several_labels_have_no_class_to_be_far_from_but_outliers_all_the_same() -> None:
    features, targets = clouds()
    features[9] = 0
    features[9, 14] = 60.0
    labels = [[int(label), 3] for label in targets]
    findings = outliers(subject(labels, features=features, multilabel=True))
    assert findings[0].files[0] == "all/0009.jpg"
    assert "labelled" not in findings[0].message


@pytest.mark.parametrize("count", [1, 2, 7, 19, 25])
def test_tiny_and_constant_data_brings_nothing(count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for targets in (np.zeros(count, int), np.arange(count), np.arange(count) % 2):
            assert found(np.ones((count, 3), np.float32), targets) == {}


def test_distances_to_classes_are_those_worked_by_hand() -> None:
    points = np.array([[0, 0], [0, 2], [0, 4], [6, 0], [6, 8]], np.float32)
    angle, length = class_distances(points, np.array([0, 0, 0, 1, 1]), classes=3, k=2, seed=0)
    assert length.own == pytest.approx([3, 2, 3, 8, 8])
    assert length.nearest.tolist() == [0, 0, 0, 0, 0]
    assert length.least[3] == pytest.approx((6 + np.hypot(6, 2)) / 2)
    assert (angle.own >= -1e-6).all() and (angle.own <= 2 + 1e-6).all()
    alone = class_distances(points, np.array([0, 0, 0, 0, 1]), classes=2, k=2, seed=0)[1]
    assert np.isinf(alone.own[4]) and alone.nearest[4] == 0


def test_of_many_images_a_sample_stands_for_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_OF_CLASSES", 80)
    features, targets = clouds(each=100)
    targets = np.concatenate([targets, [4] * 10])
    features = np.concatenate([features, features[:10] + 30])
    sample = neighbours._alike_many(targets, seed=0)
    assert np.bincount(targets[sample]).tolist() == [18, 18, 17, 17, 10]
    assert (np.diff(targets[sample]) >= 0).all()
    whole = class_distances(features, targets, classes=5, k=3, seed=0)[1]
    assert (whole.nearest == targets).mean() > 0.99


def test_the_check_is_registered_and_needs_features() -> None:
    assert FEATURE_CHECKS["outliers"].build is outliers
    with pytest.raises(ValueError, match="outliers need features"):
        outliers(subject([0, 1]))
