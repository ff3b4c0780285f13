"""Only what imagededup does, with fovea: look at the images of a folder, group the copies. For bench/audit.py."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fovea.core.progress import Silent
from fovea.data.reading import read_with_looks
from fovea.workflows.auditing import group


def main() -> None:
    """Read, group, and print how many images have a copy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    manifest, looks = read_with_looks(parser.parse_args().folder, unlabelled=True)
    _, copies = group(manifest, looks, seed=0, progress=Silent())
    print(json.dumps({"images": manifest.usable().height, "copies": int((copies.near >= 0).sum())}))


if __name__ == "__main__":
    main()
