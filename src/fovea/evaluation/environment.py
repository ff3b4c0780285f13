"""What a result was made with: versions, system and processor, as a flat dict for a run or a report."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from fovea.core.cores import usable_cores

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")


def environment() -> dict[str, str]:
    """Return the versions of fovea and of what decides its numbers, the system and the processor.

    >>> sorted(environment())[:3]
    ['cpu', 'fovea', 'numpy']
    """
    import fovea

    found = {"fovea": fovea.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        **found,
        "system": platform.platform(),
        "cpu": f"{_processor()}, {usable_cores()} usable core{'' if usable_cores() == 1 else 's'}",
    }


def _processor() -> str:
    """The processor's name: Linux keeps it in a file, elsewhere Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
