"""What follows from copies: how many are spare, what leaks between splits, and which labels contradict each other."""

from __future__ import annotations

import numpy as np
import pytest

from fovea.core.findings import Finding
from fovea.data.audit import duplicates as module
from fovea.data.audit.base import Subject
from fovea.data.audit.duplicates import duplicates, groups_of

from .pictures import copied, copies_among, photos, scene, stored
from .subjects import subject


def of_code(found: list[Finding], code: str) -> Finding:
    (finding,) = [finding for finding in found if finding.code == code]
    return finding


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


def with_copies(copies: list[int], splits: list[str | None], *, targets: list[int] | None = None) -> Subject:
    """Images with different bytes that are copies as told."""
    digests = [f"digest {row}" for row in range(len(copies))]
    table = {"split": splits, "digest": digests}
    return subject(targets or [0] * len(copies), table=table, copies=copies)


def test_without_copies_there_is_nothing_to_say() -> None:
    assert duplicates(with_copies([-1] * 4, ["train", "val", "test", None])) == []
    assert duplicates(subject([])) == []


def test_exact_copies_are_counted_as_spare_and_named_in_groups() -> None:
    images = subject([0] * 6, table={"digest": ["a", "b", "a", None, None, "a"]}, copies=[0, -1, 0, -1, -1, 0])
    (found,) = duplicates(images)
    assert (found.code, found.severity) == ("duplicate-exact", "warning")
    assert found.message == "2 images of 6 are byte-for-byte the same as another, in 1 group"
    assert found.groups == (("class 0/0000.jpg", "class 0/0002.jpg", "class 0/0005.jpg"),)
    assert found.evidence == {"groups": 1, "images": 3, "largest_group": 3, "spare": 2}
    assert found.files == () and "--write-clean" in found.fix


def test_near_copies_are_those_whose_bytes_differ() -> None:
    table = {"digest": ["a", "a", "b", "c", "d"]}
    found = duplicates(subject([0] * 5, table=table, copies=[0, 0, 1, 1, -1]))
    assert codes(found) == ["duplicate-exact", "duplicate-near"]
    assert of_code(found, "duplicate-near").groups == (("class 0/0002.jpg", "class 0/0003.jpg"),)
    # a group with exact and near copies is told whole in both senses
    mixed = duplicates(subject([0] * 5, table=table, copies=[0, 0, 0, -1, -1]))
    assert of_code(mixed, "duplicate-near").evidence == {"groups": 1, "images": 3, "largest_group": 3, "spare": 2}


def test_images_without_a_digest_are_near_copies_when_they_look_alike() -> None:
    (found,) = duplicates(subject([0, 0], copies=[0, 0]))
    assert found.code == "duplicate-near"


@pytest.mark.parametrize(
    ("leaked", "val", "severity"),
    [(5, 100, "error"), (5, 101, "warning"), (4, 10, "warning"), (1, 1, "warning"), (40, 40, "error")],
)
def test_five_images_and_a_twentieth_of_a_split_make_a_leak_an_error(leaked: int, val: int, severity: str) -> None:
    copies = [*range(leaked), *range(leaked), *[-1] * (val - leaked)]
    found = duplicates(with_copies(copies, ["train"] * leaked + ["val"] * val))
    leak = of_code(found, "split-leakage")
    assert leak.severity == severity
    assert leak.evidence["leaked"] == {"val": leaked}
    assert leak.evidence["share"] == {"val": pytest.approx(leaked / val, abs=1e-4)}
    assert f"{leaked} of {val} val images" in leak.message
    assert len(leak.groups) == leaked


def test_a_leak_runs_from_the_earlier_split_to_the_later_one() -> None:
    splits = ["train", "val", "test", "val", "test", "test", "train", "train"]
    copies = [0, 0, 0, 1, 1, 2, 3, 3]  # 0 in all three, 1 in val and test, 3 within train
    leak = of_code(duplicates(with_copies(copies, splits)), "split-leakage")
    assert leak.evidence["leaked"] == {"val": 1, "test": 2}
    assert leak.evidence["share"] == {"val": 0.5, "test": pytest.approx(2 / 3, abs=1e-4)}
    assert [len(group) for group in leak.groups] == [3, 2]
    assert "1 of 2 val images (50 %) and 2 of 3 test images (67 %)" in leak.message


@pytest.mark.parametrize("splits", [["train", "train"], ["val", "val"], [None, None], ["train", None], [None, "val"]])
def test_copies_on_one_side_or_without_a_split_leak_nothing(splits: list[str | None]) -> None:
    assert codes(duplicates(with_copies([0, 0], splits))) == ["duplicate-near"]


def test_copies_under_several_labels_are_a_conflict_named_by_classes() -> None:
    images = subject(
        [0, 1, 1, 1, 0, 2],
        classes=["cat", "Löwe", "tiger"],
        table={"digest": list("abcdef")},
        copies=[0, 0, 1, 1, 2, 2],
    )
    conflict = of_code(duplicates(images), "label-conflict")
    assert conflict.severity == "warning"
    assert conflict.groups == (("cat/0000.jpg", "Löwe/0001.jpg"), ("cat/0004.jpg", "tiger/0005.jpg"))
    assert conflict.message == (
        "2 groups of copies with 4 images have different labels: cat / Löwe (1) and cat / tiger (1)"
    )
    assert conflict.evidence["classes"] == {"cat / Löwe": 1, "cat / tiger": 1}


def test_with_several_labels_an_image_the_whole_set_has_to_agree() -> None:
    images = subject([[0], [0, 1], [1], [1]], multilabel=True, table={"digest": list("abcd")}, copies=[0, 0, 1, 1])
    conflict = of_code(duplicates(images), "label-conflict")
    assert conflict.groups == (("all/0000.jpg", "all/0001.jpg"),)
    assert conflict.message == "1 group of copies with 2 images has different labels"


def test_of_very_many_groups_the_first_are_named_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED_GROUPS", 3)
    (found,) = duplicates(with_copies([row // 2 for row in range(20)], ["train"] * 20))
    assert len(found.groups) == 3
    assert found.evidence["groups"] == 10


def test_groups_are_in_order_of_their_first_row() -> None:
    groups = groups_of(np.array([5, -1, 0, 5, 0, 7, -1]))
    assert [group.tolist() for group in groups] == [[0, 3], [2, 4]]
    assert groups_of(np.array([], np.int64)) == groups_of(np.array([-1, -1])) == []


def test_from_files_to_findings_under_other_labels_and_in_other_splits() -> None:
    """Copies made of photos, as they are found, lead to the right groups."""
    originals = [*photos()[1:], *map(scene, range(2))]
    files = [*map(stored, originals)]
    files += [copied(image, how) for image, how in zip(originals, ["crop 85", "mirror", "half"], strict=False)]
    files.append(files[3])
    count = len(files)
    targets = [0, 0, 0, 0, 1, 1, 1, 1, *(1, 0, 0), 1]
    splits = ["train"] * len(originals) + ["val", "train", "test", "val"]
    found = duplicates(
        subject(
            targets,
            paths=[f"{row}.jpg" for row in range(count)],
            table={"split": splits, "digest": [str(files.index(file)) for file in files]},
            copies=copies_among(files).near.tolist(),
        )
    )
    assert of_code(found, "duplicate-exact").groups == (("3.jpg", "11.jpg"),)
    assert of_code(found, "duplicate-near").groups == (("0.jpg", "8.jpg"), ("1.jpg", "9.jpg"), ("2.jpg", "10.jpg"))
    assert of_code(found, "split-leakage").groups == (("0.jpg", "8.jpg"), ("2.jpg", "10.jpg"), ("3.jpg", "11.jpg"))
    assert of_code(found, "label-conflict").groups == (("0.jpg", "8.jpg"), ("3.jpg", "11.jpg"))
