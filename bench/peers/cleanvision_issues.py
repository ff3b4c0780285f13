"""cleanvision as its guide teaches it: `Imagelab(data_path=...).find_issues()` with the defaults, or duplicates only.

Writes the duplicates that it claims as pairs, and which images have which issue.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
from cleanvision import Imagelab

KINDS = ("dark", "light", "blurry", "low_information", "odd_aspect_ratio", "odd_size", "grayscale")


def main() -> None:
    """Find issues and write them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--duplicates-only", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cores", type=int, required=True)
    given = parser.parse_args()
    lab = Imagelab(data_path=str(given.folder))
    duplicates = {"exact_duplicates": {}, "near_duplicates": {}}
    lab.find_issues(issue_types=duplicates if given.duplicates_only else None, n_jobs=given.cores, verbose=False)
    names = [str(Path(path).relative_to(given.folder.resolve())) for path in lab.issues.index]
    rows = {path: row for row, path in enumerate(lab.issues.index)}
    pairs = [
        (rows[first], rows[second])
        for kind in duplicates
        for group in lab.info[kind]["sets"]
        for first, second in combinations(group, 2)
    ]
    claimed = np.unique(np.sort(np.array(pairs, dtype=np.int32).reshape(-1, 2), axis=1), axis=0)
    np.savez(given.out, names=np.array(names), default=claimed)
    issues = {}
    for kind in KINDS:
        if f"is_{kind}_issue" in lab.issues:
            flagged = lab.issues[f"is_{kind}_issue"]
            issues[kind] = [name for name, bad in zip(names, flagged, strict=True) if bad]
    given.out.with_suffix(".json").write_text(json.dumps(issues), encoding="utf-8")


if __name__ == "__main__":
    main()
