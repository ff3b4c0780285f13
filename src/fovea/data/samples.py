"""Real images that need no download: scikit-learn's 1,797 handwritten digits, written out as an image folder.

    python -m fovea.data.samples digits FOLDER

Each digit is an 8×8 grey PNG in `FOLDER/<class>/`; the classes are called 0 to 9. Source: E. Alpaydin, C. Kaynak,
Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998 (the test part, as in scikit-learn).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fovea.core.errors import DataError, FoveaError, UnknownName


def write_digits(folder: Path | str) -> Path:
    """Write the digits under `folder` and return it; a folder that already holds them is left as it is.

    The images appear together or not at all: they are written beside `folder`, which is then put in place by a rename.

    Raises:
        DataError: when `folder` exists and holds something else.
    """
    from sklearn.datasets import load_digits

    folder = Path(folder)
    digits = load_digits()
    names = [f"{target}/{index:04}.png" for index, target in enumerate(digits.target)]
    if folder.exists() and any(folder.iterdir()):
        if {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == set(names):
            return folder
        raise DataError(f"{folder} already holds something else", hint="give an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        for target in set(digits.target):
            (part / str(target)).mkdir()
        for name, pixels in zip(names, digits.images, strict=True):
            Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(part / name)  # 17 grey levels
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def main(arguments: list[str]) -> int:
    """Write the named sample into a folder; returns the exit code."""
    try:
        if len(arguments) != 2:
            raise FoveaError("expected a name and a folder", hint="python -m fovea.data.samples digits FOLDER")
        name, folder = arguments
        if name not in SAMPLES:
            raise UnknownName("sample", name, SAMPLES)
        print(f"{name}: {SAMPLES[name](folder)}")
    except FoveaError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2
    return 0


SAMPLES = {"digits": write_digits}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
