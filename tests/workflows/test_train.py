"""The main job, whole: images in, a run folder with a usable model and a report out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import fovea
from fovea.core.errors import DataError, FoveaError, Interrupted, ModelError, RunError, UnknownName
from fovea.core.run import Run
from fovea.data import scanning
from fovea.training.checkpoints import read_checkpoint
from fovea.workflows import stopping, training
from fovea.workflows.evaluating import evaluate
from fovea.workflows.loading import load
from fovea.workflows.predicting import find_images, predict

from .conftest import COLOURS, draw, recipe


@pytest.fixture(scope="module")
def scratch_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "scratch run"
    settings = recipe("model.from_scratch=true", "train.epochs=8", "train.lr=0.003")
    return training.train(photos, recipe=settings, out=out)


def test_a_run_holds_everything_a_later_verb_needs(scratch_run: Run) -> None:
    names = {path.name for path in scratch_run.folder.iterdir()}
    assert names >= {
        "recipe.yaml", "manifest.parquet", "plan.json", "events.jsonl", "summary.csv",
        "findings.json", "checkpoints", "model", "report.html", "report.json",
    }  # fmt: skip
    assert len(scratch_run.summary()) == 8
    metrics = json.loads((scratch_run.folder / "report.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] > 0.7
    assert metrics["split"] == "val"


def test_the_truncated_file_is_named_left_out_and_counted(scratch_run: Run) -> None:
    (finding,) = [item for item in scratch_run.findings() if item.code == "unreadable"]
    assert finding.files == ("plum/broken.jpg",)
    assert "broken.jpg" in scratch_run.report_path.read_text(encoding="utf-8")
    assert fovea.load(scratch_run.folder).classes == ("apple red", "Birne grün", "plum")


def test_the_model_folder_loads_in_timm_with_the_same_logits(scratch_run: Run) -> None:
    ours = load(scratch_run.folder)
    theirs = timm.create_model(f"local-dir:{scratch_run.model_path}", pretrained=True).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(theirs(images), ours.model.to(memory_format=torch.contiguous_format)(images))


def test_predictions_equal_the_evaluations_to_the_last_digit(scratch_run: Run, photos: Path, tmp_path: Path) -> None:
    from fovea.data.manifest import Manifest

    manifest = Manifest.load(scratch_run.manifest_path)
    rows = manifest.usable("val")
    metrics = evaluate(scratch_run.folder)
    tally = predict(
        scratch_run.folder, [photos / path for path in reversed(rows["path"].to_list())],
        format="json", output=tmp_path / "p.json", top_k=3,
    )  # fmt: skip
    assert (tally.done, tally.failed) == (rows.height, 0)
    answers = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))[::-1]
    right = [
        answer["label"] == manifest.classes[target] for answer, target in zip(answers, rows["target"], strict=True)
    ]
    assert np.mean(right) == metrics["accuracy"]
    model = load(scratch_run.folder)
    probabilities = [found for _, found in model.probabilities(manifest.paths(rows))]
    losses = [-np.log(found[target]) for found, target in zip(probabilities, rows["target"], strict=True)]
    assert np.mean(losses) == pytest.approx(metrics["log_loss"], rel=1e-12)
    assert [answer["probability"] for answer in answers] == [float(found.max()) for found in probabilities]


def test_prediction_goes_past_bad_files(scratch_run: Run, photos: Path, tmp_path: Path) -> None:
    tally = predict(scratch_run.folder, [photos / "plum"], format="csv", output=tmp_path / "p.csv")
    assert (tally.done, tally.failed) == (14, 1)
    assert "truncated" in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_globs_folders_and_nothing(photos: Path, tmp_path: Path) -> None:
    assert len(list(find_images([f"{photos}/*/*.png"]))) == 21
    assert len(list(find_images([photos]))) == 43
    with pytest.raises(DataError, match="nothing matches"):
        find_images([tmp_path / "none*.jpg"])


def test_other_data_is_matched_by_class_name(scratch_run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("plum", "apple red", "never seen"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(3):
            draw(COLOURS.get(name, (0, 0, 0)), rng).save(tmp_path / "other" / name / f"{number}.png")
    metrics = evaluate(scratch_run.folder, data=tmp_path / "other")
    assert metrics["n"] == 6
    assert metrics["excluded"] == 3
    assert (scratch_run.folder / "report-other.html").exists()
    assert scratch_run.read("report.json")["split"] == "val"


def test_a_single_image_is_predicted_from_any_form(scratch_run: Run, photos: Path) -> None:
    model = fovea.load(scratch_run.folder)
    path = photos / "plum" / "bild 1.png"
    forms = [path, str(path), path.read_bytes(), Image.open(path), np.asarray(Image.open(path))]
    answers = [model.predict(form).probabilities for form in forms]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_an_evaluation_of_an_empty_split_says_which_there_are(scratch_run: Run) -> None:
    with pytest.raises(DataError, match="no usable image in the split 'test'") as error:
        evaluate(scratch_run.folder, split="test")
    assert error.value.hint == "choose --split train or val"


@pytest.mark.parametrize("strategy", ["head", "tail", "full"])
def test_every_rung_ends_with_a_model_that_timm_loads(
    photos: Path, tiny_weights: Path, tmp_path: Path, strategy: str
) -> None:
    settings = recipe(f"model.weights={tiny_weights}", f"train.strategy={strategy}", "train.epochs=2", "train.views=2")
    run = training.train(photos, recipe=settings, out=tmp_path / "run")
    rungs = [entry["name"] for entry in run.read("plan.json")["rungs"]]
    assert rungs == (["head"] if strategy == "head" else ["head", strategy])
    assert run.read("report.json")["accuracy"] > 0.6
    model = timm.create_model(f"local-dir:{run.model_path}", pretrained=True).eval()
    model = model.to(memory_format=torch.channels_last)  # as fovea predicts; other kernels round in another way
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(model(images), load(run.model_path).model(images))


def test_the_delivered_model_scores_what_the_best_rung_scored(photos: Path, tiny_weights: Path, tmp_path: Path) -> None:
    """The folded network that was trained and the unfolded one that is saved are the same function."""
    settings = recipe(f"model.weights={tiny_weights}", "train.strategy=full", "train.epochs=3")
    run = training.train(photos, recipe=settings, out=tmp_path / "run")
    best = max(run.read("plan.json")["rungs"], key=lambda entry: (entry["val_accuracy"], -entry["val_loss"]))
    metrics = run.read("report.json")
    assert metrics["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(best["val_loss"], rel=2e-3)


@pytest.mark.slow
def test_the_statistics_of_the_weights_are_kept_or_adapted_as_asked(
    photos: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    before = load_file(tiny_weights / "model.safetensors")["bn1.running_mean"]
    for bn, same in (("frozen", True), ("update", False)):
        settings = recipe(
            f"model.weights={tiny_weights}", "train.strategy=full", "train.epochs=1", f"train.bn={bn}",
            "train.interpolate=false", "train.ema_decay=0",
        )  # fmt: skip
        run = training.train(photos, recipe=settings, out=tmp_path / bn)
        if bn == "update":  # what was trained, whether or not it is what was delivered
            (path,) = run.checkpoints_path.glob("after_full-*")
            state = read_checkpoint(path)
            assert state is not None
            after = state["module"]["bn1.running_mean"]
        else:
            after = load_file(run.model_path / "model.safetensors")["bn1.running_mean"]
        assert torch.equal(before, after) is same


def test_a_stop_before_the_first_rung_ends_leaves_a_usable_model(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(10_000))

    @contextlib.contextmanager
    def soon(progress: object) -> Iterator[object]:
        yield lambda: next(calls) > 1

    monkeypatch.setattr(training, "stop_on_signal", soon)
    with pytest.raises(Interrupted, match="stopped by the user") as error:
        training.train(photos, recipe=recipe(f"model.weights={tiny_weights}"), out=tmp_path / "run")
    assert f"fovea resume {tmp_path / 'run'}" in error.value.hint
    assert load(tmp_path / "run").predict(photos / "plum" / "bild 1.png").label in COLOURS


def test_several_labels_an_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["path,label"]
    for number in range(30):
        labels = ["red"] * (number % 2) + ["big"] * (number % 3 == 0) or ["none"]
        draw((200 if "red" in labels else 40, 60, 60), rng, size=(80, 80) if "big" in labels else (30, 30)).save(
            tmp_path / f"{number}.png"
        )
        lines.append(f"{number}.png,{'|'.join(labels)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = recipe("model.from_scratch=true", "train.epochs=2")
    run = training.train(tmp_path / "labels.csv", recipe=settings, out=tmp_path / "run")
    assert run.read("report.json")["multilabel"]
    assert load(run.folder).threshold == 0.5


def test_what_people_get_wrong_is_said_plainly(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        training.train(tmp_path / "empty", out=tmp_path / "r1")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    draw((1, 2, 3), np.random.default_rng(0)).save(tmp_path / "one" / "cat" / "a.png")
    with pytest.raises(DataError, match="class"):
        training.train(tmp_path / "one", recipe=recipe("model.from_scratch=true"), out=tmp_path / "r2")
    with pytest.raises(UnknownName, match="unknown optimizer 'adamm'"):
        training.train(photos, recipe=recipe("train.optimizer=adamm"), out=tmp_path / "r3")
    with pytest.raises(ModelError, match="no weights at"):
        training.train(photos, recipe=recipe("model.weights=nowhere"), out=tmp_path / "r4")
    assert not [folder for folder in tmp_path.glob("r?") if folder.exists()]


@pytest.mark.parametrize(
    ("settings", "out", "message"),
    [
        ("model.weights={tmp}/nowhere", "run", "no weights at"),
        ("model.weights={tmp}/empty", "run", "is not a model folder: it has no config.json"),
        ("model.name=resnet1", "run", "unknown network 'resnet1'"),
        ("model.from_scratch=true", "a file", "a file is a file, expected a folder"),
        ("model.from_scratch=true", "a file/run", "a file is no folder"),
        ("model.from_scratch=true", "closed/run", "cannot write to .*closed: permission denied"),
        ("model.from_scratch=true", "done", "done already holds a run"),
    ],
)
def test_what_can_be_wrong_beside_the_data_is_said_before_a_file_is_opened(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, out: str, message: str
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir()
    Run.create(tmp_path / "done", recipe())
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "closed" and real(path, mode))  # for root
    monkeypatch.setattr(scanning, "see", lambda *_, **__: pytest.fail("a file was opened"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FoveaError, match=message) as error:
        training.train(photos, recipe=recipe(settings.format(tmp=tmp_path)), out=tmp_path / out)
    assert error.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stop_before_the_run_is_made_says_what_is_remembered(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter([*[False] * 9, *[True] * 99])

    @contextlib.contextmanager
    def stop_on_signal(progress: object) -> Iterator[Callable[[], bool]]:
        yield lambda: next(asked)

    monkeypatch.setattr(stopping, "stop_on_signal", stop_on_signal)
    for path in photos.rglob("*.*"):
        os.utime(path, (1.7e9, 1.7e9))
    with pytest.raises(Interrupted, match="reading images; 10 of 43 files are remembered") as error:
        training.train(photos, recipe=recipe("model.from_scratch=true"), out=tmp_path / "run")
    assert error.value.hint == "the same command goes on from there"
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(scratch_run: Run, photos: Path) -> None:
    with pytest.raises(RunError, match="already holds a run"):
        training.train(photos, recipe=recipe("model.from_scratch=true"), out=scratch_run.folder)


def test_show_recipe_names_what_was_chosen(photos: Path, tiny_weights: Path) -> None:
    resolved = training.resolve(photos, recipe(f"model.weights={tiny_weights}"))
    assert (resolved.model.name, resolved.train.bn) == ("resnet10t", "frozen")
    scratch = training.resolve(photos, recipe("model.from_scratch=true"))
    assert (scratch.data.input_size, scratch.train.bn) == (32, "update")


def test_files_that_vanish_after_reading_are_named_and_training_goes_on(
    photos: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    read = training.read_data

    def vanishing(*arguments: object) -> object:
        manifest = read(*arguments)  # type: ignore[arg-type]
        (copy / "plum" / "bild 3.png").unlink()
        return manifest

    monkeypatch.setattr(training, "read_data", vanishing)
    for strategy in ("head", "tail", "full"):
        shutil.copy(photos / "plum" / "bild 3.png", copy / "plum" / "bild 3.png")
        settings = recipe(f"model.weights={tiny_weights}", f"train.strategy={strategy}", "train.epochs=1")
        monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / f"cache {strategy}"))
        run = training.train(copy, recipe=settings, out=tmp_path / strategy)
        named = [path for item in run.findings() if item.code == "unreadable" for path in item.files]
        assert str(copy / "plum" / "bild 3.png") in named
