"""Is the top a linear classifier? Every head of `fovea.models.classic_heads` on the frozen features of one network.

    .venv/bin/python bench/heads.py [--data DATA] [--weights DIR] [--run 8] [--folds 5] [--seed 0] [--out bench/out]

Photos of one thing follow one another in the folders of the Grocery Store data, so there are two tables: with photos
dealt into folds one by one, and with runs of `--run` consecutive photos of a class kept together. The first flatters
whoever remembers. Classes with fewer photos (runs) than folds are left out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fovea.core.files import plain
from fovea.core.progress import Silent
from fovea.core.recipe import DataRecipe
from fovea.core.wording import percent, percent_range
from fovea.data.preprocess import Preprocess
from fovea.data.reading import read
from fovea.models.catalogue import create
from fovea.models.comparing_heads import HeadComparison, compare_heads
from fovea.training.embedding import embed

SHARED = Path(__file__).resolve().parents[2] / "shared"


def main() -> None:
    """Compare, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=SHARED / "data" / "grocery" / "train.txt", type=Path)
    parser.add_argument("--weights", default=SHARED / "weights" / "mobilenetv2_100.tf_in1k", type=Path)
    parser.add_argument("--run", default=8, type=int)
    parser.add_argument("--folds", default=5, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--out", default=Path("bench/out"), type=Path)
    options = parser.parse_args()
    features, labels, runs = look(options.data, options.weights, options.run)
    often = np.array([len(np.unique(runs[labels == label])) >= options.folds for label in range(labels.max() + 1)])
    kept = often[labels]
    text, figures = [], {}
    for dealt, groups in (("one by one", None), (f"in runs of {options.run}", runs[kept])):
        found = compare_heads(features[kept], labels[kept], folds=options.folds, seed=options.seed, groups=groups)
        heading = f"{int(kept.sum()):,} photos of {int(often.sum())} classes, {features.shape[1]} features, {dealt}"
        text.append(f"{heading}\n\n{table(found)}\n\n{found.answer}\n")
        figures[dealt] = plain(asdict(found))
    print("\n".join(text))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "heads.txt").write_text("\n".join(text), encoding="utf-8")
    (options.out / "heads.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")


def look(data: Path, weights: Path, run: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (N, D), class ids (N,) and the run (N,) that each photo belongs to."""
    manifest = read(str(data))
    rows = manifest.usable().sort("path")
    loaded = create(None, classes=len(manifest.classes), weights=str(weights))
    features, seen = embed(
        manifest,
        rows,
        loaded=loaded,
        preprocess=Preprocess.from_pretrained_cfg(loaded.pretrained_cfg),
        settings=DataRecipe(workers=1),
        progress=Silent(),
        stop=lambda: False,
    )
    labels = rows["target"].to_numpy()[seen]
    place = np.array([int((labels[:row] == label).sum()) for row, label in enumerate(labels)])
    _, runs = np.unique(np.stack([labels, place // run]), axis=1, return_inverse=True)
    return features, labels, runs.ravel()


def table(found: HeadComparison) -> str:
    """Return a Markdown table, one head a row."""
    lines = [
        f"| head | accuracy | 95 % | against {found.baseline}, points | interval | verdict | log loss | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for score in found.scores:
        pair = score.against
        gain = f"{100 * pair.difference:+.1f}" if pair else ""
        ends = f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}" if pair else ""
        log_loss = f"{score.log_loss:.3f}{'' if score.calibrated else ' (not calibrated)'}"
        lines.append(
            f"| {score.name} | {percent(score.accuracy, digits=1)} | {percent_range(score.interval)} | {gain} | {ends} "
            f"| {pair.verdict if pair else ''} | {log_loss} | {score.fit_s:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
