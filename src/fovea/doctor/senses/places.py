"""Which line of somebody's own code is running: the innermost that is neither a library's nor ours."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

from fovea.doctor.record import Place

_OURS = str(Path(__file__).resolve().parents[1]) + os.sep
_LIBRARIES = tuple({sysconfig.get_paths()[key] + os.sep for key in ("stdlib", "purelib", "platlib")})
_ELSEWHERE = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))  # of users, of systems
_MOST_FRAMES = 60


def calling_place() -> Place | None:
    """Return the user's line that led here, or None where there is none."""
    frame = sys._getframe(1)  # inspect.stack() would read every source file
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if _is_users(frame.f_code.co_filename):
            return _place(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def place_of_call(function_file: str) -> Place | None:
    """Return the user's line that called a function of this file itself, or None where a library did."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith((_OURS, function_file)):
        frame = frame.f_back
    return None if frame is None or not _is_users(frame.f_code.co_filename) else _place(frame)


@cache
def _is_users(file: str) -> bool:
    return not file.startswith((_OURS, *_LIBRARIES, "<")) and not any(each in file for each in _ELSEWHERE)


def _place(frame: FrameType) -> Place:
    return Place(_shown(frame.f_code.co_filename), frame.f_lineno)


@cache  # a script that changes its folder has its lines named alike before and after
def _shown(file: str) -> str:
    return file.removeprefix(str(Path.cwd()) + os.sep)
