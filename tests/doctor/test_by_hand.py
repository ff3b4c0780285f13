"""Trainings by hand and in stages: switches that are none, heads put in later, masks, and evaluations side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms

from fovea.doctor.watching import Doctor

from .loops import CLASSES, Training, alarms, digits, epoch_by_hand, network, sgd, watched


def codes(doctor: Doctor) -> list[str]:
    return [finding.code for finding in doctor.findings]


@pytest.mark.parametrize("value", [True, False])
def test_a_switch_that_is_none_is_named(value: bool) -> None:
    """`module.requires_grad = True`, or `parameter.require_grad`, is taken without a word and changes nothing."""

    def prepare(model: nn.Module) -> None:
        first = model[0]  # type: ignore[index]
        first.requires_grad_(not value)
        if value:
            first.requires_grad = True
        else:
            first.weight.require_grad = first.bias_.require_grad = False

    def build() -> nn.Module:
        model = network(norm=False)
        model[0].bias_ = model[0].bias
        return model

    doctor = watched(Training(build=build, prepare=prepare))
    found = next(each for each in doctor.findings if each.code == "frozen-parameters")
    assert found.severity == "alarm" and "which is no switch of PyTorch's" in found.message, doctor.text()
    assert ("stayed frozen" in found.message) is value and found.where == "0.weight"


def test_two_networks_are_each_given_their_own_labels() -> None:
    """Two batches go through the network before the loss of the first: its labels are not those of the second."""
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for rows in torch.randperm(1200).split(40):
            scores, others = model(images[rows]), model(images[rows].flip(0))
            optimizer.zero_grad()
            (functional.cross_entropy(scores, labels[rows]) + 0.0 * others.sum()).backward()
            optimizer.step()
    gallery = doctor.record.galleries["train"]
    assert gallery.labels[:40].count(-1) == 0 and gallery.labels[40:80] == [-1] * 40


def test_training_images_evaluated_by_hand_beside_validation_are_no_leak() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            epoch_by_hand(model, optimizer, images[:1200], labels[:1200])
            model.eval()
            with torch.no_grad():
                for part in (images[:1200], images[1200:]):
                    model(part)
    assert "split-leakage" not in codes(doctor), doctor.text()


def test_what_is_learnt_and_never_holds_is_said() -> None:
    """Training at 97 %, validation at guessing, its loss unknown: something else than the digit tells the classes."""

    def marked(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))].clone()
        images[range(len(labels)), 0, 0, labels % 8] = 6.0
        images[range(len(labels)), 0, 7, labels // 8] = 6.0
        return images, labels

    torch.manual_seed(0)
    images, labels = digits()
    shown, told = marked(images[:1200], labels[:1200])
    held, _ = marked(images[1200:], labels[1200:].roll(7))
    model = network(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(6):
            epoch_by_hand(model, optimizer, shown, told)
            model.eval()
            with torch.no_grad():
                (model(held).argmax(1) == labels[1200:]).sum()
    found = [each for each in doctor.findings if each.code == "overfitting"]
    assert found and "no better than always saying the commonest class" in found[0].message, doctor.text()


def masks_of(numbered: str, *, classes: int = 4) -> torch.Tensor:
    """Masks (200, 8, 8) that hold the background and some of the other classes, numbered for all or each for itself."""
    rng = np.random.default_rng(0)
    masks = np.zeros((200, 8, 8), np.int64)
    for mask in masks:
        for place, kind in enumerate(np.flatnonzero(rng.random(classes - 1) < 0.5) + 1):
            mask[2 * place : 2 * place + 2, 2:6] = kind
        if numbered == "each":
            mask[:] = np.searchsorted(np.unique(mask), mask)
    return torch.tensor(masks)


@pytest.mark.parametrize(("numbered", "classes"), [("each", 4), ("all", 4), ("each", 3)])
def test_masks_that_are_numbered_each_for_itself_are_named(numbered: str, classes: int) -> None:
    torch.manual_seed(0)
    masks = masks_of(numbered, classes=classes)
    images = masks[:, None].float() + 0.3 * torch.randn(200, 1, 8, 8)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with Doctor(strict=True) as doctor:
        for start in (*range(0, 200, 10), *range(0, 200, 10)):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[start : start + 10]), masks[start : start + 10]).backward()
            optimizer.step()
    named = "class-map" in alarms(doctor)
    assert named == (numbered == "each" and classes == 4), doctor.text()  # of three, two may lie within one another


@pytest.mark.parametrize("sign", [1, -1])
def test_a_dice_loss_of_the_wrong_sign_is_named(sign: int) -> None:
    torch.manual_seed(0)
    masks = (masks_of("all") > 0).float()[:, None]
    pairs = DataLoader(TensorDataset(masks + 0.3 * torch.randn(200, 1, 8, 8), masks), batch_size=10, shuffle=True)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with Doctor(strict=True) as doctor:
        for _ in range(4):
            for images, wanted in pairs:
                found = model(images)
                optimizer.zero_grad()
                dice = 2 * (found * wanted).sum() / (found.square().sum() + wanted.square().sum())
                (sign * (1 - dice)).backward()
                optimizer.step()
    assert alarms(doctor) == ([] if sign == 1 else ["loss-sign"])
    last = doctor.record.networks[0].on_masks[-1][1]
    assert last > 0.5 if sign == 1 else last < -0.3


def test_pictures_that_are_painted_over_are_not_prepared_in_another_way() -> None:
    """Cutout of half of each picture: training means and spreads are far from those of evaluation."""

    def cutout(batch: torch.Tensor) -> torch.Tensor:
        batch = batch.clone()
        for picture in batch:
            top = int(torch.randint(0, 4, ()))
            picture[:, top : top + 5] = 0.0
        return batch

    found = codes(watched(Training(augment=cutout)))
    assert "train-eval-transform" not in found


@pytest.mark.parametrize("anew", [False, True])
def test_a_head_that_is_put_in_after_the_optimiser_was_built_is_named(anew: bool) -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for stage in range(2):
            if stage:
                model[-1] = nn.Linear(64, CLASSES)
                optimizer = sgd(model) if anew else optimizer
            epoch_by_hand(model, optimizer, images[:1200], labels[:1200])
    assert ("optimizer-misses-parameters" in alarms(doctor)) is not anew, doctor.text()


def test_milestones_of_epochs_that_pass_within_the_first_one_are_named() -> None:
    def steps(optimizer: torch.optim.Optimizer) -> Any:
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 3], gamma=0.1)

    doctor = watched(Training(scheduler=steps, epochs=4))
    found = next(each for each in doctor.findings if each.code == "schedule-unit")
    assert "has fallen to 1.0 % of its peak by step 3" in found.message and found.severity == "alarm"


def test_a_test_by_hand_after_each_validation_is_an_evaluation_of_its_own() -> None:
    """Labels of validation are shifted by one; those of the test, which only a comparison tells, are right."""
    torch.manual_seed(0)
    images, labels = digits()
    train = DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=32, shuffle=True)
    held = DataLoader(TensorDataset(images[1200:1400], (labels[1200:1400] + 1) % 10), batch_size=100)
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            model.train()
            for batch, target in train:
                optimizer.zero_grad()
                functional.cross_entropy(model(batch), target).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for batch, target in held:
                    functional.cross_entropy(model(batch), target)
        with torch.no_grad():
            (torch.cat([model(part) for part in images[1400:].split(100)]).argmax(1) == labels[1400:]).sum()
    assert [(each.images, each.judged) for each in doctor.record.rounds] == [(200, 200)] * 3 + [(397, 397)]
    assert doctor.record.rounds[-1].accuracy > 0.9 and math.isnan(doctor.record.rounds[-1].loss)
    assert alarms(doctor)[:1] == ["class-map"], doctor.text()


@pytest.mark.parametrize(("last", "several"), [(nn.Softmax(1), True), (nn.Softmax(1), False), (nn.Sigmoid(), True)])
def test_one_yes_shared_among_several_labels_is_named(last: nn.Module, several: bool) -> None:
    torch.manual_seed(0)
    wanted = functional.one_hot(torch.arange(400) % 4, 4).float()
    if several:
        wanted = ((wanted + wanted.roll(7, 0)) > 0).float()
    images = wanted @ torch.randn(4, 64) + 0.1 * torch.randn(400, 64)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4), last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with Doctor(strict=True) as doctor:
        for rows in torch.arange(400).repeat(6).split(40):
            optimizer.zero_grad()
            functional.binary_cross_entropy(model(images[rows]), wanted[rows]).backward()
            optimizer.step()
    assert alarms(doctor) == (["wrong-head"] if several and isinstance(last, nn.Softmax) else []), doctor.text()


@pytest.mark.parametrize("known", ["as a transform", "by hand", "not at all"])
def test_a_flip_that_makes_one_class_of_another_is_named(known: str) -> None:
    """Noisy wedges that point left, right, up or down: single pictures tell too little for a comparison of pictures."""
    torch.manual_seed(0)
    labels = torch.arange(1600) % 4
    wedge = torch.linspace(-1, 1, 16).expand(16, 16)
    kinds = torch.stack([wedge, -wedge, wedge.T, -wedge.T])
    images = (kinds[labels] + 1.5 * torch.randn(1600, 16, 16))[:, None]

    class Wedges(Dataset[Any]):
        transform = transforms.Compose([transforms.RandomHorizontalFlip()]) if known == "as a transform" else None

        def __len__(self) -> int:
            return 1200

        def __getitem__(self, place: int) -> Any:
            flipped = known == "by hand" and torch.rand(()) < 0.5
            image = self.transform(images[place]) if self.transform else images[place]
            return (image.flip(2) if flipped else image), labels[place]

    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    held = DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=100)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            for batch, truths in DataLoader(Wedges(), batch_size=40, shuffle=True):
                optimizer.zero_grad()
                functional.cross_entropy(model(batch), truths).backward()
                optimizer.step()
            with torch.no_grad():
                for batch, truths in held:
                    functional.cross_entropy(model(batch), truths)
    assert alarms(doctor) == ([] if known == "not at all" else ["label-changing-augmentation"]), doctor.text()


def test_gradients_that_are_cleared_before_the_step_are_named() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for rows in torch.randperm(1200).split(40):
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.zero_grad(set_to_none=False)
            optimizer.step()
    assert alarms(doctor)[:1] == ["missing-zero-grad"], doctor.text()
    assert "cleared between the backward pass and the step" in doctor.findings[0].message


def test_gradients_that_come_as_zeros_were_not_cleared() -> None:
    doctor = watched(Training(loss=lambda scores, labels: functional.cross_entropy(0 * scores, labels), epochs=1))
    assert doctor.record.optimisers[0].samples >= 3 and doctor.record.optimisers[0].cleared == 0
    assert "missing-zero-grad" not in alarms(doctor), doctor.text()


def test_a_warm_up_by_steps_that_is_moved_on_by_epochs_is_named() -> None:
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 500))
    with Doctor(strict=True) as doctor:
        for _ in range(4):
            epoch_by_hand(model, optimizer, images[:800], labels[:800])
            warm.step()
            model.eval()
            with torch.no_grad():
                functional.cross_entropy(model(images[1200:]), labels[1200:])
    assert alarms(doctor)[:1] == ["schedule-unit"], doctor.text()
    assert "once an epoch" in doctor.findings[0].message


@pytest.mark.parametrize(("twice", "expected"), [(True, ["decision-threshold"]), (False, [])])
def test_a_second_sigmoid_is_named_though_numpy_counts_the_answers(twice: bool, expected: list[str]) -> None:
    torch.manual_seed(0)
    images, labels = digits()
    even = (labels % 2 == 0).float()
    model = nn.Sequential(*list(network(dropout=0.0))[:-1], nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            model.train()
            for rows in torch.randperm(1200).split(40):
                optimizer.zero_grad()
                functional.binary_cross_entropy_with_logits(model(images[rows])[:, 0], even[rows]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                chances = torch.cat([torch.sigmoid(model(part)[:, 0]) for part in images[1200:].split(100)])
                answers = (torch.sigmoid(chances) if twice else chances).numpy() >= 0.5
            assert answers.shape == (597,)
    assert alarms(doctor) == expected, doctor.text()


class Recurrent(nn.Module):
    """Reads an image row by row, and may cut the graph between them."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__()
        self.cell, self.head, self.cut = nn.GRUCell(8, 48), nn.Linear(48, CLASSES), cut

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        state = images.new_zeros(len(images), 48)
        for row in images.mean(dim=1).unbind(dim=1):
            state = self.cell(row, state.detach() if self.cut else state)
        return self.head(state)


@pytest.mark.parametrize(("cut", "expected"), [(True, ["detached-graph"]), (False, [])])
def test_a_graph_that_is_cut_from_turn_to_turn_is_named(cut: bool, expected: list[str]) -> None:
    doctor = watched(
        Training(build=lambda: Recurrent(cut=cut), optimizer=lambda model: torch.optim.Adam(model.parameters(), 3e-3))
    )
    found = [code for code in alarms(doctor) if code == "detached-graph"]
    assert found == expected, doctor.text()
    if cut:
        assert doctor.findings[0].where == "cell" and "a gradient comes back to 1 of them" in doctor.findings[0].message


def test_pytorchs_own_functions_are_scripted_while_the_doctor_listens() -> None:
    def same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return torch.eq(torch.sigmoid(one), torch.sigmoid(other))

    with Doctor(strict=True):
        during = torch.jit.script(same)(torch.zeros(2), torch.zeros(2))
    assert during.all() and torch.jit.script(same)(torch.zeros(2), torch.zeros(2)).all()
