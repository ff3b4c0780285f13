"""Findings as text: worst first, counted, wrapped and coloured only where somebody looks."""

from __future__ import annotations

import sys

import pytest

from fovea.cli.findings import finding_lines, print_findings
from fovea.core.findings import Finding

LEAK = Finding(
    severity="error",
    code="split-leakage",
    message="5 images of val are copies of training images; results on them flatter the model",
    fix="leave the copies out of train",
    groups=tuple((f"train/a b/{n}.jpg", f"val/ä/{n}.jpg") for n in range(5)),
    files=("train/a b/0.jpg", "extra.jpg"),
)
DARK = Finding(severity="note", code="dark", message="4 images are dark", fix="", files=tuple("abcd"))


def test_a_finding_says_its_code_its_fix_and_the_first_groups_and_files() -> None:
    assert finding_lines(LEAK, named=2) == [
        "error: 5 images of val are copies of training images; results on them flatter the model [split-leakage]",
        "  fix: leave the copies out of train",
        "  train/a b/0.jpg = val/ä/0.jpg",
        "  train/a b/1.jpg = val/ä/1.jpg",
        "  extra.jpg",
        "  and 3 more groups",
    ]
    assert finding_lines(DARK) == ["note: 4 images are dark [dark]", "  a", "  b", "  c", "  and 1 more file"]
    assert finding_lines(DARK, named=0) == ["note: 4 images are dark [dark]"]


def test_lines_are_wrapped_to_the_terminal_and_paths_are_not_broken() -> None:
    lines = finding_lines(LEAK, width=40)
    assert max(map(len, lines)) <= 40
    assert lines[:2] == ["error: 5 images of val are copies of", "  training images; results on them"]
    long = Finding(severity="note", code="x", message="m", fix="", files=("a/" * 60 + "b.jpg",))
    assert finding_lines(long, width=30)[-1].strip() == "a/" * 60 + "b.jpg"


def test_large_groups_are_cut() -> None:
    many = Finding(severity="note", code="x", message="m", fix="", groups=(tuple(f"{n}.jpg" for n in range(7)),))
    assert finding_lines(many)[1] == "  0.jpg = 1.jpg = 2.jpg = 3.jpg and 3 more"


def test_a_file_name_cannot_drive_the_terminal() -> None:
    evil = Finding(severity="note", code="x", message="m", fix="", files=("a\x1b[2J\r\nb\u202ec.jpg", "größe 画.jpg"))
    assert finding_lines(evil)[1:] == ["  a\\x1b[2J\\r\\nb\\u202ec.jpg", "  größe 画.jpg"]


def test_worst_first_counted_and_plain_when_piped(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([DARK, LEAK, DARK])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("error: 5 images of val")
    assert lines[-1] == "1 error, 2 notes"
    print_findings([DARK, LEAK], most=1, named=0)
    assert capsys.readouterr().out.splitlines()[-2:] == ["and 1 more finding", "1 error, 1 note"]
    print_findings([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colour_is_for_terminals_without_no_color(
    no_color: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("CI", raising=False)
    print_findings([LEAK])
    out = capsys.readouterr().out
    assert ("\x1b[" in out) is (no_color == "")
    assert "error:" in out
    assert max(len(line) for line in out.splitlines()[1:]) <= 60
