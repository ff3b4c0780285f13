"""The doctor's page: what it says and shows of a healthy training and of broken ones, whatever they left unseen."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fovea.core.html import render
from fovea.core.report import Detail, Figure, FindingList, Gallery, Report, Section, Table
from fovea.doctor import pictures
from fovea.doctor.diagnosis import EXPLAINS
from fovea.doctor.finding import PROBES, Diagnosis
from fovea.doctor.page import build_page, named, verdict
from fovea.doctor.record import Layer, Loader, Optimiser, Record, Round, Step
from fovea.doctor.script import main
from fovea.doctor.showing import blocks_for, moment
from fovea.doctor.watching import Doctor

from .loops import CLASSES, Training, network, watched


@pytest.fixture(scope="module")
def healthy() -> Doctor:
    return watched(Training(epochs=2))


@pytest.fixture(scope="module")
def blown() -> Doctor:
    """A learning rate that is a hundred times too high."""
    return watched(
        Training(
            build=lambda: network(norm=False),
            optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=5.0, momentum=0.9),
            epochs=2,
        )
    )


def section(page: Report, title: str) -> Section:
    return next(each for each in page.sections if each.title == title)


def captions(each: Section) -> str:
    return " ".join(block.caption for block in each.blocks if isinstance(block, Figure))


def test_a_healthy_training_is_called_so_and_shown(healthy: Doctor) -> None:
    page = build_page(healthy.record, healthy.findings)
    assert page.subtitle == "Sequential: 76 steps, 2 evaluations"
    assert verdict(healthy.record, healthy.findings).startswith("Healthy: nothing was found that harms the training.")
    assert [each.title for each in page.sections] == [
        "Is the training healthy?", *(["What was found"] if healthy.findings else []), "How it went",
        "Inside the network", "First-layer kernels", "Feature maps", "What the network is given", "What it answers",
    ]  # fmt: skip
    assert len(section(page, "How it went").blocks) == 3
    assert len(section(page, "Inside the network").blocks) == 6
    for word in (
        "Activations over time",
        "Gradients over time",
        "as a share of it",
        "norm of each weight's gradient",
        "spread of what each layer",
        "never fires",
    ):
        assert word in captions(section(page, "Inside the network"))
    assert "of 597 images right" in captions(section(page, "What it answers"))


def test_the_batch_is_shown_as_the_network_sees_it_with_its_labels(healthy: Doctor) -> None:
    given = section(build_page(healthy.record, healthy.findings), "What the network is given")
    train, evaluated = [block for block in given.blocks if isinstance(block, Gallery)]
    assert (train.title, evaluated.title) == ("The first images of training", "The first images of evaluation")
    assert len(train.items) == len(evaluated.items) == 24
    seen = healthy.record.galleries["train"]
    assert [item.caption for item in train.items] == [str(label) for label in seen.labels[:24]]
    assert all(item.image is not None and item.image.startswith(b"\x89PNG") for item in train.items)
    (table,) = [block for block in given.blocks if isinstance(block, Table)]
    assert [row[0] for row in table.rows] == ["training", "evaluation"]
    assert table.rows[0][1] == "32 x 1 x 8 x 8"
    assert table.rows[0][3] == pytest.approx(0, abs=0.05)
    assert table.rows[0][4] == pytest.approx(1, abs=0.05)


def test_classes_get_their_names(healthy: Doctor) -> None:
    names = [f"Ziffer <{number}>" for number in range(CLASSES)]
    page = render(build_page(healthy.record, healthy.findings, classes=names))
    assert page.count("Ziffer &lt;3&gt;") > 2
    assert "<3>" not in page


def test_a_finding_says_where_since_when_what_confirms_it_and_shows_it(blown: Doctor) -> None:
    first = blown.findings[0]
    assert first.code == "learning-rate-high"
    page = build_page(blown.record, blown.findings)
    assert verdict(blown.record, blown.findings).startswith("Something harms this training. A step changes the weights")
    (block,) = [each for each in section(page, "What was found").blocks if isinstance(each, FindingList)]
    detail = block.findings[0]
    assert isinstance(detail, Detail)
    assert detail.title == "1. Learning rate too high"
    assert any(isinstance(each, Figure) for each in detail.blocks)
    text = render(page)
    for said in ("How sure", "Confirmed if", first.confirm, "Since", "step 1", first.fix):
        assert said in text
    assert "1 learning rate too high" in captions(section(page, "How it went"))
    assert 'href="#finding-1-learning-rate-high"' in text


def test_what_follows_from_a_cause_stands_with_it(healthy: Doctor) -> None:
    cause = Diagnosis(code="nan", confidence=0.9, message="m", fix="f", chain=("dead-relu: all <b>dead</b>: now",))
    text = render(build_page(healthy.record, [cause]))
    assert "From it follows" in text
    assert "Dead ReLUs" in text
    assert "all &lt;b&gt;dead&lt;/b&gt;: now" in text


def test_the_moment_is_that_of_the_record() -> None:
    def said(code: str, **evidence: object) -> Diagnosis:
        return Diagnosis(code=code, confidence=1, message="", fix="", evidence=evidence)

    losses = [2.3, 2.1, 2.4, 3.6, 90.0]
    record = Record(steps=[Step(loss=loss, stale_gradients=number > 1) for number, loss in enumerate(losses)])
    record.rounds = [Round(step=step, images=10, loss_sum=10 * loss, loss_images=10)
                     for step, loss in ((1, 2.0), (2, 1.5), (3, 1.9))]  # fmt: skip
    record.optimisers = [Optimiser("SGD", [], None, lr=[1.0, 1.0, 0.1], lr_set_at=[2])]
    assert moment(record, said("learning-rate-high")) == 3  # 3.6 is the first above 1.5 x 2.3
    assert moment(record, said("missing-zero-grad")) == 2
    assert moment(record, said("overfitting")) == 2
    assert moment(record, said("schedule-unit")) == 2
    assert moment(record, said("nan", step=4)) == 4
    assert moment(record, said("softmax-before-loss")) == 0
    assert moment(record, said("imbalance")) is None
    assert moment(Record(), said("learning-rate-high")) is None


@pytest.mark.parametrize("code", sorted({entry.name for entry in PROBES} | set(EXPLAINS)))
def test_every_code_is_shown_from_any_record(code: str, healthy: Doctor) -> None:
    finding = Diagnosis(code=code, confidence=0.6, message="m", fix="f", where="4")
    assert named(code)[0].isupper()
    classes = [str(number) for number in range(CLASSES)]
    for record in (Record(), Record(steps=[Step()]), healthy.record):
        moment(record, finding)
        for block in blocks_for(record, finding, classes):
            assert isinstance(block, (Figure, Gallery))


def test_nothing_trained_is_said_on_a_page_too() -> None:
    page = build_page(Record(), [])
    assert [each.title for each in page.sections] == ["Is the training healthy?"]
    assert "No training was seen" in render(page)


def test_an_error_and_what_was_not_seen_are_told() -> None:
    record = Record(steps=[Step(loss=1.0)], unseen=["the layers within Net, which is compiled"], error="ValueError: ü")
    text = render(build_page(record, []))
    assert "It ended with an error: ValueError: ü." in text
    assert "the layers within Net, which is compiled" in text


def test_losses_that_are_no_numbers_are_drawn() -> None:
    record = Record(steps=[Step(loss=loss) for loss in (1.0, float("nan"), float("inf"))])
    drawing = pictures.loss_curve(record, marks={"here": 1}, levels={"guessing": 0.7})
    assert drawing is not None
    assert {"no longer a number", "here", "guessing"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", drawing))
    assert pictures.loss_curve(Record(steps=[Step(loss=float("nan"))])) is None
    assert pictures.accuracy_curve(Record(steps=[Step()])) is None
    assert pictures.rate_curve([]) is None
    assert pictures.label_order(Loader(1, True, False, None)) is None


def test_maps_hold_many_layers_zeros_and_values_that_are_not_finite() -> None:
    rows = {f"block.{number}.conv.weight": ([0, 1, 8], [1e-3, 0.0, float("inf")]) for number in range(200)}
    drawing = pictures.layer_map(rows, usual=1e-3, decades=2, label="x")
    assert drawing is not None
    assert len(drawing) < 60_000
    assert pictures.layer_map({"a": ([0], [0.0])}, usual=None, decades=2, label="x") is None
    silent = Layer("4", "ReLU", {}, steps=[0, 1], fired_at=np.array([-1, 0, 1]))
    units = pictures.unit_map([silent, dataclasses.replace(silent, fired_at=None)])
    assert units is not None
    assert "4 (3)" in units


def test_the_page_of_a_long_training_stays_small() -> None:
    rng = np.random.default_rng(0)
    record = Record(steps=[Step(loss=float(loss), images=8, right=4) for loss in rng.random(20_000)])
    record.optimisers = [Optimiser("SGD", [], None, lr=rng.random(20_000).tolist())]
    assert len(render(build_page(record, []))) < 150_000


def test_write_html_writes_one_file_that_needs_nothing_else(tmp_path: Path, healthy: Doctor) -> None:
    path = tmp_path / "my page ü.html"
    healthy.write_html(path, title="Training <1>")
    text = path.read_text(encoding="utf-8")
    assert "<title>Training &lt;1&gt;</title>" in text
    assert not re.search(r"(?:src|href)=\"https?://", text)
    assert len(text) < 600_000


def test_a_softmax_is_shown_against_the_floor_of_its_loss() -> None:
    doctor = watched(Training(build=lambda: nn.Sequential(*network(), nn.Softmax(1)), epochs=1))
    (figure,) = blocks_for(doctor.record, doctor.findings[0], [])
    assert isinstance(figure, Figure)
    assert "floor of the loss" in str(figure.image)


def test_the_option_of_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mein skript.py"
    script.write_text(
        "import torch\n"
        "model = torch.nn.Linear(4, 2)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for step in range(12):\n"
        "    optimizer.zero_grad()\n"
        "    labels = torch.arange(8) % 2\n"
        "    torch.nn.functional.cross_entropy(model(torch.eye(4).repeat(2, 1)), labels).backward()\n"
        "    optimizer.step()\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["--html", str(tmp_path / "page.html"), str(script)]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What the doctor saw of mein skript.py" in page
    assert "Linear: 12 steps, 0 evaluations" in page
    assert main(["--html", str(script / "page.html"), str(script)]) == 2  # a file is no folder
    assert "error: " in capsys.readouterr().err
