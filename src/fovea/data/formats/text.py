"""Text files in whatever encoding they come: what tables, lists and class files are read through."""

from __future__ import annotations

from pathlib import Path

from fovea.core.errors import DataError


def read_text(path: Path) -> str:
    """Return a text file's content: UTF-8 or UTF-16 by its mark, else UTF-8, else Windows-1252."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint="check its permissions") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def lines_of(text: str) -> list[str]:
    """Split at the line ends of any system and nowhere else (`str.splitlines` splits at form feeds and more)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
