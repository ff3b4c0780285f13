"""Which line of somebody's own code is running: the innermost that is neither a library's nor ours."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

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
        file = frame.f_code.co_filename
        if not file.startswith((_OURS, *_LIBRARIES, "<")) and not any(each in file for each in _ELSEWHERE):
            return Place(_shown(file), frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _shown(file: str) -> str:
    here = str(Path.cwd()) + os.sep
    return file.removeprefix(here)
