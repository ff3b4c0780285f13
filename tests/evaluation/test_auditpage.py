"""The page of an audit: what it says, what it shows, what it leaves out, how large it gets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fovea.core.evidence import evidence_blocks
from fovea.core.findings import Finding
from fovea.core.html import render
from fovea.core.report import Detail, Facts, Figure, FindingList, Gallery, Report, Table
from fovea.data.audit.base import Subject
from fovea.data.looks import COLOR_SIDE, FACTS, GREY_SIDE, Looks
from fovea.data.manifest import Manifest
from fovea.evaluation.auditpage import build_audit_report, verdict
from fovea.evaluation.background import data_section
from fovea.evaluation.findingdetail import BRIEF, PAGE, shown
from fovea.evaluation.thumbnails import Thumbnails

CLASSES = ("apple", "<script>alert(1)</script>", "=pear")


def subject_of(photos: list[Path], *, multilabel: bool = False) -> Subject:
    count = len(photos)
    targets = [[index % 3] if multilabel else index % 3 for index in range(count)]
    table = pl.DataFrame(
        {
            "path": [path.name for path in photos],
            "target": targets,
            "split": ["val" if index % 4 == 0 else "train" for index in range(count)],
            "width": [30 + index for index in range(count)],
            "height": [40] * count,
        }
    )
    manifest = Manifest(table, CLASSES, root=photos[0].parent, multilabel=multilabel, source=str(photos[0].parent))
    facts = pl.DataFrame({name: [None] * count for name in FACTS}, schema=FACTS).with_columns(
        brightness=pl.Series(np.linspace(0.05, 0.9, count), dtype=pl.Float32)
    )
    grey = np.zeros((count, GREY_SIDE, GREY_SIDE), np.uint8)
    looks = Looks(facts, grey, np.zeros((count, COLOR_SIDE, COLOR_SIDE, 3), np.uint8))
    return Subject(manifest=manifest, rows=manifest.usable(), looks=looks, copies=np.full(count, -1))


def finding(code: str = "dark", severity: str = "warning", **values: object) -> Finding:
    return Finding(**{"severity": severity, "code": code, "message": f"about {code}", "fix": f"fix {code}", **values})  # type: ignore[arg-type]


def details(report: Report) -> list[Detail]:
    lists = [block for section in report.sections for block in section.blocks if isinstance(block, FindingList)]
    return [item for block in lists for item in block.findings if isinstance(item, Detail)]


def galleries(detail: Detail) -> list[Gallery]:
    return [block for block in detail.blocks if isinstance(block, Gallery)]


def test_every_finding_is_linked_from_the_top_and_shown_under_its_theme(photos: list[Path]) -> None:
    names = tuple(path.name for path in photos)
    found = [
        finding("odd-thing", "note"),
        finding("dark", files=names[:2], evidence={"threshold": 0.2}),
        finding("split-leakage", "error", groups=(names[:3],), evidence={"count": 3}),
    ]
    report = build_audit_report(subject=subject_of(photos), findings=found, elapsed_s=75.0)
    titles = [section.title for section in report.sections]
    assert titles == [
        "Can I train on this?",
        "Files",
        "Pictures",
        "Copies and leaks",
        "Splits and classes",
        "Channels and sizes",
        "Other findings",
        "What to do",
    ]
    tiles = next(block for block in report.sections[0].blocks if isinstance(block, Facts))
    assert [(tile.name, tile.value) for tile in tiles.items] == [
        ("Images", "37"),
        ("Classes", "3"),
        ("Errors", "1"),
        ("Warnings", "1"),
        ("Notes", "1"),
        ("Time", "75 s"),
    ]
    (index,) = [block for block in report.sections[0].blocks if isinstance(block, Table)]
    assert [(row[0], row[2]) for row in index.rows] == [("error", 3), ("warning", 2), ("note", None)]
    page = render(report)
    for number, code in enumerate(["split-leakage", "dark", "odd-thing"], start=1):
        assert page.count(f'href="#finding-{number}-{code}"') == page.count(f'id="finding-{number}-{code}"') == 1
        assert f"about {code}" in page
        assert f"fix {code}" in page
    assert "<h3>Odd thing</h3>" in page
    assert "Not as it is. With 1 finding (“Copies on both sides of a split”)" in page
    assert "fovea train clean.csv" in page


def test_the_verdict_follows_the_worst_finding() -> None:
    assert verdict([finding("dark", "note")]) == "Yes. Nothing was found that stands in the way."
    assert verdict([finding("imbalance")]).startswith("Yes, with care. 1 finding (“Uneven classes”) may")
    assert verdict([finding("dark"), finding("split-leakage", "error")]).startswith(
        "Not as it is. With 1 finding (“Copies on both sides"
    )
    assert "was not looked for" in verdict([], fast=True)


def test_names_of_classes_and_files_stay_words(photos: list[Path], tmp_path: Path) -> None:
    evil = photos[0].with_name('<img src=x onerror="1">.png')
    photos[1].rename(evil)
    photos[1] = evil
    found = finding("label-suspect", files=(evil.name,), evidence={"suggested": ["<b>bold</b>"], "note": "<i>"})
    page = render(build_audit_report(subject=subject_of(photos), findings=[found]))
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; → &lt;b&gt;bold&lt;/b&gt;" in page
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=&#34;1&#34;&gt;.png" in page
    assert "<i>" not in page


def test_groups_are_strips_that_ring_what_contradicts(photos: list[Path]) -> None:
    names = [path.name for path in photos]
    thumbnails = Thumbnails(subject_of(photos).manifest)
    group = (names[0], names[3], names[6], names[1])  # classes 0 0 0 1, splits val train train train
    (strip,) = galleries(shown(finding("label-conflict", groups=(group,)), thumbnails))
    assert strip.strip
    assert [picture.caption for picture in strip.items] == ["apple", "apple", "apple", CLASSES[1]]
    assert [picture.detail for picture in strip.items] == ["val", "train", "train", "train"]
    assert [picture.tone for picture in strip.items] == ["plain", "bad", "bad", "bad"]
    assert strip.note == f"labelled apple and {CLASSES[1]}, in val and train, ringed: what differs"
    (strip,) = galleries(shown(finding("duplicate-near", groups=((names[3], names[6]),)), thumbnails))
    assert [picture.tone for picture in strip.items] == ["plain", "plain"]
    assert strip.title == "1 · 2 images"
    assert all(picture.image is not None and picture.image[:2] == b"\xff\xd8" for picture in strip.items)
    sizes = [Image.open(io.BytesIO(picture.image or b"")).size for picture in strip.items]
    assert max(max(size) for size in sizes) <= 112


def test_suspects_show_the_given_and_the_suggested_class_in_their_order(photos: list[Path]) -> None:
    names = tuple(path.name for path in photos[:3])
    evidence = {"suggested": ["=pear", "apple", "apple"], "scores": [0.98765, 0.7, 0.5], "precision": 0.8, "count": 3}
    detail = shown(finding("label-suspect", files=names, evidence=evidence), Thumbnails(subject_of(photos).manifest))
    (gallery,) = galleries(detail)
    assert [picture.file for picture in gallery.items] == list(names)
    assert gallery.items[0].caption == "apple → =pear"
    assert gallery.items[0].detail == "val · score 0.988"
    (facts,) = [block for block in detail.blocks if isinstance(block, Facts)]
    assert [(fact.name, fact.value) for fact in facts.items] == [("Precision", "80.0 %")]


def test_pictures_groups_and_members_are_limited_and_the_rest_is_counted(photos: list[Path]) -> None:
    names = tuple(path.name for path in photos)
    thumbnails = Thumbnails(subject_of(photos).manifest)
    many = finding("x", files=names, groups=())
    assert len(galleries(shown(many, thumbnails))[0].items) == PAGE.pictures == 24
    assert shown(many, thumbnails).more == "and 13 images more, named below"
    groups = (*[(names[0], names[1])] * 35, names)
    detail = shown(finding("x", groups=groups), thumbnails)
    assert len(galleries(detail)) == PAGE.groups == 30
    assert detail.more == "and 6 groups more, named below"
    (wide,) = galleries(shown(finding("x", groups=(names,)), thumbnails))
    assert len(wide.items) == PAGE.members
    assert wide.note.endswith("and 29 more")
    brief = shown(finding("x", files=names, groups=groups, evidence={"count": 3, "other": 1}), thumbnails, limits=BRIEF)
    assert [len(gallery.items) for gallery in galleries(brief)] == [2, 2, 2]
    assert not any(isinstance(block, Facts) for block in brief.blocks)


def test_a_page_stays_within_its_budget_of_bytes(photos: list[Path]) -> None:
    names = tuple(path.name for path in photos)
    found = [finding(f"code-{number}", groups=tuple(names[:8] for _ in range(40))) for number in range(30)]
    subject = subject_of(photos)
    page = render(build_audit_report(subject=subject, findings=found, budget_bytes=200_000))
    images = [part.partition('"')[0] for part in page.split("data:image/jpeg;base64,")[1:]]
    assert 190_000 < sum(map(len, images)) * 3 / 4 <= 200_000
    assert "not shown, to keep the page small" in page


def test_files_that_are_gone_or_unknown_leave_words_in_their_place(photos: list[Path]) -> None:
    photos[0].unlink()
    photos[1].write_bytes(b"\xff\xd8\xff no longer a photo")
    found = finding("dark", files=(photos[0].name, photos[1].name, "never/there.jpg"))
    page = render(build_audit_report(subject=subject_of(photos), findings=[found]))
    assert page.count("cannot be shown: the file is gone or damaged") == 3
    assert "<img" not in page


def test_several_labels_an_image_are_all_named(photos: list[Path]) -> None:
    subject = subject_of(photos, multilabel=True)
    table = subject.manifest.table.with_columns(target=pl.Series([[0, 2], []] + [[1]] * (len(photos) - 2)))
    thumbnails = Thumbnails(Manifest(table, CLASSES, root=photos[0].parent, multilabel=True))
    found = finding("outlier", files=(photos[0].name, photos[1].name))
    (gallery,) = galleries(shown(found, thumbnails))
    assert [picture.caption for picture in gallery.items] == ["apple, =pear", "no class"]


def test_one_image_and_no_findings_make_a_page(photos: list[Path]) -> None:
    report = build_audit_report(subject=subject_of(photos[:1]), findings=[], network_view=b"\x89PNG\r\n\x1a\n...")
    page = render(report)
    assert "Yes. Nothing was found that stands in the way." in page
    assert "What the network will see" in page
    assert "data:image/png;base64," in page
    assert report.subtitle == "1 image of 3 classes, 1 val"


def test_measured_findings_and_drift_are_drawn_with_their_thresholds(photos: list[Path]) -> None:
    found = [
        finding("dark", evidence={"threshold": 0.2}),
        finding(
            "split-drift", evidence={"facts": [{"fact": "brightness"}, {"fact": "unheard of"}, {"fact": "aspect"}]}
        ),
        finding("blurry"),  # nothing is known of the sharpness of these looks
    ]
    drawings = {
        detail.finding.code: [block for block in detail.blocks if isinstance(block, Figure)]
        for detail in details(build_audit_report(subject=subject_of(photos), findings=found))
    }
    assert (len(drawings["dark"]), len(drawings["split-drift"])) == (1, 2)
    assert drawings["blurry"] == []
    assert ">threshold</text>" in str(drawings["dark"][0].image).replace("\n", "")
    assert ">val</text>" in str(drawings["split-drift"][0].image).replace("\n", "")


def test_the_report_of_a_run_shows_groups_in_short(photos: list[Path]) -> None:
    names = [path.name for path in photos]
    found = finding("split-leakage", "error", groups=tuple((names[n], names[n + 1]) for n in range(6)))
    section = data_section(subject_of(photos).manifest, [finding("dark", "note"), found])
    page = render(Report("t", "s", [section]))
    assert page.count("<img") == 6
    assert "and 3 groups more, named below" in page
    assert page.index("about split-leakage") < page.index("<img") < page.index("about dark")


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"gain": 0.341}, [("Gain", "34.1 %")]),
        ({"side_px": 224, "elapsed_s": 75.0}, [("Side", "224 px"), ("Elapsed", "75 s")]),
        ({"file_bytes": 2_500_000}, [("File", "2.5 MB")]),
        ({"std": [0.2291, 0.2249]}, [("Std", "0.229, 0.225")]),
        ({"by_split": {"train": 12345, "val": 3}}, [("By split", "train 12,345, val 3")]),
        ({"interval": [0.8082, 0.9464]}, [("Interval", "80.8 to 94.6 %")]),
        ({"area_interval": [0.801, 0.867], "p": 1e-9}, [("Area interval", "0.801 to 0.867"), ("P", "1e-09")]),
        ({"width_range_px": [20, 4000]}, [("Width range", "20 px to 4,000 px")]),
        ({"made": True, "nothing": None, "empty": []}, [("Made", "yes")]),
        (
            {"classes": [f"c{n}" for n in range(14)]},
            [("Classes", ", ".join(f"c{n}" for n in range(12)) + " and 2 more")],
        ),
    ],
)
def test_evidence_is_told_in_words_with_units(evidence: dict, words: list[tuple[str, str]]) -> None:
    (facts,) = evidence_blocks(evidence)
    assert isinstance(facts, Facts)
    assert [(fact.name, fact.value) for fact in facts.items] == words


def test_records_and_matrices_become_tables() -> None:
    rules, matrix = evidence_blocks(
        {
            "rules": [{"value": "640 × 480", "share": 0.97, "images": 62}, {"value": "1 × 1", "images": 3}],
            "covariance": [[0.05, 0.04], [0.04, 0.06]],
        }
    )
    assert isinstance(rules, Table)
    assert isinstance(matrix, Table)
    assert [(column.name, column.kind) for column in rules.columns] == [
        ("Value", "text"),
        ("Share", "share"),
        ("Images", "count"),
    ]
    assert [list(row) for row in rules.rows] == [["640 × 480", 0.97, 62], ["1 × 1", None, 3]]
    assert [list(row) for row in matrix.rows] == [[0.05, 0.04], [0.04, 0.06]]
    (counts,) = evidence_blocks({"counts": {f"class {n}": n for n in range(7)}})
    assert isinstance(counts, Table)
    assert [column.name for column in counts.columns] == ["Name", "Counts"]
    (tiny,) = evidence_blocks({"facts": [{"p": 1e-9}, {"p": 0.2}]})
    assert isinstance(tiny, Table)
    assert [list(row) for row in tiny.rows] == [["1e-09"], ["0.2"]]
    (long,) = evidence_blocks({"rules": [{"n": n} for n in range(200)]})
    assert isinstance(long, Table)
    assert len(long.rows) == 60
    assert long.caption == "Rules; the first 60 of 200"
