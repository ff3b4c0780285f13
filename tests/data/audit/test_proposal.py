"""The proposal: a reason for every image, a table that reading accepts, and nobody's files touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fovea.core.errors import DataError
from fovea.core.findings import Finding
from fovea.data.audit.base import Subject
from fovea.data.audit.outliers import outliers
from fovea.data.audit.proposal import COLUMNS, propose, write_proposal
from fovea.data.audit.quality import low_information
from fovea.data.audit.storage import odd_size
from fovea.data.audit.torn import torn_group
from fovea.data.looks import COLOR_SIDE, FACTS, GREY_SIDE, Looks
from fovea.data.manifest import Manifest
from fovea.data.reading import read

from .subjects import subject as handmade


def draw(path: Path, *, seed: int, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def subject_of(manifest: Manifest, copies: dict[str, int] | None = None) -> Subject:
    """A subject whose looks say nothing and whose copies are as told: path -> number of the group."""
    rows = manifest.usable()
    facts = pl.DataFrame({name: [None] * rows.height for name in FACTS}, schema=FACTS)
    looks = Looks(
        facts,
        np.zeros((rows.height, GREY_SIDE, GREY_SIDE), np.uint8),
        np.zeros((rows.height, COLOR_SIDE, COLOR_SIDE, 3), np.uint8),
    )
    numbers = np.array([(copies or {}).get(path, -1) for path in rows["path"]])
    return Subject(manifest=manifest, rows=rows, looks=looks, copies=numbers)


def finding(code: str, *files: str, groups: tuple[tuple[str, ...], ...] = (), **evidence: object) -> Finding:
    return Finding(severity="warning", code=code, message="m", fix="f", files=files, groups=groups, evidence=evidence)


def verdicts(table: pl.DataFrame) -> dict[str, tuple[str, str]]:
    return {path: (action, reason) for path, action, reason in table.select("path", "action", "reason").iter_rows()}


def named(manifest: Manifest) -> list[tuple[str, list[str]]]:
    """Each usable image with its classes by name."""
    rows = manifest.usable().select("path", "target").iter_rows()
    return [(path, [manifest.classes[index] for index in target]) for path, target in rows]


@pytest.fixture
def fruit(tmp_path: Path) -> Path:
    """Splits, odd names, a damaged file, and copies: exact, scaled, across splits, across classes."""
    root = tmp_path / "früchte & mehr"
    for seed, name in enumerate(["apple/a 1.png", "apple/ä.png", "=pear/=1.png", "=pear/2.png", "'kiwi/1.png"]):
        draw(root / "train" / name, seed=seed)
        draw(root / "val" / name, seed=100 + seed)
    draw(root / "train/apple/large.png", seed=7, side=40)
    draw(root / "train/apple/small.png", seed=8)
    draw(root / "val/apple/seen.png", seed=9)
    draw(root / "train/apple/seen before.png", seed=9)
    draw(root / "train/apple/which.png", seed=10)
    draw(root / "train/=pear/which.png", seed=10)
    (root / "train/apple/broken.png").write_bytes(b"")
    return root


COPIES = {
    "train/apple/large.png": 0,
    "train/apple/small.png": 0,
    "val/apple/seen.png": 4,
    "train/apple/seen before.png": 4,
    "train/apple/which.png": 7,
    "train/=pear/which.png": 7,
}


def test_every_image_has_an_action_and_a_reason_in_words(fruit: Path):
    manifest = read(fruit)
    found = [
        finding(
            "label-suspect",
            "train/apple/ä.png",
            "val/apple/a 1.png",
            suggested=["=pear", "'kiwi"],
            scores=[0.93, 0.4],
            suspected=1,
        ),
        finding("low-information", "train/=pear/2.png"),
        finding("dark", "train/=pear/2.png", "train/apple/a 1.png", "not there.png"),
        finding("ambiguous-classes", groups=(("val/apple/ä.png", "val/=pear/2.png"),)),
        finding("torn-group", groups=(("train/apple/a 1.png", "train/apple/ä.png"),)),
    ]
    table = propose(subject_of(manifest, COPIES), found)
    assert tuple(table.columns) == COLUMNS
    assert table["path"].to_list() == manifest.table["path"].to_list()
    judged = verdicts(table)
    assert judged == {
        "train/apple/broken.png": ("leave out", "is empty (0 bytes)"),
        "train/apple/large.png": ("keep", "is the best of 2 copies"),
        "train/apple/small.png": ("leave out", "is a copy of train/apple/large.png, which is larger (40 × 40 px)"),
        "val/apple/seen.png": ("keep", "is the one of 2 copies that stays, in val"),
        "train/apple/seen before.png": (
            "leave out",
            "is the same file as val/apple/seen.png, which is in val; to have seen it before would flatter the result",
        ),
        **dict.fromkeys(
            ("train/apple/which.png", "train/=pear/which.png"),
            ("leave out", "2 copies of this image are labelled =pear and apple; nothing tells which is right"),
        ),
        "train/apple/ä.png": ("review", "its label is doubtful; suggested: =pear"),
        "train/=pear/2.png": ("leave out", "shows next to nothing; is very dark"),
        "train/apple/a 1.png": ("review", "is very dark"),
        **{path: ("keep", "nothing found") for path in judged if judged[path][1] == "nothing found"},
    }
    assert sum(reason == "nothing found" for _, reason in judged.values()) == 7
    groups = dict(table.select("path", "group").iter_rows())
    assert groups["train/apple/a 1.png"] == groups["train/apple/ä.png"] == "torn-group 1"
    assert groups["train/apple/large.png"] == groups["train/apple/small.png"] == "copies 0"
    assert groups["train/'kiwi/1.png"] is None
    assert groups["val/apple/ä.png"] is None  # classes that look alike do not belong together


def test_what_shows_a_little_is_for_review(fruit: Path):
    found = finding("low-information", "train/=pear/2.png", "train/apple/ä.png", scores=[0.2, 0.7])
    judged = verdicts(propose(subject_of(read(fruit)), [found]))
    assert judged["train/=pear/2.png"] == ("leave out", "shows next to nothing")
    assert judged["train/apple/ä.png"] == ("review", "shows little")


def test_labels_that_merely_fit_badly_are_kept(fruit: Path):
    manifest = read(fruit)
    noted = replace(finding("label-suspect", "train/apple/ä.png", suggested=["=pear"], suspected=1), severity="note")
    table = propose(subject_of(manifest), [noted])
    assert verdicts(table)["train/apple/ä.png"] == ("keep", "its label is doubtful; suggested: =pear")


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.tsv", "manifest.parquet"])
@pytest.mark.parametrize("inside", [True, False])
def test_reading_the_proposal_gives_the_same_data_less_what_is_left_out(
    fruit: Path, tmp_path: Path, name: str, inside: bool
):
    manifest = read(fruit)
    table = propose(subject_of(manifest, COPIES), [finding("outlier", "train/apple/ä.png")])
    path = (fruit if inside else tmp_path / "elsewhere") / name
    write_proposal(path, table, manifest=manifest)
    again = read(path)
    assert again.classes == manifest.classes
    assert set(again.classes) == {"=pear", "'kiwi", "apple"}
    left_out = {again.absolute(row["path"]): row["excluded"] for row in again.excluded().iter_rows(named=True)}
    assert left_out == {
        manifest.absolute(row["path"]): f"is left out by the table: {row['reason']}"
        for row in table.filter(pl.col("action") == "leave out").iter_rows(named=True)
    }
    assert len(left_out) == 5
    kept = table.filter(pl.col("action") != "leave out")["path"].to_list()
    assert again.paths() == [manifest.absolute(path) for path in kept]
    before = manifest.usable().filter(pl.col("path").is_in(kept))
    for column in ("target", "split", "width", "digest"):
        assert again.usable()[column].to_list() == before[column].to_list()
    assert again.usable()["group"].to_list() == table.filter(pl.col("path").is_in(kept))["group"].to_list()
    (told,) = [item for item in again.findings if item.code == "left-out"]
    assert told.message == (
        f"{name} leaves out 5 of its 17 images, each with a reason, and marks 1 for review, which are used as they are"
    )
    assert not any(item.code == "unreadable" for item in again.findings)


def test_no_cell_starts_a_formula(fruit: Path):
    manifest = read(fruit)
    draw(fruit / "train/=pear/3.png", seed=50)
    path = fruit / "train/=pear/manifest.csv"
    write_proposal(path, propose(subject_of(manifest, COPIES), []), manifest=manifest)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("./=1.png,'=pear,train,") for line in lines)
    assert any(",''kiwi," in line for line in lines)
    assert not any(cell.startswith(("=", "+", "-", "@")) for line in lines for cell in line.split(","))


def test_several_labels_an_image_survive_even_when_each_has_one(tmp_path: Path):
    for name in "abc":
        draw(tmp_path / f"{name}.png", seed=ord(name))
    (tmp_path / "labels.csv").write_text("path,label\na.png,sun|sea\nb.png,sea|\nc.png,|\n", encoding="utf-8")
    manifest = read(tmp_path / "labels.csv")
    assert manifest.multilabel
    for rows in (manifest.table, manifest.table.filter(pl.col("path") != "a.png")):
        kept = replace(manifest, table=rows)
        for name in ("again.csv", "again.parquet"):
            write_proposal(tmp_path / name, propose(subject_of(kept), []), manifest=kept)
            again = read(tmp_path / name)
            assert again.multilabel
            assert named(again) == named(kept)


def test_classes_keep_the_order_and_the_ids_of_their_source(tmp_path: Path):
    for name in "abc":
        draw(tmp_path / "data" / f"{name}.png", seed=ord(name))
    (tmp_path / "data/classes.csv").write_text("Class ID,Name\n0,Zebra\n1,Ape\n2,Cow\n", encoding="utf-8")
    (tmp_path / "data/train.txt").write_text("a.png 0\nb.png 1\nc.png 2\n", encoding="utf-8")
    manifest = read(tmp_path / "data/train.txt")
    assert (manifest.classes, manifest.class_ids) == (("Zebra", "Ape", "Cow"), ("0", "1", "2"))
    write_proposal(tmp_path / "clean.csv", propose(subject_of(manifest), []), manifest=manifest)
    again = read(tmp_path / "clean.csv")
    assert (again.classes, again.class_ids) == (manifest.classes, manifest.class_ids)
    assert again.fingerprint == manifest.fingerprint


def test_photos_of_one_scene_are_kept_together_by_the_group(fruit: Path):
    manifest = read(fruit)
    scene = {"train/apple/a 1.png": 3, "train/apple/large.png": 3, "train/apple/ä.png": 5}
    told = pl.Series([scene.get(path) for path in manifest.table["path"]], dtype=pl.Int32)
    recorded = subject_of(replace(manifest, table=manifest.table.with_columns(together=told)), COPIES)
    found = subject_of(manifest, COPIES)
    found = replace(found, scenes=np.array([scene.get(path, -1) for path in found.paths]))
    for subject in (recorded, found):
        groups = dict(propose(subject, []).select("path", "group").iter_rows())
        assert groups["train/apple/a 1.png"] == groups["train/apple/large.png"] == "scene 3"
        assert (groups["train/apple/ä.png"], groups["train/apple/small.png"]) == ("scene 5", "copies 0")


def test_a_single_image_is_kept(tmp_path: Path):
    draw(tmp_path / "one/1.png", seed=1)
    manifest = read(tmp_path)
    assert propose(subject_of(manifest), []).rows() == [("one/1.png", "one", None, None, "keep", "nothing found")]


def test_an_earlier_proposal_is_replaced_and_nothing_else(fruit: Path):
    manifest = read(fruit)
    table = propose(subject_of(manifest), [])
    write_proposal(fruit / "clean.csv", table, manifest=manifest)
    write_proposal(fruit / "clean.csv", table, manifest=manifest)
    notes = fruit / "notes.csv"
    notes.write_text("path,label\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="exists and is no proposal of fovea, so it stays as it is"):
        write_proposal(notes, table, manifest=manifest)
    assert notes.read_text(encoding="utf-8") == "path,label\na,b\n"
    with pytest.raises(DataError, match=r"has the suffix '\.png', which is no table") as refused:
        write_proposal(fruit / "train/apple/large.png", table, manifest=manifest)
    assert ".csv" in refused.value.hint
    again = read(fruit / "clean.csv")
    with pytest.raises(DataError, match="is the table that was audited"):
        write_proposal(fruit / "clean.csv", propose(subject_of(again), []), manifest=again)
    assert not list(fruit.glob(".*.part"))


def test_a_reason_does_not_grow_from_audit_to_audit(fruit: Path, tmp_path: Path):
    manifest = read(fruit)
    write_proposal(tmp_path / "1.csv", propose(subject_of(manifest), []), manifest=manifest)
    again = read(tmp_path / "1.csv")
    reasons = propose(subject_of(again), [])["reason"].to_list()
    assert [reason for reason in reasons if reason != "nothing found"] == ["is empty (0 bytes)"]


def test_a_class_name_with_a_bar_needs_no_guessing(tmp_path: Path):
    draw(tmp_path / "a|b/1.png", seed=1)
    draw(tmp_path / "c/1.png", seed=2)
    manifest = read(tmp_path)
    with pytest.raises(DataError, match=r"the class 'a\|b' holds a \|"):
        write_proposal(tmp_path / "clean.csv", propose(subject_of(manifest), []), manifest=manifest)


def test_more_images_than_a_finding_usually_names_are_all_left_out():
    color = np.random.default_rng(0).integers(0, 256, (1500, 16, 16, 3), dtype=np.uint8)
    color[:620] = 90
    data = handmade([0] * 1500, color=color)
    judged = verdicts(propose(data, low_information(data)))
    assert [path for path, (action, _) in judged.items() if action == "leave out"] == data.paths[:620]


def test_more_outliers_and_odd_sizes_than_a_finding_usually_names_are_all_for_review():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(11_000, 6)).astype(np.float32)
    odd = features[:520]
    odd *= 80 * rng.choice([-1, 1], odd.shape)  # each alone, far from everything
    data = handmade(
        [0] * 11_000,
        table={"width": [12] * 530 + [640] * 10_470, "height": [9] * 530 + [480] * 10_470},
        features=features,
        grey=np.zeros((11_000, 64, 64), np.uint8),
        color=np.zeros((11_000, 16, 16, 3), np.uint8),
    )
    judged = verdicts(propose(data, odd_size(data)))
    assert [path for path, (action, _) in judged.items() if action == "review"] == data.paths[:530]
    found = outliers(data)
    named = {path for finding in found for path in finding.files}
    assert len(named) == sum(finding.evidence["images"] for finding in found) >= 520
    judged = verdicts(propose(data, found))
    assert {path for path, (action, _) in judged.items() if action == "review"} == named


def test_every_torn_burst_is_kept_together_however_many_there_are():
    taken_s = [100.0 * (row // 2) for row in range(300)]
    taken_s += [50_000.0 + row for row in range(40)]  # one long burst
    split = ["train", "val"] * 170
    data = handmade([0] * 340, facts={"taken_s": taken_s, "camera": "Pixel 7"}, table={"split": split})
    groups = propose(data, torn_group(data))["group"].to_list()
    assert len(set(groups)) == 151
    assert groups[:300:2] == groups[1:300:2]
    assert len(set(groups[300:])) == 1
