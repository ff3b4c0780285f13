"""Findings as text: worst first, in words, with the fix and the first of the files; every verb prints them with this.

On a terminal lines are wrapped to its width and the severity is coloured, unless NO_COLOR is set (no-color.org).
Elsewhere a sentence stays on one line, so that it can be searched for. What a file is called cannot move the cursor.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

from fovea.core.findings import Finding, by_severity, tally

NAMED = 3
_MEMBERS = 4
_WIDEST = 110
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "blue"}
_INDENT = "  "


def print_findings(findings: Sequence[Finding], *, named: int = NAMED, most: int | None = None) -> None:
    """Print findings to standard output, worst first, and in the end how many there are of each severity.

    Args:
        named: how many files and groups to name of each.
        most: how many findings to print; the others are counted.
    """
    if not findings:
        return
    ordered = by_severity(list(findings))
    shown = ordered if most is None else ordered[:most]
    terminal = sys.stdout.isatty()
    width = min(shutil.get_terminal_size().columns, _WIDEST) if terminal else None
    colour = _coloured if terminal and not os.environ.get("NO_COLOR") else None
    for finding in shown:
        first, *rest = finding_lines(finding, named=named, width=width)
        if colour:
            colour(finding.severity, first)
        else:
            print(first)
        for line in rest:
            print(line)
    if more := len(ordered) - len(shown):
        print(f"and {more:,} more finding{'s' if more != 1 else ''}")
    print(tally(ordered))


def finding_lines(finding: Finding, *, named: int = NAMED, width: int | None = None) -> list[str]:
    """Return a finding as lines of text.

    Args:
        named: how many files and how many groups to name.
        width: columns to wrap to; None does not wrap.

    >>> finding_lines(Finding(severity="note", code="dark", message="2 images are dark", fix="look", files=("a", "b")))
    ['note: 2 images are dark [dark]', '  fix: look', '  a', '  b']
    """
    lines = [f"{finding.severity}: {finding.message} [{finding.code}]"]
    if finding.fix:
        lines.append(f"{_INDENT}fix: {finding.fix}")
    lines += [_INDENT + _group(group) for group in finding.groups[:named]]
    grouped = {path for group in finding.groups for path in group}
    alone = [path for path in finding.files if path not in grouped]
    lines += [_INDENT + path for path in alone[:named]]
    left = [
        f"{count:,} more {what}{'s' if count != 1 else ''}"
        for count, what in ((len(finding.groups) - named, "group"), (len(alone) - named, "file"))
        if count > 0
    ]
    if left and named:
        lines.append(f"{_INDENT}and {' and '.join(left)}")
    plain = [_printable(line) for line in lines]
    return plain if width is None else [part for line in plain for part in _wrapped(line, width)]


def _group(paths: Sequence[str]) -> str:
    more = len(paths) - _MEMBERS
    return " = ".join(paths[:_MEMBERS]) + (f" and {more:,} more" if more > 0 else "")


def _wrapped(line: str, width: int) -> list[str]:
    indent = line[: len(line) - len(line.lstrip(" "))] + _INDENT
    parts = textwrap.wrap(
        line, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return parts or [line]


def _printable(text: str) -> str:
    """Write what would move the cursor or change the terminal (in a file's name, say) as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _coloured(severity: str, line: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text(line)
    text.stylize(_COLOURS[severity], 0, len(severity) + 1)
    Console(highlight=False, soft_wrap=True).print(text)
