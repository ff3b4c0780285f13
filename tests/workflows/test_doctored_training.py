"""The doctor in fovea's own training: nothing changes, a healthy run hears no word, a broken one what to set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fovea.core.errors import Interrupted
from fovea.core.progress import Silent
from fovea.core.run import Run
from fovea.doctor.finding import Diagnosis
from fovea.doctor.record import Place
from fovea.workflows import training
from fovea.workflows.doctoring import as_finding, in_our_words

from .conftest import recipe

SCRATCH = ("model.from_scratch=true", "train.lr=0.003", "data.audit=false")


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.model_path / "model.safetensors")


def curve(run: Run) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in run.summary()]


def trained(photos: Path, out: Path, *settings: str) -> tuple[Run, list[str]]:
    heard = Heard()
    return training.train(photos, recipe=recipe(*SCRATCH, *settings), out=out, console=heard), heard.said


@pytest.fixture(scope="module")
def watched(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    return trained(photos, tmp_path_factory.mktemp("runs") / "watched", "train.epochs=3")


def test_a_watched_run_is_that_of_an_unwatched_one_bit_for_bit(
    photos: Path, tmp_path: Path, watched: tuple[Run, list[str]]
) -> None:
    run, _ = watched
    alone, _ = trained(photos, tmp_path / "alone", "train.epochs=3", "train.doctor=false")
    assert not list(alone.events("doctor"))
    assert curve(run) == curve(alone)
    ours, theirs = weights(run), weights(alone)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_healthy_run_is_one_event_and_no_word(watched: tuple[Run, list[str]]) -> None:
    run, said = watched
    (event,) = run.events("doctor")
    assert (event["rung"], event["healthy"], event["steps"]) == (
        "full",
        True,
        12,
    )  # 33 images in batches of 8, the last of 9
    assert event["unseen"] == []
    assert 0 < event["overhead_s"] < event["seconds"]
    assert not [line for line in said if "doctor" in line]
    assert not [finding for finding in run.findings() if "rung" in finding.evidence]
    assert not list(run.folder.glob("doctor-*.html"))


def test_resuming_a_watched_run_ends_with_the_same_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: tuple[Run, list[str]]
) -> None:
    calls = iter(range(10_000))

    @contextlib.contextmanager
    def soon(progress: object) -> Iterator[object]:
        yield lambda: next(calls) > 7

    with monkeypatch.context() as patched:
        patched.setattr(training, "stop_on_signal", soon)
        with pytest.raises(Interrupted):
            trained(photos, tmp_path / "run", "train.epochs=3")
    run = training.resume(tmp_path / "run")
    for name, value in weights(watched[0]).items():
        assert torch.equal(value, weights(run)[name]), name
    events = list(run.events("doctor"))
    assert [event["healthy"] for event in events] == [True, True]
    assert sum(event["steps"] for event in events) == 12


def test_what_is_wrong_is_said_recorded_reported_and_shown(photos: Path, tmp_path: Path) -> None:
    run, said = trained(photos, tmp_path / "my run ü", "train.epochs=4", "train.lr=30", "train.optimizer=sgd",
                        "train.clip_norm=0", "train.warmup=0")  # fmt: skip
    (event,) = run.events("doctor")
    assert event["healthy"] is False
    code = event["findings"][0]["code"]
    assert code in ("learning-rate-high", "nan", "exploding-gradient")
    told = [finding for finding in run.findings() if finding.evidence.get("rung") == "full"]
    assert told[0].code == code
    assert told[0].severity == "warning"
    assert "train.lr" in told[0].fix
    assert any(line.startswith("doctor: full: ") and f"[{code}]; {told[0].fix}" in line for line in said)
    assert told[0].message in run.report_path.read_text(encoding="utf-8")
    page = (run.folder / "doctor-full.html").read_text(encoding="utf-8")
    assert "What the doctor saw of full" in page
    assert "Birne grün" in page


def test_findings_are_told_in_fovea_s_words() -> None:
    found = Diagnosis(
        code="overfitting", confidence=0.8, message="_forward_module.fc.weight is odd", fix="edit your code",
        where="_forward_module.fc.weight", evidence={"best": 2},
    )  # fmt: skip
    told = as_finding(in_our_words(found), "tail")
    assert told.message == "tail: fc.weight is odd"
    assert "train.early_stop" in told.fix
    assert told.evidence == {"rung": "tail", "best": 2, "where": "fc.weight", "confidence": 0.8}
    in_code = Diagnosis(code="odd", confidence=1, message="m", fix="f", where=Place("loop.py", 3))
    elsewhere = as_finding(in_our_words(in_code), "full")
    assert "where" not in elsewhere.evidence
    assert elsewhere.fix == "f"
