"""What somebody's own code prints: the accuracies that it believes in, to be held against the network's answers."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from fovea.doctor.senses.patching import Patches, out_of_sight
from fovea.doctor.watcher import Watcher

_LONGEST = 2000  # characters of a line


class Printing:
    """Tells the watcher of each line that this thread writes to the output or error stream; the streams get it all."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._patches = Patches()
        self._thread = 0

    def install(self) -> None:
        """Begin to listen."""
        self._thread = threading.get_ident()
        for stream in {sys.stdout, sys.stderr}:
            if hasattr(stream, "__dict__"):  # a program without a terminal has None
                self._patches.wrap(stream, "write", self._around)

    def remove(self) -> None:
        """Leave everything as it was."""
        self._patches.undo()

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        line = ""

        def heard(text: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal line
            result = real(text, *args, **kwargs)
            if not isinstance(text, str) or threading.get_ident() != self._thread or out_of_sight():
                return result
            *whole, line = (line + text).replace("\r", "\n").split("\n")  # bars begin their line anew
            line = line[-_LONGEST:]
            for each in whole:
                with self._watcher.looking():
                    self._watcher.printed(each[:_LONGEST])
            return result

        return heard
