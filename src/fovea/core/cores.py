"""How many cores this process may use: in a container or under taskset, fewer than the machine has."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores that the process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
