"""The report of a run: how good the model is, where it fails, what it was made from and how to make it again.

Puts sections together from what the run folder and the evaluation hold; a section whose material is missing is left
out. The page itself is made by `fovea.core.html`, the numbers by `fovea.metrics`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.core.findings import Finding
from fovea.core.report import Block, Column, Fact, Facts, Figure, Prose, Report, Section, Table
from fovea.core.run import Run
from fovea.core.wording import counted, listed, number, percent, percent_range
from fovea.data.manifest import Manifest
from fovea.evaluation import outoffold, plots
from fovea.evaluation.background import data_section, repeat_section, training_section
from fovea.evaluation.mistakes import mistakes_section
from fovea.metrics.curves import Curve, average_curves, precision_recall, roc

Metrics = Mapping[str, Any]

_SPLIT_NAMES = {
    "train": "the training split",
    "val": "the validation split",
    "test": "the test split",
    outoffold.SPLIT: "the training split, each by the model of the fold that held it out",
}


def build_report(
    *,
    run: Run,
    manifest: Manifest,
    metrics: Metrics,
    probabilities: NDArray[Any],
    targets: NDArray[Any],
    paths: Sequence[Path | str],
) -> Report:
    """Put the report of a run together.

    Args:
        run: the run folder; plan.json, summary.csv, findings.json and recipe.yaml are read where they are there.
        manifest: of the judged data.
        metrics: of `summarise` or `summarise_multilabel`; optional keys `split`, `data` and `unreadable` (`path`
            and `error` of each) say which images were judged and which could not be; of k-fold training also what
            `outoffold.fold_metrics` returns.
        probabilities: (N, C).
        targets: (N,) class ids, or (N, C) zeros and ones with several labels an image.
        paths: (N,) of the judged images, to show them; empty leaves the pictures out.
    """
    probabilities, targets = np.asarray(probabilities), np.asarray(targets)
    if paths and not len(paths) == len(probabilities) == len(targets):
        raise ValueError(
            f"{len(paths)} paths, {len(probabilities)} probabilities and {len(targets)} targets; expected one each"
        )
    findings = list(manifest.findings) + [item for item in run.findings() if item not in manifest.findings]
    sections = [
        _result_section(metrics),
        outoffold.folds_section(metrics) if "folds" in metrics else None,
        mistakes_section(
            classes=manifest.classes,
            confusion=np.asarray(metrics["confusion"]) if metrics.get("confusion") is not None else None,
            probabilities=probabilities,
            targets=targets,
            paths=list(paths),
        ),
        _classes_section(metrics),
        _curves_section(metrics, probabilities, targets, manifest.classes),
        training_section(run, [item for item in findings if _of_training(item)]),
        data_section(manifest, [item for item in findings if not _of_training(item)], metrics.get("unreadable", ())),
        repeat_section(run, manifest),
    ]
    return Report(
        _title(run, manifest),
        _subtitle(run, manifest, metrics),
        [section for section in sections if section is not None],
        footer=f"Written by fovea on {datetime.date.today():%d %B %Y}. This file needs nothing else: keep it, send it.",
    )


def _of_training(finding: Finding) -> bool:
    """Whether the doctor said it of a rung, and not the audit of the data."""
    return "rung" in finding.evidence


def _title(run: Run, manifest: Manifest) -> str:
    source = Path(run.recipe().data.source or manifest.source or manifest.root)
    name = source.parent.name if source.suffix else source.name
    return name or run.folder.name


def _subtitle(run: Run, manifest: Manifest, metrics: Metrics) -> str:
    model = run.recipe().model.name
    judged = f"judged on {counted(metrics['n'], 'image')}"
    if split := metrics.get("split"):
        judged += f" of {_SPLIT_NAMES.get(split, split)}"
    if metrics.get("data") not in (None, run.recipe().data.source, manifest.source):
        judged += f" of {metrics['data']}"
    return f"{counted(len(manifest.classes), 'class', 'classes')}, {model + ', ' if model else ''}{judged}"


def _result_section(metrics: Metrics) -> Section:
    blocks: list[Block] = [Facts(_tiles(metrics), headline=True), Prose(_verdict(metrics)), _averages(metrics)]
    if missing := metrics.get("not_computed"):
        absent = listed(metrics["classes_without_images"], limit=1000)
        cells = [(item["what"].replace("classes_without_images", absent), item["why"]) for item in missing]
        blocks.append(Table([Column("Not computed"), Column("Reason")], cells))
    return Section("Result", blocks)


def _tiles(metrics: Metrics) -> list[Fact]:
    intervals = metrics.get("intervals") or {}

    def interval(name: str) -> str:
        return percent_range(intervals.get(name))

    tiles = [Fact("Accuracy", percent(metrics["accuracy"], digits=1), interval("accuracy"))]
    if metrics.get("multilabel"):
        tiles[0] = Fact("All labels right", percent(metrics["accuracy"], digits=1), interval("accuracy"))
        tiles.append(Fact("Labels wrong", percent(metrics["hamming_loss"], digits=1), "Hamming loss"))
        tiles.append(Fact("Mean average precision", percent(metrics["map"], digits=1), "over labels"))
    else:
        if metrics["n_classes"] > 5:
            tiles.append(Fact("Among the top 5", percent(metrics.get("top5_accuracy"), digits=1), "top-5 accuracy"))
        balanced = interval("balanced_accuracy") or "each class weighs the same"
        tiles.append(Fact("Balanced accuracy", percent(metrics["balanced_accuracy"], digits=1), balanced))
    tiles.append(Fact("Macro F1", percent(metrics["macro"]["f1"], digits=1), interval("macro_f1")))
    if "ece" in metrics:
        tiles.append(Fact("Calibration error", percent(metrics["ece"], digits=1), "ECE, 15 bins"))
    return [*tiles, Fact("Log loss", number(metrics["log_loss"]), f"Brier {number(metrics['brier'])}")]


def _verdict(metrics: Metrics) -> str:
    right, total = round(metrics["accuracy"] * metrics["n"]), metrics["n"]
    folds = metrics.get("split") == outoffold.SPLIT
    who, ending = ("The models of the folds", "") if folds else ("The model", "s")
    what = f"get{ending} every label right on" if metrics.get("multilabel") else f"recognise{ending}"
    sentences = [f"{who} {what} {right} of {counted(total, 'image')}."]
    if interval := (metrics.get("intervals") or {}).get("accuracy"):
        sentences.append(f"On other images of the same kind, expect {percent_range(interval)} (95 % interval).")
    weak = sorted((row for row in metrics["per_class"] if row["recall"] is not None), key=lambda row: row["recall"])
    if weak and weak[0]["recall"] < 1:
        named = [f"{row['class']} ({percent(row['recall'])})" for row in weak[:3] if row["recall"] < 1]
        sentences.append(f"It finds least of {listed(named)}.")
    sentences.append(_caution(metrics))
    return " ".join(sentence for sentence in sentences if sentence)


def _caution(metrics: Metrics) -> str:
    """What a reader should know before believing the numbers."""
    cautions = []
    if metrics.get("split") == "train":
        cautions.append("These are the images it was trained on: they say nothing about new ones.")
    if metrics.get("split") == "val":
        cautions.append("Training watched these images to choose its settings, so expect slightly less on new ones.")
    if metrics.get("split") == outoffold.SPLIT:
        cautions.append(
            "These are out-of-fold predictions: each image was judged by a model that had not seen it, so expect as "
            "much on new images of the same kind, and a little more of the models together."
        )
    supports = [row["support"] for row in metrics["per_class"] if row["support"]]
    if supports and median(supports) < 10:
        cautions.append(
            f"Half of the classes have {median(supports):.0f} images or fewer here, so the numbers of single classes "
            "are rough; their intervals say how rough."
        )
    return "\n\n" + " ".join(cautions) if cautions else ""


def _averages(metrics: Metrics) -> Table:
    scores = list(metrics["macro"])
    columns = [Column("Average"), *(Column(_score_name(score), kind="number", digits=3) for score in scores)]
    meaning = {"macro": "over classes", "micro": "over images", "weighted": "over classes, by their images"}
    rows = [[f"{name} ({meaning[name]})", *(metrics[name][score] for score in scores)] for name in meaning]
    single = [
        ("Cohen's kappa", metrics.get("kappa")),
        ("MCC", metrics.get("mcc")),
        ("ROC AUC, macro", metrics["roc_auc"]["macro"]),
        ("average precision, macro", metrics["average_precision"]["macro"]),
    ]
    others = "; ".join(f"{name} {value:.3f}" for name, value in single if value is not None)
    rule = f"A precision, recall or F score with nothing to divide by counts as {metrics['zero_division']:g}."
    return Table(columns, rows, caption=f"{others}. {rule}" if others else rule)


def _score_name(score: str) -> str:
    return score.upper() if score.startswith("f") else score.capitalize()


def _classes_section(metrics: Metrics) -> Section:
    rows = metrics["per_class"]
    scores = [key for key in rows[0] if key.startswith("f") and key[1:].replace(".", "").isdigit()]
    confused = "most_confused_with" in rows[0]
    columns = [
        Column("Class"),
        Column("Images", kind="count", help="images of the class in this split"),
        Column("Recall", kind="share", help="share of its images that were found"),
        Column("Precision", kind="share", help="share of its predictions that were right"),
        *(Column(_score_name(score), kind="number", digits=3) for score in scores),
        Column("AUC", kind="number", digits=3, help="area under the ROC curve, one class against the rest"),
        Column("AP", kind="number", digits=3, help="average precision: the area under the precision-recall curve"),
        *([Column("Most often taken for")] if confused else []),
    ]
    ordered = sorted(rows, key=lambda row: (row["recall"] is None, row["recall"], row["class"]))
    cells = [
        [
            row["class"],
            row["support"],
            row["recall"],
            row["precision"],
            *(row[score] for score in scores),
            row["roc_auc"],
            row["average_precision"],
            *([_taken_for(row)] if confused else []),
        ]
        for row in ordered
    ]
    blocks: list[Block] = [Table(columns, cells, caption="Per class, in per cent where there is a bar", sortable=True)]
    if drawing := plots.class_recall(rows):
        caption = "Recall of each class, worst first; the lines are 95 % intervals (Wilson)."
        blocks.insert(0, Figure(drawing, caption, f"{caption} The table below has the numbers."))
    return Section("Classes", blocks)


def _taken_for(row: Mapping[str, Any]) -> str | None:
    return f"{row['most_confused_with']} ({row['most_confused_count']})" if row["most_confused_with"] else None


def _curves_section(
    metrics: Metrics, probabilities: NDArray[Any], targets: NDArray[Any], classes: Sequence[str]
) -> Section | None:
    blocks: list[Block] = []
    if bins := metrics.get("reliability"):
        caption = (
            "How often it is right at each confidence. On the dashed line it would know exactly how sure to be; "
            "orange shows the gap, stronger bars hold more images."
        )
        alt = f"Reliability diagram; expected calibration error {percent(metrics['ece'], digits=1)}."
        blocks.append(Figure(plots.reliability(bins), caption, alt, half=True))
        right = probabilities.argmax(axis=1) == targets
        caption = "How sure it was, and how often that was right."
        alt = f"{caption} Mean confidence {percent(float(probabilities.max(axis=1).mean()), digits=1)}."
        blocks.append(Figure(plots.confidence(probabilities.max(axis=1), right), caption, alt, half=True))
    for kind, title in (("roc", "ROC"), ("pr", "Precision and recall")):
        named = _named_curves(kind, probabilities, targets, classes)
        if drawing := plots.curves(named, kind=kind):
            areas = listed([f"{name} {curve.area:.3f}" for name, curve in named.items()])
            caption = f"{title}, one class against the rest" if len(classes) > 2 else title
            blocks.append(Figure(drawing, f"{caption}.", f"{title} curves; areas: {areas}.", half=True))
    return Section("Confidence", blocks) if blocks else None


def _named_curves(
    kind: str, probabilities: NDArray[Any], targets: NDArray[Any], classes: Sequence[str]
) -> dict[str, Curve]:
    if targets.ndim == 1 and len(classes) == 2:
        draw = roc if kind == "roc" else precision_recall
        curve = draw((targets == 1).astype(int), probabilities[:, 1])
        return {} if curve is None else {classes[1]: curve}
    truth = targets if targets.ndim == 2 else np.eye(len(classes), dtype=int)[targets]
    found = average_curves(truth, probabilities)
    return {name: found[f"{kind}_{name}"] for name in ("micro", "macro") if f"{kind}_{name}" in found}
