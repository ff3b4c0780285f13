"""Label errors, for bench/audit.py: some labels of real photos are flipped; who ranks them first?

cleanlab gets out-of-sample probabilities of a logistic regression on features of the same frozen network that fovea is
given with `--weights`. fovea runs without it too. The photos lie in class folders under names that tell nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from audit_contenders import ContenderFailed, Machine, files_of, fovea_ways
from copies import Source
from sklearn.metrics import roc_auc_score


def compare_labels(
    machine: Machine, sources: Sequence[Source], *, share: float, seed: int
) -> tuple[str, dict[str, Any]]:
    """Flip a share of the labels, let everybody look, and return a table and figures."""
    paths, labels, flipped = flip(machine, sources, share=share, seed=seed)
    figures: dict[str, dict[str, Any]] = {}
    if machine.wants("cleanlab"):
        try:
            figures |= run_cleanlab(machine, paths, labels, flipped)
        except ContenderFailed as error:
            machine.failures["cleanlab"] = str(error)
    for way, options in fovea_ways(machine.weights).items():
        if machine.wants(way) and "--fast" not in options:
            try:
                cost, findings = machine.fovea(f"{way} labels", machine.out / "labels", *options)
            except ContenderFailed as error:
                machine.failures[f"{way} labels"] = str(error)
                continue
            rows = {path: row for row, path in enumerate(paths)}
            ranked = [rows[path] for path in files_of(findings, "label-suspect")]
            count = sum(one["evidence"]["suspected"] for one in findings if one["code"] == "label-suspect")
            figures[way] = judge_ranking(ranked, ranked[:count], flipped) | {"seconds": cost.seconds}
    heading = f"{int(flipped.sum())} of {len(paths):,} labels flipped"
    return f"{heading}\n\n{render_labels(figures)}", figures


def flip(
    machine: Machine, sources: Sequence[Source], *, share: float, seed: int
) -> tuple[list[str], list[int], np.ndarray]:
    """Write the photos into folders of their new classes; return paths, new labels and which were flipped."""
    draw = random.Random(seed)
    order = draw.sample(range(len(sources)), len(sources))
    wrong = set(order[: round(share * len(sources))])
    classes = sorted({source.label for source in sources})
    paths, labels = [], []
    for number, source in enumerate(sources):
        label = draw.choice([other for other in classes if other != source.label]) if number in wrong else source.label
        name = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:12]
        path = machine.out / "labels" / f"class {label:02d}" / f"{name}{source.path.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.path.read_bytes())
        paths.append(str(path.relative_to(machine.out / "labels")))
        labels.append(label)
    return paths, labels, np.array([number in wrong for number in range(len(sources))])


def run_cleanlab(
    machine: Machine, paths: Sequence[str], labels: Sequence[int], flipped: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Return how each of cleanlab's rankings did. Its folds are not shuffled, so the rows are."""
    order = random.Random(0).sample(range(len(paths)), len(paths))
    numbers = {label: number for number, label in enumerate(sorted(set(labels)))}
    table, out = machine.out / "labels.csv", machine.out / "cleanlab.json"
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "split"))
        writer.writerows((machine.out / "labels" / paths[row], numbers[labels[row]], "train") for row in order)
    cost = machine.peer(
        "cleanlab labels", "cleanlab_labels.py", "--table", table, "--weights", machine.weights, "--out", out
    )
    answer = json.loads(out.read_text(encoding="utf-8"))
    figures = {}
    for ranking in ("self_confidence", "normalized_margin"):
        ranked = np.argsort(answer[ranking]["scores"], kind="stable")
        named = answer[ranking]["issues"]
        figures[f"cleanlab {ranking}"] = judge_ranking(ranked.tolist(), named, flipped[order]) | {
            "seconds": cost.seconds,
            "accuracy": answer["accuracy"],
        }
    return figures


def judge_ranking(ranked: Sequence[int], named: Sequence[int], flipped: np.ndarray) -> dict[str, Any]:
    """Judge rows in order of suspicion, and the set of rows that are named as errors.

    Rows missing from the ranking count as less suspicious than all others, and as alike.
    """
    suspicion = np.zeros(len(flipped))
    suspicion[list(ranked)] = np.arange(len(ranked), 0, -1)
    right = int(flipped[list(named)].sum())
    tops = {
        f"top_{percent}": float(flipped[list(ranked[: round(len(flipped) * percent / 100)])].sum() / flipped.sum())
        for percent in (5, 10)
    }
    return tops | {
        "auroc": float(roc_auc_score(flipped, suspicion)),
        "named": len(named),
        "named_recall": right / int(flipped.sum()),
        "named_precision": right / len(named) if named else float("nan"),
    }


def render_labels(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of rankings."""
    titles = ("top 5 %", "top 10 %", "AUROC", "named", "of them right", "recall", "seconds")
    lines = [f"{'contender':<34}" + "".join(f"{title:>15}" for title in titles)]
    for name, values in figures.items():
        shares = [values["top_5"], values["top_10"], values["auroc"]]
        cells = "".join(f"{value:>15.3f}" for value in shares) + f"{values['named']:>15,}"
        cells += f"{values['named_precision']:>15.3f}{values['named_recall']:>15.3f}{values['seconds']:>15.1f}"
        lines.append(f"{name:<34}{cells}")
    return "\n".join(lines)
