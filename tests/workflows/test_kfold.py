"""k-fold training, whole: every image judged once by a model that had not seen it, all models as one, resuming."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
from PIL import Image

import fovea
from fovea.core.errors import DataError, Interrupted, RecipeError, RunError
from fovea.core.recipe import Recipe
from fovea.core.run import Run
from fovea.data.manifest import Manifest
from fovea.data.samples import write_digits
from fovea.evaluation.ensemble import Ensemble
from fovea.metrics.press import judge_values
from fovea.training import frozen
from fovea.training.loop import Clock
from fovea.workflows import evaluating, kfold, training
from fovea.workflows.evaluating import evaluate
from fovea.workflows.loading import load
from fovea.workflows.predicting import predict

from .conftest import COLOURS, draw
from .conftest import recipe as quick_recipe
from .pictures import Told


def recipe(*overrides: str) -> Recipe:
    """A recipe that trains in a second: of one view, so that none are compared."""
    return quick_recipe("data.input_size=32", "data.resize=squash", *overrides)


@pytest.fixture(scope="module")
def folded(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three folds of a linear head, with the one truncated photo left out."""
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=head", "train.folds=3", "train.ensemble=vote")
    return training.train(photos, recipe=settings, out=tmp_path_factory.mktemp("runs") / "drei folds")


def judged(run: Run) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the out-of-fold table and its probabilities."""
    table = pl.read_parquet(run.out_of_fold_path)
    return table, np.array(table["probabilities"].to_list())


def test_every_training_image_is_judged_once_by_the_model_that_had_not_seen_it(folded: Run) -> None:
    manifest = Manifest.load(folded.manifest_path)
    table, probabilities = judged(folded)
    rows = manifest.usable("train")
    assert table["path"].to_list() == rows["path"].to_list() and len(table) == 42
    assert table["fold"].to_list() == rows["fold"].to_list()
    assert table["label"].to_list() == [manifest.classes[target] for target in rows["target"]]
    for fold in range(3):
        part = Run.open(folded.fold_path(fold))
        theirs = Manifest.load(part.manifest_path)
        held_out = table.filter(pl.col("fold") == fold)["path"].to_list()
        assert theirs.usable("test")["path"].to_list() == held_out
        learnt_from = set(theirs.usable("train")["path"]) | set(theirs.usable("val")["path"])
        assert learnt_from == set(rows["path"]) - set(held_out)
        answers = [answer for _, answer in load(part.folder).probabilities(manifest.paths(rows))]
        chosen = (table["fold"] == fold).to_numpy()
        assert np.array_equal(np.stack(answers)[chosen], probabilities[chosen])


def test_the_report_is_of_the_out_of_fold_predictions(folded: Run) -> None:
    table, probabilities = judged(folded)
    right = probabilities.argmax(axis=1) == table["target"].to_numpy()
    metrics = folded.read("report.json")
    assert (metrics["split"], metrics["n"], metrics["accuracy"]) == ("out-of-fold", 42, right.mean())
    shares = [right[(table["fold"] == fold).to_numpy()].mean() for fold in range(3)]
    assert [fold["accuracy"] for fold in metrics["folds"]] == pytest.approx(shares)
    assert metrics["folds_accuracy"]["mean"] == pytest.approx(np.mean(shares))
    assert metrics["folds_accuracy"]["spread"] == pytest.approx(np.std(shares, ddof=1))
    assert all(fold["n"] + fold["train"] + fold["val"] == 42 and fold["val"] >= 5 for fold in metrics["folds"])
    assert "values" not in metrics and "ensemble" not in metrics
    page = folded.report_path.read_text(encoding="utf-8")
    for words in ("out-of-fold predictions", "by the model of the fold that held it out", "Accuracy, mean of folds"):
        assert words in page
    assert "PRESS" not in page
    assert "broken.jpg" in page


def test_each_fold_is_an_ordinary_run(folded: Run) -> None:
    part = Run.open(folded.fold_path(1))
    assert part.recipe().train.folds is None
    table, probabilities = judged(folded)
    rows = (table["fold"] == 1).to_numpy()
    again = evaluate(part.folder)
    assert (again["split"], again["n"]) == ("test", rows.sum())
    right = probabilities[rows].argmax(axis=1) == table["target"].to_numpy()[rows]
    assert again["accuracy"] == right.mean()


def test_the_models_of_all_folds_answer_together(folded: Run, photos: Path, tmp_path: Path) -> None:
    model = fovea.load(folded.folder)
    assert isinstance(model, Ensemble) and (len(model.members), model.how) == (3, "vote")
    assert model.predict(photos / "plum" / "bild 1.png").label in COLOURS
    tally = predict(folded.folder, [photos / "plum"], format="json", output=tmp_path / "p.json", top_k=3)
    assert (tally.done, tally.failed) == (14, 1)
    for row in json.loads((tmp_path / "p.json").read_text(encoding="utf-8")):
        if row["error"] is None:
            votes = [member.predict(row["path"]).label for member in model.members]
            most = max(votes.count(name) for name in COLOURS)
            assert votes.count(row["label"]) == most


def test_evaluate_repeats_the_out_of_fold_numbers_and_judges_other_data_by_all_models(
    folded: Run, tmp_path: Path
) -> None:
    before = folded.read("report.json")
    assert evaluate(folded.folder)["accuracy"] == before["accuracy"]
    assert evaluate(folded.folder, split="out-of-fold")["log_loss"] == before["log_loss"]
    rng = np.random.default_rng(5)
    for name in ("plum", "apple red"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(3):
            draw(COLOURS[name], rng).save(tmp_path / "other" / name / f"{number}.png")
    other = evaluate(folded.folder, data=tmp_path / "other")
    assert (other["n"], other["ensemble"]) == (6, {"models": 3, "how": "vote"})
    assert (folded.folder / "report-other.html").exists()
    assert folded.read("report.json")["split"] == "out-of-fold"
    own = evaluate(folded.folder, split="train")
    assert own["n"] == 42 and own["report"].endswith("report-train.html")
    with pytest.raises(DataError, match="only the data of a k-fold training has out-of-fold predictions"):
        evaluate(folded.fold_path(0), split="out-of-fold")


def test_a_test_split_is_judged_by_all_models_and_by_none_of_the_folds(
    photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    root = tmp_path / "mit test"
    for name in COLOURS:
        shutil.copytree(photos / name, root / "train" / name, ignore=shutil.ignore_patterns("broken*", "* 1?.*"))
        (root / "test" / name).mkdir(parents=True)
        for number in (11, 12, 13):
            shutil.copy(next((photos / name).glob(f"bild {number}.*")), root / "test" / name)
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=head", "train.folds=2")
    run = training.train(root, recipe=settings, out=tmp_path / "run")
    metrics, together = run.read("report.json"), run.read("report-test.json")
    assert (metrics["split"], metrics["n"], together["split"], together["n"]) == ("out-of-fold", 30, "test", 9)
    assert metrics["ensemble"]["accuracy"] == together["accuracy"]
    assert (metrics["ensemble"]["models"], metrics["ensemble"]["how"]) == (2, "average")
    manifest = Manifest.load(run.manifest_path)
    assert manifest.usable("test")["fold"].null_count() == 9
    members = [load(run.fold_path(fold)) for fold in (0, 1)]
    paths = manifest.paths(manifest.usable("test"))
    mean = np.mean([[answer for _, answer in member.probabilities(paths)] for member in members], axis=0)
    assert together["accuracy"] == (mean.argmax(axis=1) == manifest.targets(manifest.usable("test"))).mean()
    assert evaluate(run.folder)["split"] == "test"  # the default, as for any run with a test split
    page = run.report_path.read_text(encoding="utf-8")
    assert "Ensemble on the test split" in page and "2 models, average" in page


@pytest.mark.slow
def test_classes_that_are_numbers_get_press(tiny_weights: Path, tmp_path: Path) -> None:
    digits, few = write_digits(tmp_path / "digits"), tmp_path / "few"
    for name in ("0", "3", "7"):
        (few / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:4]:
            shutil.copy(path, few / name)
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=head", "train.folds=loo", "data.val_fraction=0")
    run = training.train(few, recipe=settings, out=tmp_path / "run")
    table, probabilities = judged(run)
    assert sorted(table["fold"]) == list(range(12))
    metrics = run.read("report.json")
    expected = judge_values(probabilities, table["target"].to_numpy(), [0, 3, 7])
    assert metrics["values"] == pytest.approx(expected)
    by_hand = sum((float(row["label"]) - np.dot(row["probabilities"], [0, 3, 7])) ** 2 for row in table.to_dicts())
    assert metrics["values"]["press"] == pytest.approx(by_hand)
    assert metrics["folds_accuracy"]["mean"] == pytest.approx(metrics["accuracy"])
    page = run.report_path.read_text(encoding="utf-8")
    assert "PRESS" in page and "Predicted R²" in page and "nothing where they are codes" in page


def test_several_labels_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["path,label"]
    for number in range(24):
        labels = ["red"] * (number % 2) + ["big"] * (number % 3 == 0) or ["none"]
        size = (80, 80) if "big" in labels else (30, 30)
        draw((200 if "red" in labels else 40, 60, 60), rng, size=size).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'|'.join(labels)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = recipe("model.from_scratch=true", "train.epochs=1", "train.folds=2")
    run = training.train(tmp_path / "labels.csv", recipe=settings, out=tmp_path / "run")
    metrics = run.read("report.json")
    table, probabilities = judged(run)
    truth = np.array([[label in labels for label in range(3)] for labels in table["target"]])
    assert metrics["multilabel"] and metrics["n"] == 24
    assert metrics["accuracy"] == ((probabilities >= 0.5) == truth).all(axis=1).mean()
    assert load(run.folder).threshold == 0.5
    assert "big|red" in table["label"].to_list() or "red|big" in table["label"].to_list()


FULL = ("train.strategy=full", "train.epochs=2", "train.checkpoint_s=0", "train.folds=3", "data.val_fraction=0.2")


def weights(run: Run) -> list[bytes]:
    return [(path / "model" / "model.safetensors").read_bytes() for path in run.fold_paths()]


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return training.train(photos, recipe=recipe(f"model.weights={tiny_weights}", *FULL), out=out)


def stopping(when: Callable[[], bool]) -> Callable[[object], contextlib.AbstractContextManager[Callable[[], bool]]]:
    """Return a stand-in for `stop_on_signal`: the user presses Ctrl-C once `when` holds."""

    @contextlib.contextmanager
    def stop_on_signal(progress: object) -> Iterator[Callable[[], bool]]:
        yield when

    return stop_on_signal


def test_after_ctrl_c_and_kills_it_ends_as_if_undisturbed(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Run
) -> None:
    out = tmp_path / "run"
    run = Run(out)

    with monkeypatch.context() as patch:  # Ctrl-C between two folds
        patch.setattr(kfold, "stop_on_signal", stopping(lambda: (out / "folds" / "0" / "oof.parquet").exists()))
        with pytest.raises(Interrupted, match="stopped by the user") as error:
            training.train(photos, recipe=recipe(f"model.weights={tiny_weights}", *FULL), out=out)
    assert error.value.hint == f"fovea resume {out}"
    assert [path.name for path in run.fold_paths()] == ["0"]

    with monkeypatch.context() as patch:  # Ctrl-C in the middle of the second
        patch.setattr(training, "stop_on_signal", stopping(lambda: (out / "folds" / "1" / "summary.csv").exists()))
        with pytest.raises(Interrupted, match="stopped by the user") as error:
            training.resume(out)
    assert error.value.hint == f"fovea resume {out}"
    assert [len(Run(path).summary()) for path in run.fold_paths()] == [2, 1]
    model = load(out)
    assert isinstance(model, Ensemble) and len(model.members) == 2
    with pytest.raises(RunError, match="has no out-of-fold predictions yet") as unfinished:
        evaluate(out)
    assert unfinished.value.hint == f"fovea resume {out}"

    judge = kfold._judge_held_out

    def killed(folds: kfold.Folds, fold: int, *rest: object) -> None:
        if fold == 1:
            raise KeyboardInterrupt
        judge(folds, fold, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:  # a kill after the second is trained, before it is judged
        patch.setattr(kfold, "_judge_held_out", killed)
        with pytest.raises(KeyboardInterrupt):
            training.resume(out)
    run.fold_path(2).mkdir()  # and one before the manifest of the third was written
    shutil.copy(run.fold_path(1) / "recipe.yaml", run.fold_path(2))

    training.resume(out)
    assert weights(run) == weights(undisturbed)
    assert judged(run)[0].equals(judged(undisturbed)[0])
    assert run.read("report.json")["log_loss"] == undisturbed.read("report.json")["log_loss"]
    console = Mock()
    training.resume(out, console=console)
    console.say.assert_called_once_with(f"{out} is complete; nothing is left to do")


@pytest.mark.parametrize(
    ("spent_s", "budgets_s", "said"),
    [
        # (100 - 10) / 3, (80 - 10) / 2, 35 - 10
        (
            [20.0, 45.0, 50.0],
            [30.0, 35.0, 25.0],
            {
                1: "took 45 s, 10 s more than its part of the budget; 1 fold left, with 25 s",
                2: "took 50 s, 25 s more than its part of the budget",
            },
        ),
        # one takes all there is, and the others do the least
        (
            [95.0, 3.0, 1.0],
            [30.0, 1.0, 1.0],
            {
                0: "took 1 min 35 s, 65 s more than its part of the budget; 2 folds left, with 1.0 s each to do the "
                "least they can in: the budget will be exceeded",
                1: "took 3.0 s, 2.0 s more than its part of the budget; 1 fold left, with 1.0 s to do the least they "
                "can in: the budget will be exceeded",
            },
        ),
        ([30.0, 30.5, 29.0], [30.0, 30.0, 29.5], {}),
    ],
)
def test_what_a_fold_takes_beyond_its_part_the_later_ones_lack_and_it_is_said(
    folded: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spent_s: list[float],
    budgets_s: list[float],
    said: dict[int, str],
) -> None:
    now = [0.0]
    monkeypatch.setattr("fovea.training.loop.time.monotonic", lambda: now[0])
    run = Run.create(tmp_path / "run", Recipe())
    settings = recipe("train.folds=3", "train.budget_s=100")
    folds = kfold.Folds(
        run, settings, Manifest.load(folded.manifest_path), Mock(is_global_zero=True), Clock(100, started=0.0), 10.0
    )
    told, spent = [], iter(spent_s)

    def train_one(part: Run, recipe: Recipe, manifest: Manifest, progress: object, *, judging_s: float | None) -> None:
        told.append(recipe.train.budget_s)
        now[0] += next(spent)
        part.write("plan.json", {"complete": True})

    def judge(folds: kfold.Folds, fold: int, part: Run, *rest: object) -> None:
        part.out_of_fold_path.touch()

    monkeypatch.setattr(kfold, "_judge_held_out", judge)
    heard = {}
    for fold in range(3):
        console = Told()
        kfold._train_fold(folds, fold, train_one, console)
        heard[fold] = console.said[1:]  # the first says how many images there are
    assert told == budgets_s
    assert heard == {fold: [said[fold]] if fold in said else [] for fold in range(3)}


def test_folds_keep_the_time_that_judging_took_before_them_and_a_resumed_clock_has_counted_it(
    folded: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("fovea.training.loop.time.monotonic", lambda: now[0])
    shutil.copytree(folded.folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    (run.folder / "plan.json").unlink()
    folds = kfold.Folds(
        run, run.recipe(), Manifest.load(run.manifest_path), Mock(is_global_zero=True), Clock(100, started=0.0), 10.0
    )
    answers_of = evaluating.answers_of

    def slowly(model: object, paths: list[Path], progress: object) -> object:
        now[0] += 2.0 * len(paths)
        return answers_of(model, paths, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluating, "answers_of", slowly)
    kept = []

    def train_one(part: Run, recipe: Recipe, manifest: Manifest, progress: object, *, judging_s: float | None) -> None:
        kept.append(judging_s)
        now[0] += 7.0
        part.write("plan.json", {"complete": True, "elapsed_s": 7.0})

    for fold in range(2):
        (run.fold_path(fold) / "plan.json").unlink()
        kfold._train_fold(folds, fold, train_one, Mock())
    assert kept == [None, 28.0]  # 14 images at 2 s each
    shutil.rmtree(run.fold_path(2))
    assert training._elapsed_s(run) == 2 * (7.0 + 28.0)
    Run.create(run.fold_path(2), run.recipe()).write("plan.json", {"elapsed_s": 3.0})
    assert training._elapsed_s(run) == 2 * (7.0 + 28.0) + 3.0


def test_an_image_that_vanishes_is_named_and_the_rest_is_judged(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    read = training.read_data

    def vanishing(*arguments: object) -> Manifest:
        manifest = read(*arguments)  # type: ignore[arg-type]
        (copy / "plum" / "bild 3.png").unlink()
        return manifest

    monkeypatch.setattr(training, "read_data", vanishing)
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=head", "train.folds=2")
    run = training.train(copy, recipe=settings, out=tmp_path / "run")
    table = pl.read_parquet(run.out_of_fold_path)
    assert table.height == 42
    assert table.filter(pl.col("error").is_not_null())["path"].to_list() == ["plum/bild 3.png"]
    metrics = run.read("report.json")
    assert metrics["n"] == 41
    assert [Path(item["path"]).name for item in metrics["unreadable"]] == ["bild 3.png"]


def test_a_fold_whose_features_are_all_kept_builds_no_frozen_network(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folded: Run
) -> None:
    build = Mock(side_effect=frozen.features_forward)
    monkeypatch.setattr(frozen, "features_forward", build)
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=head", "train.folds=3", "train.ensemble=vote")
    run = training.train(photos, recipe=settings, out=tmp_path / "run")
    assert build.call_count == 2  # the first fold, and the second for what the first held out
    backends = [Run(path).read("plan.json")["decisions"]["backend"] for path in run.fold_paths()]
    assert len(set(backends)) == 1
    assert weights(run) == weights(folded)


def test_what_cannot_be_folded_is_said_before_anything_is_trained(photos: Path, tmp_path: Path) -> None:
    for folds, message in ((43, "train.folds is 43, but there are only 42 images to train on"), (1, "smallest")):
        with pytest.raises(RecipeError, match=message):
            training.train(photos, recipe=recipe("model.from_scratch=true", f"train.folds={folds}"), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_time_of_the_photos_splits_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        name = ("cat", "dog")[number % 2]
        (tmp_path / "fotos" / name).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0132] = f"{datetime.datetime(2024, 5, 1, 10, 19 - number):%Y:%m:%d %H:%M:%S}"
        draw((90, 90, 90), rng).save(tmp_path / "fotos" / name / f"{number}.jpg", exif=exif)
    settings = (f"data.source={tmp_path / 'fotos'}", "data.split_by=time", "model.from_scratch=true")
    manifest = training.read_data(recipe(*settings), Mock())
    assert {Path(path).stem for path in manifest.usable("val")["path"]} == {"0", "1", "2", "3"}
    (finding,) = [finding for finding in manifest.findings if finding.code == "split-made"]
    assert "those from 2024-05-01 10:16:00 on" in finding.message
    folded = training.read_data(recipe(*settings, "train.folds=4"), Mock())
    numbers = [int(Path(path).stem) for path in folded.table["path"]]
    assert folded.table["fold"].to_list() == [(19 - number) // 5 for number in numbers]
