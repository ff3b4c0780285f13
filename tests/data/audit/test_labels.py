"""What the audit says about labels: suspects with their scores, and classes to merge; in words and numbers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit import plainfeatures
from fovea.data.audit.base import FEATURE_CHECKS, Subject
from fovea.data.audit.labels import labels

from .subjects import subject

FRUIT = ("apple red", "Birne grün", "plum", "quince")


def clouds(targets: np.ndarray, *, apart: float = 8.0, seed: int = 0) -> np.ndarray:
    """Features of images whose true classes are `targets`."""
    rng = np.random.default_rng(seed)
    centres = apart * np.eye(int(targets.max()) + 1)
    return (centres[targets] + rng.normal(size=(len(targets), len(centres)))).astype(np.float32)


def judged(given: np.ndarray, features: np.ndarray, **values: object) -> dict[str, Finding]:
    found = labels(_subject(given, features, **values))
    assert len({finding.code for finding in found}) == len(found)
    json.dumps([finding.as_dict() for finding in found])
    return {finding.code: finding for finding in found}


def _subject(given: np.ndarray, features: np.ndarray, **values: object) -> Subject:
    made = subject(given.tolist(), classes=FRUIT, features=features)
    return dataclasses.replace(made, features_from="a network", **values)


def test_wrong_labels_are_ranked_with_scores_and_suggestions() -> None:
    targets = np.repeat(np.arange(4), 50)
    features, given = clouds(targets), targets.copy()
    wrong = np.array([3, 60, 61, 140, 199])
    given[wrong] = (targets[wrong] + 1) % 4
    finding = judged(given, features)["label-suspect"]
    evidence = finding.evidence
    paths = [f"{FRUIT[given[row]]}/{row:04}.jpg" for row in range(200)]
    assert set(finding.files[:5]) == {paths[row] for row in wrong}
    assert finding.severity == "warning"
    assert finding.message.startswith("5 of 200 labels are likely wrong, the most suspicious first (an estimated ")
    assert evidence["suspected"] == 5
    assert len(finding.files) == 20  # a tenth of all, so that a reader may go on
    assert len(evidence["scores"]) == len(evidence["given"]) == len(evidence["suggested"]) == 20
    assert evidence["scores"] == sorted(evidence["scores"], reverse=True)
    said = {file: (given, best) for file, given, best in zip(finding.files, evidence["given"], evidence["suggested"])}  # noqa: B905
    assert said[paths[60]] == ("plum", "Birne grün")
    assert evidence["estimated_precision"] >= 0.5  # so few planted labels tell little, and it errs on the careful side
    assert 0.5 * 5 / 200 <= evidence["estimated_noise"] <= 5 / 200 + 0.006
    assert evidence["features_from"] == "a network"


def test_all_suspects_are_named_however_short_the_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = np.repeat(np.arange(4), 50)
    given = targets.copy()
    wrong = np.arange(0, 200, 20)
    given[wrong] = (targets[wrong] + 1) % 4
    monkeypatch.setattr("fovea.data.audit.labels.RANKED_MOST", 3)
    finding = judged(given, clouds(targets))["label-suspect"]
    assert 3 < finding.evidence["suspected"] == len(finding.files) == len(finding.evidence["suggested"])
    assert len(judged(targets, clouds(targets))["label-suspect"].files) == 3  # no suspects: a ranking, cut short


def test_clean_labels_are_a_note_and_still_ranked() -> None:
    targets = np.repeat(np.arange(4), 25)
    finding = judged(targets, clouds(targets))["label-suspect"]
    assert finding.severity == "note"
    assert finding.message == ("none of 100 labels stands out as wrong; they are ranked by how badly they fit")
    assert finding.evidence["suspected"] == 0
    assert len(finding.files) == 10


def test_hard_images_are_no_alarm() -> None:
    targets = np.repeat(np.arange(4), 150)
    finding = judged(targets, clouds(targets, apart=2.0, seed=2))["label-suspect"]
    assert finding.evidence["suspected"] > 10
    assert finding.severity == "note"
    assert "rather as hard images than as wrong labels (an estimated " in finding.message


def test_where_features_cannot_tell_the_classes_nothing_is_said_of_labels() -> None:
    targets = np.repeat([0, 1], [110, 90])
    found = judged(targets, np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))
    finding = found["label-suspect"]
    assert finding.severity == "note"
    assert finding.message.startswith(
        "nothing can be said of 200 labels: these features tell the classes too badly. "
        f"{100 * finding.evidence['held_out_accuracy']:.0f} % of held-out guesses agree with the label (95 % interval "
    )
    assert "where always guessing the commonest gives 55 %" in finding.message
    assert finding.evidence["accuracy_by_guessing"] == 0.55
    low, high = finding.evidence["accuracy_interval"]
    assert low < 0.55 and low < finding.evidence["held_out_accuracy"] < high
    assert finding.evidence["suspected"] == 0
    assert finding.evidence["estimated_precision"] is None and finding.evidence["estimated_noise"] is None
    assert "--weights" in finding.fix
    assert len(finding.files) == 20  # still ranked


def test_a_class_that_cannot_be_told_is_named_among_others_that_can() -> None:
    targets = np.repeat(np.arange(4), 60)
    features = clouds(targets, apart=8.0)
    rng = np.random.default_rng(1)
    features[targets == 3] = features[rng.choice(np.flatnonzero(targets != 3), 60)] + rng.normal(size=(60, 4)) / 9
    finding = judged(targets, features)["label-suspect"]
    assert finding.evidence["classes_not_told"] == ["quince"]
    assert "; 'quince' cannot be told from the rest, so nothing can be said of labels there" in finding.message


def test_features_without_a_network_are_named_with_what_they_cost() -> None:
    targets = np.repeat(np.arange(4), 25)
    found = labels(dataclasses.replace(_subject(targets, clouds(targets)), features_from=plainfeatures.NAME))
    assert "judged without a network, by colour, layout and edges alone" in found[0].message
    assert found[0].evidence["features_from"] == plainfeatures.NAME


def test_small_classes_are_named_as_not_judged() -> None:
    targets = np.concatenate([np.repeat(np.arange(3), 20), [3, 3]])
    finding = judged(targets, clouds(targets))["label-suspect"]
    assert finding.evidence["classes_not_judged"] == ["quince"]
    assert finding.message.endswith("; 1 class with fewer than 3 images cannot be judged")
    assert finding.evidence["judged"] == 60


def test_a_class_split_in_two_by_chance_is_to_be_merged() -> None:
    targets = np.repeat(np.arange(4), 60)
    features = clouds(np.where(targets == 3, 1, targets))  # quinces are pears by another name
    found = judged(targets, features)
    finding = found["ambiguous-classes"]
    assert finding.severity == "warning"
    assert finding.message.startswith("'Birne grün' and 'quince' can hardly be told apart: ")
    assert finding.evidence["merge"] == [["Birne grün", "quince"]]
    (pair,) = finding.evidence["pairs"]
    assert pair["classes"] == ["Birne grün", "quince"] and pair["images"] == [60, 60]
    assert 0.35 < pair["share"] < 0.65
    assert len(finding.groups[0]) == 12
    assert {file.split("/")[0] for file in finding.groups[0]} == {"Birne grün", "quince"}
    assert found["label-suspect"].severity == "note"


def test_three_names_of_one_class_hang_together() -> None:
    targets = np.repeat(np.arange(4), 60)
    finding = judged(targets, clouds(np.minimum(targets, 1)))["ambiguous-classes"]
    assert finding.evidence["merge"] == [["Birne grün", "plum", "quince"]]
    assert finding.message.endswith("and 2 more pairs of classes")


def test_classes_apart_are_not_called_ambiguous() -> None:
    targets = np.repeat(np.arange(4), 40)
    assert "ambiguous-classes" not in judged(targets, clouds(targets, apart=4.0))


def test_several_labels_say_what_should_come_or_go() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((240, 3)) < 0.4
    features = (8 * truth + rng.normal(size=(240, 3))).astype(np.float32)
    given = truth.copy()
    given[7, 0] = not given[7, 0]
    given[100, 2] = not given[100, 2]
    made = subject(
        [np.flatnonzero(row).tolist() for row in given], classes=FRUIT[:3], features=features, multilabel=True
    )
    (finding,) = labels(made)
    assert set(finding.files[:2]) == {"all/0007.jpg", "all/0100.jpg"}
    place = finding.files.index("all/0007.jpg")
    assert finding.evidence["suggested"][place] == ("without apple red" if given[7, 0] else "with apple red")
    names = ", ".join(name for name, own in zip(FRUIT, given[7], strict=False) if own) or "no label"
    assert finding.evidence["given"][place] == names


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_data_too_small_to_judge_brings_no_alarm(count: int) -> None:
    for targets in (np.zeros(count, int), np.arange(count) % 4, np.arange(count) % 2):
        for features in (np.ones((count, 2), np.float32), clouds(targets)):
            assert all(finding.severity == "note" for finding in labels(_subject(targets, features)))


def test_one_class_has_nothing_to_be_mistaken_for() -> None:
    targets = np.zeros(30, int)
    assert labels(_subject(targets, np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32))) == []


def test_the_check_is_registered_and_needs_features() -> None:
    assert FEATURE_CHECKS["labels"].build is labels
    with pytest.raises(ValueError, match="judging labels needs features"):
        labels(subject([0, 1]))
