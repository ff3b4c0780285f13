"""Groups of copies, remembered: the same images are not compared again by the next audit or training.

What was found is kept in the cache folder under a digest of the images' bytes, of all that the answer depends on, and
of the code that finds it. A file may be deleted at any moment: without it the images are compared again, nothing else.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fovea.core.errors import FoveaError
from fovea.core.files import atomic_open, cache_root, digest
from fovea.data import looks as looks_module
from fovea.data import measure
from fovea.data.audit.grouped import Advance, Copies
from fovea.data.looks import Looks

_FINDING = ("alignment", "copies", "corners", "lookalikes", "overlays", "signatures")  # which bring in torch: seconds
_CODE = (
    *(Path(str(module.__file__)) for module in (looks_module, measure)),
    *(Path(__file__).with_name(f"{name}.py") for name in _FINDING),
)
_KEPT = 16  # answers; the one used longest ago goes first


def remembered_copies(
    looks: Looks,
    digests: Sequence[str | None],
    sides_px: np.ndarray,
    *,
    seed: int = 0,
    advance: Advance | None = None,
) -> Copies:
    """Return what `find_copies` finds, or has found before among the same images in the same order."""
    if None in digests:
        return _find_copies(looks, digests, sides_px, seed=seed, advance=advance)
    code = [path.read_bytes() for path in _CODE]
    path = _folder() / f"{digest(*map(str, digests), np.ascontiguousarray(sides_px).tobytes(), str(seed), *code)}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), path.open("rb") as file:
        kept = np.load(file)
        found = Copies(kept["exact"], kept["near"], kept["scene"])
        path.touch()
        return found
    found = _find_copies(looks, digests, sides_px, seed=seed, advance=advance)
    with contextlib.suppress(OSError, FoveaError):
        with atomic_open(path) as file:
            np.savez_compressed(file, exact=found.exact, near=found.near, scene=found.scene)
        for old in sorted(_folder().glob("*.npz"), key=lambda each: -each.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)
    return found


def _find_copies(looks: Looks, digests: Sequence[str | None], sides_px: np.ndarray, **how: Any) -> Copies:
    from fovea.data.audit.copies import find_copies

    return find_copies(looks, digests, sides_px, **how)


def _folder() -> Path:
    return cache_root() / "copies"
