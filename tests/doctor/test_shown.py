"""Accuracies and F1 that a script prints, held against what the network answered."""

# ruff: noqa: T201 - what is printed is what these tests are about

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from fovea.doctor.shown import figures_in
from fovea.doctor.watching import Doctor

from .loops import alarms, digits, network

Show = Callable[[np.ndarray, np.ndarray], object]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Epoch 03 train_loss=0.3 val_loss=.4 val_acc=0.876", [("accuracy", "eval", 0.876)]),
        ("train acc 0.91 | val acc: 87.5%", [("accuracy", "train", 0.91), ("accuracy", "eval", 0.875)]),
        ("trainAcc 0.8 valAcc 0.7", [("accuracy", "train", 0.8), ("accuracy", "eval", 0.7)]),
        ("Accuracy of the network on the 10000 test images: 54 %", [("accuracy", "eval", 0.54)]),
        ("Test set: Average loss: 0.1, Accuracy: 45/50 (90%)", [("accuracy", "eval", 0.9)]),
        ("{'eval_loss': 0.3, 'eval_f1_score': 0.165, 'epoch': 2}", [("f1", "eval", 0.165)]),
        ("│         test_acc          │    0.9322     │", [("accuracy", "eval", 0.9322)]),
        ("    accuracy                           0.93       360", [("accuracy", None, 0.93)]),
        ("acc: tensor(0.93), final F1 0.310", [("accuracy", None, 0.93), ("f1", None, 0.31)]),
        ("acc 1 of 4", [("accuracy", None, 0.25)]),
        ("acc@1 75.3 acc@5 92.1", [("accuracy", None, 0.753)]),
        ("top-5 acc 0.99, balanced accuracy 0.7, Accuracy for class: plane is 30 %", []),
        ("mean acc 0.5, kNN accuracy 0.9, best val acc 0.8, accurate 3, FAcc 2, accuracy 250", []),
        ("", []),
    ],
)
def test_figures_are_read_as_people_write_them(line: str, told: list[tuple[str, str | None, float]]) -> None:
    assert [(each.kind, each.phase, pytest.approx(each.value)) for each in figures_in(line)] == told


def trained(show: Show, *, binary: bool = False, mse: bool = False, first: int = 1200, batch_size: int = 100) -> Doctor:
    """Train on digits, and show somebody's own figure of 597 others, of which NumPy has computed all."""
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    if binary:
        labels = (labels < 3).float()
        model[-1] = nn.Sequential(nn.Linear(64, 1), nn.Flatten(0))
    loss_of = functional.cross_entropy
    if binary:
        loss_of = functional.mse_loss if mse else functional.binary_cross_entropy_with_logits
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    held = DataLoader(TensorDataset(images[first:], labels[first:]), batch_size=batch_size)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            model.train()
            for batch, target in DataLoader(TensorDataset(images[:first], labels[:first]), 40, shuffle=True):
                optimizer.zero_grad()
                loss_of(model(batch), target).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                pairs = [(model(batch).numpy(), target.numpy()) for batch, target in held]
            show(*(np.concatenate(each) for each in zip(*pairs, strict=True)))
    return doctor


def log(scores: np.ndarray, labels: np.ndarray) -> None:
    """Say it by a logger that writes to the error stream, of answers with another map of classes."""
    logger = logging.getLogger("own")
    logger.propagate = False
    logger.handlers = [logging.StreamHandler(sys.stderr)]
    logger.warning("acc=%.3f", (scores.argmax(1) == 9 - labels).mean())


def f1(told: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (told & true).sum() / max(1, told.sum() + true.sum()))


@pytest.mark.parametrize(
    "show",
    [
        lambda scores, labels: print(f"val acc {(scores[::-1].argmax(1) == labels).mean():.3f}"),
        lambda scores, labels: print("accuracy:", f"{100 * (scores.argmin(1) == labels).mean():.2f}", "%"),
        log,
    ],
    ids=["another order", "argmin, in pieces", "a logger"],
)
def test_an_accuracy_that_is_not_that_of_the_scores_is_named(show: Show) -> None:
    doctor = trained(show)
    assert alarms(doctor)[:1] == ["metric-wrong"], doctor.text()
    finding = doctor.findings[0]
    assert "printed" in finding.message and "597 images" in finding.message
    assert str(finding.where).partition(":")[0].endswith("test_shown.py")
    assert finding.evidence["of_scores"] == doctor.record.rounds[-1].accuracy > 0.9
    assert len([code for code in alarms(doctor) if code == "metric-wrong"]) == 1


@pytest.mark.parametrize(
    ("show", "code"),
    [
        (lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).sum() / 700:.4f}"), "metric-averaging"),
        (lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).sum() / 600:.4f}"), None),
        (lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).sum() / 1200:.4f}"), "metric-wrong"),
        (lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).sum() / 500:.4f}"), "metric-wrong"),
    ],
    ids=["batches of 100, the last of 1", "nearly right", "the number of training images", "too few"],
)
def test_right_answers_that_are_divided_by_another_number(show: Show, code: str | None) -> None:
    doctor = trained(show, first=1196 if code == "metric-averaging" else 1200)
    assert alarms(doctor) == ([code] if code else []), doctor.text()


def test_scores_near_zero_and_one_that_are_cut_as_logits_are_named() -> None:
    doctor = trained(
        lambda scores, labels: print(f"test accuracy {((scores > 0) == labels).mean():.3f}"), binary=True, mse=True
    )
    assert alarms(doctor)[:1] == ["decision-threshold"], doctor.text()
    assert "threshold for another kind of scores" in doctor.findings[0].message


@pytest.mark.parametrize(
    "show",
    [
        lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).mean():.3f}"),
        lambda scores, labels: print(f"train acc {0.1} loss {0.3}"),
        lambda scores, labels: print(f"acc {0.1} of the worst class, top-5 acc 0.99"),
        lambda scores, labels: print(f"exact acc {0.0}, balanced accuracy 0.2"),
        lambda scores, labels: print("acc\n0.1"),
        lambda scores, labels: print(f"val acc {(scores.argmax(1) == labels).mean():.3f}, in 8 bits: val acc 0.4"),
        lambda scores, labels: (print(f"val acc {(scores.argmax(1) == labels).mean():.3f}"), print("rotated acc 0.9")),
    ],
)
def test_other_figures_are_no_alarm(show: Show) -> None:
    doctor = trained(show)
    assert doctor.healthy, doctor.text()


def test_f1_of_batches_is_told_from_f1_of_all() -> None:
    doctor = trained(lambda scores, labels: print(f"val F1 {f1(scores > 0, labels > 0):.4f}"), binary=True)
    assert doctor.healthy, doctor.text()
    images, labels = digits()
    torch.manual_seed(0)
    model = network()
    model[-1] = nn.Sequential(nn.Linear(64, 1), nn.Flatten(0))
    targets = (labels < 3).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    rows = 1200 + targets[1200:].argsort(stable=True)  # few batches hold both
    held = DataLoader(TensorDataset(images[rows], targets[rows]), batch_size=60)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for batch, target in DataLoader(TensorDataset(images[:1200], targets[:1200]), 40, shuffle=True):
                optimizer.zero_grad()
                functional.binary_cross_entropy_with_logits(model(batch), target).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                each = [f1(model(batch).numpy() > 0, target.numpy() > 0) for batch, target in held]
            print(f"val F1 {np.mean(each):.4f}")
    assert alarms(doctor)[:1] == ["metric-averaging"], doctor.text()
    assert "10 batches" in doctor.findings[0].message and "597 images" in doctor.findings[0].message


def test_f1_of_batches_may_count_the_classes_that_they_lack() -> None:
    """As scikit-learn's f1_score does when it is given all labels: here each batch lacks some."""

    def in_tens(scores: np.ndarray, labels: np.ndarray) -> None:
        each = [
            f1_score(labels[rows], scores[rows].argmax(1), average="macro", labels=range(10), zero_division=0)
            for rows in np.array_split(np.arange(len(labels)), range(12, len(labels), 12))
        ]
        print(f"macro F1 {np.mean(each):.4f}")

    doctor = trained(in_tens, batch_size=12)
    assert alarms(doctor) == ["metric-averaging"], doctor.text()


def test_streams_get_all_that_is_written_and_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with Doctor(strict=True) as doctor:
        print("val acc", 0.5, end="")
        print(" unfinished\rval acc 0.25\né日本 " + "x" * 5000, file=sys.stdout)
        print("val acc 0.75", file=sys.stderr)
        other = threading.Thread(target=print, args=("val acc 0.125",))
        other.start()
        other.join()
    print("val acc 1.0")
    assert out.getvalue() == (
        "val acc 0.5 unfinished\rval acc 0.25\né日本 " + "x" * 5000 + "\nval acc 0.125\nval acc 1.0\n"
    )
    assert err.getvalue() == "val acc 0.75\n"
    assert "write" not in vars(out) | vars(err)
    assert [value for shown in doctor.record.shown for _, value in shown.values] == [0.5, 0.25, 0.75]
