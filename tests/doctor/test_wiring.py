"""Trainings whose fault, or whose soundness, lies in how their parts are put together: several optimisers and networks,
copies of weights, targets that are places, stages.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler, TensorDataset
from torchvision import transforms

from fovea.doctor.watching import Doctor

from .loops import CLASSES, alarms, digits, epoch_by_hand, network, sgd


def loaders() -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Digits to train on and to evaluate."""
    torch.manual_seed(0)
    images, labels = digits()
    return (
        DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=200),
    )


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader[Any]) -> None:
    model.eval()
    for images, labels in loader:
        functional.cross_entropy(model(images), labels)


def codes(doctor: Doctor) -> list[str]:
    return [finding.code for finding in doctor.findings]


def test_of_two_optimisers_the_one_that_is_not_cleared_is_named() -> None:
    train, held = loaders()
    body, head = network()[:7], network()[7:]
    of_body, of_head = (torch.optim.SGD(part.parameters(), lr=0.01, momentum=0.9) for part in (body, head))
    with Doctor(strict=True) as doctor:
        for images, labels in train:
            of_head.zero_grad()
            functional.cross_entropy(head(body(images)), labels).backward()
            of_body.step()
            of_head.step()
        evaluate(nn.Sequential(body, head), held)
    assert alarms(doctor)[:1] == ["missing-zero-grad"], doctor.text()
    assert doctor.findings[0].evidence["steps"] == len(train) - 1


def averaged(*, with_buffers: bool) -> Doctor:
    """Evaluate a copy whose weights follow those of the network."""
    train, held = loaders()
    model = network()
    teacher, optimizer = copy.deepcopy(model), sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for images, labels in train:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
                with torch.no_grad():
                    for mine, theirs in zip(teacher.parameters(), model.parameters(), strict=True):
                        mine.lerp_(theirs, 0.1)
                    if with_buffers:
                        for mine, theirs in zip(teacher.buffers(), model.buffers(), strict=True):
                            mine.copy_(theirs)
            evaluate(teacher, held)
    return doctor


def test_an_averaged_copy_without_its_statistics_is_named() -> None:
    doctor = averaged(with_buffers=False)
    assert alarms(doctor)[:1] == ["batchnorm-mode"], doctor.text()
    assert doctor.findings[0].evidence["layers"] == ["1"]
    assert alarms(averaged(with_buffers=True)) == []


def test_gathering_statistics_for_averaged_weights_is_no_evaluation_in_training_mode() -> None:
    train, held = loaders()
    model = network(dropout=0.0)
    mean, optimizer = AveragedModel(model), sgd(model)
    with Doctor(strict=True) as doctor:
        for _ in range(2):
            model.train()
            for images, labels in train:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            mean.update_parameters(model)
        update_bn(train, mean)
        evaluate(mean, held)
    assert alarms(doctor) == [], doctor.text()


def test_two_heads_on_one_line_are_two_losses() -> None:
    train, held = loaders()
    body, ten, two = network()[:9], nn.Linear(64, CLASSES), nn.Linear(64, 2)
    optimizer = sgd(nn.ModuleList([body, ten, two]))
    with Doctor(strict=True) as doctor:
        for images, labels in train:
            optimizer.zero_grad()
            seen = body(images)
            loss = functional.cross_entropy(ten(seen), labels) + functional.cross_entropy(two(seen), labels % 2)
            loss.backward()
            optimizer.step()
        evaluate(nn.Sequential(body, ten), held)
    assert alarms(doctor) == [], doctor.text()
    assert sorted(loss.classes or 0 for loss in doctor.record.losses if loss.phase == "train") == [2, 10]


def test_a_reward_beside_a_loss_is_no_flipped_sign() -> None:
    """Policy gradient: the total falls below zero, while the loss in it counts as it should."""
    train, _ = loaders()
    body, policy, value = network()[:9], nn.Linear(64, CLASSES), nn.Linear(64, 1)
    optimizer = torch.optim.Adam(nn.ModuleList([body, policy, value]).parameters(), lr=1e-3)
    with Doctor(strict=True) as doctor:
        for images, labels in train:
            seen = body(images)
            choices = torch.distributions.Categorical(logits=policy(seen))
            said = choices.sample()
            reward, baseline = (said == labels).float(), value(seen)[:, 0]
            gain = -10 - choices.entropy().mean() - (choices.log_prob(said) * (reward - baseline.detach())).mean()
            optimizer.zero_grad()
            (gain + 0.5 * functional.mse_loss(baseline, reward)).backward()
            optimizer.step()
    assert "loss-sign" not in codes(doctor), doctor.text()


class Boxed(Dataset[Any]):
    """Pictures with a bright square and its box."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 64

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rng = np.random.default_rng(row)
        picture, (left, top) = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8), rng.integers(0, 22, 2)
        picture[top : top + 10, left : left + 10] = 220
        box = torch.tensor([[left, top, left + 10, top + 10]], dtype=torch.float32)
        return self.transform(Image.fromarray(picture)), {"boxes": box}


class Detector(nn.Module):
    """Puts out nothing but its loss in training, as torchvision's detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 15, 4))

    def forward(self, images: list[torch.Tensor], targets: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        boxes = self.net(torch.stack(images))
        return {"loss": functional.smooth_l1_loss(boxes, torch.cat([each["boxes"] for each in targets]) / 32)}


def detected(*random: Any) -> Doctor:
    """Train a detector on pictures that are changed at random."""
    steps = [*random, transforms.ToTensor(), transforms.Normalize([0.4] * 3, [0.25] * 3)]
    torch.manual_seed(0)
    loader = DataLoader(
        Boxed(transforms.Compose(steps)),
        batch_size=8,
        collate_fn=lambda rows: tuple(map(list, zip(*rows, strict=True))),
    )
    model = Detector()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Doctor(strict=True) as doctor:
        for images, targets in loader:
            optimizer.zero_grad()
            model(images, targets)["loss"].backward()
            optimizer.step()
    return doctor


def test_pictures_that_are_flipped_without_their_boxes_are_named() -> None:
    doctor = detected(transforms.RandomHorizontalFlip())
    assert alarms(doctor)[:1] == ["label-changing-augmentation"], doctor.text()
    assert "RandomHorizontalFlip" in doctor.findings[0].message and "boxes" in doctor.findings[0].message
    assert "label-changing-augmentation" not in codes(detected(transforms.ColorJitter(0.2)))


def test_what_a_detector_is_given_is_seen_though_it_puts_out_only_its_loss() -> None:
    record = detected().record
    assert sum(step.images for step in record.steps) == 64
    assert record.batches[0].shape == (8, 3, 32, 32)
    assert record.unseen == []


def photos(which: int) -> torch.Tensor:
    """Parts of one of scikit-learn's two sample photos that do not overlap, (60, 3, 64, 64)."""
    photo = torch.from_numpy(load_sample_images().images[which].copy())[:384].float()
    parts = photo.unfold(0, 64, 64).unfold(1, 64, 64).flatten(0, 1)
    return (parts - 120) / 60


def test_changed_copies_of_training_pictures_are_found_in_validation() -> None:
    pictures = photos(0)
    crops = functional.interpolate(pictures[:, :, 3:61, 3:61].flip(3) * 0.8 + 0.1, size=64, mode="bilinear")

    def watched(held: torch.Tensor) -> Doctor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        labels = torch.arange(len(pictures)) % 4
        with Doctor(strict=True) as doctor:
            for rows in torch.arange(len(pictures)).split(20):
                optimizer.zero_grad()
                functional.cross_entropy(model(pictures[rows]), labels[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                model.eval()(held)
        return doctor

    doctor = watched(crops)
    assert alarms(doctor)[:1] == ["split-leakage"], doctor.text()
    assert doctor.findings[0].evidence["shared"] > 20 and "mirrored" in doctor.findings[0].message
    assert "split-leakage" not in codes(watched(photos(1)))


def test_pixels_that_were_rounded_away_are_named() -> None:
    lost = photos(0).clamp(0, 1).to(torch.uint8).float()  # as np.uint8 arrays make of 0 to 1
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with Doctor(strict=True) as doctor:
        for rows in torch.arange(60).split(10):
            optimizer.zero_grad()
            functional.cross_entropy(model(lost[rows]), rows % 4).backward()
            optimizer.step()
    assert alarms(doctor)[:1] == ["input-ignored"], doctor.text()
    assert "take only 2 values" in doctor.findings[0].message


def test_a_head_that_comes_with_the_second_stage_is_seen() -> None:
    train, _ = loaders()
    model = network()
    model[:-1].requires_grad_(False)
    with Doctor(strict=True) as doctor:
        for stage in range(2):
            if stage:
                model[:-1].requires_grad_(True)
                model[-1] = nn.Linear(64, CLASSES)
            optimizer = sgd(model)
            for images, labels in train:
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
    (seen,) = doctor.record.networks
    assert all(each.trainable and each.optimised for each in seen.parameters.values())
    assert alarms(doctor) == [] and "frozen-parameters" not in codes(doctor), doctor.text()


@pytest.mark.parametrize("mixed", [True, False])
def test_batches_cut_by_hand_in_the_order_of_the_classes_are_named(mixed: bool) -> None:
    torch.manual_seed(0)
    images, labels = digits()
    order = torch.randperm(1200) if mixed else labels[:1200].argsort()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for rows in order.split(32):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    assert ("not-shuffled" in alarms(doctor)) is not mixed, doctor.text()


def test_parts_that_samplers_choose_of_one_dataset_are_training_and_evaluation() -> None:
    torch.manual_seed(0)
    dataset, order = TensorDataset(*digits()), torch.randperm(1797).tolist()
    train = DataLoader(dataset, batch_size=32, sampler=SubsetRandomSampler(order[:1200]))
    held = DataLoader(dataset, batch_size=200, sampler=SubsetRandomSampler(order[1200:]))
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for images, labels in train:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        with torch.no_grad():
            for images, labels in held:
                functional.cross_entropy(model(images), labels)  # in training mode
    assert alarms(doctor) == ["eval-in-train-mode"], doctor.text()
    assert len(doctor.record.galleries["eval"].pictures) > 100


def test_what_one_fold_trains_on_another_may_evaluate() -> None:
    torch.manual_seed(0)
    images, labels = (each[:600] for each in digits())
    folds = torch.arange(600).chunk(3)
    with Doctor(strict=True) as doctor:
        for held in folds:
            rows = torch.tensor([row for row in range(600) if row not in set(held.tolist())])
            model = network(norm=False)
            optimizer = sgd(model)
            for part in rows[torch.randperm(len(rows))].repeat(3).split(32):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[part]), labels[part]).backward()
                optimizer.step()
            evaluate(model, DataLoader(TensorDataset(images[held], labels[held]), batch_size=50))
    assert "split-leakage" not in codes(doctor), doctor.text()


def test_pictures_that_were_trained_on_without_labels_are_no_leak() -> None:
    """Of another domain, say, whose looks are to be matched."""
    torch.manual_seed(0)
    images, labels = digits()
    model = network()
    optimizer = sgd(model)
    with Doctor(strict=True) as doctor:
        for rows in torch.arange(1200).split(32):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images[rows]), labels[rows])
            (loss + 0.01 * model(images[1200 + rows % 597]).square().mean()).backward()
            optimizer.step()
        evaluate(model, DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=200))
    assert "split-leakage" not in codes(doctor), doctor.text()


@pytest.mark.parametrize("own", [False, True])
def test_folds_whose_optimiser_has_the_weights_they_were_copied_from_are_named(own: bool) -> None:
    images, labels = digits()
    template = network(norm=False, dropout=0.0)
    optimizer = sgd(template)
    with Doctor(strict=True) as doctor:
        for fold in range(3):
            model = copy.deepcopy(template)
            optimizer = sgd(model) if own else optimizer
            held = torch.arange(len(labels)) % 3 == fold
            for _ in range(3):
                epoch_by_hand(model, optimizer, images[~held], labels[~held])
            with torch.no_grad():
                assert (model.eval()(images[held]).argmax(1) == labels[held]).ndim == 1
    assert alarms(doctor) == ([] if own else ["optimizer-misses-parameters"]), doctor.text()


@pytest.mark.parametrize(("norm", "follows"), [(True, False), (False, False), (True, True)])
def test_a_new_part_that_is_frozen_by_mistake_is_named(norm: bool, follows: bool) -> None:
    """Random features on purpose have nothing that minds the mode; weights that follow others are not frozen."""
    torch.manual_seed(0)
    images, labels = digits()
    neck = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.BatchNorm1d(256) if norm else nn.Identity(), nn.ReLU())
    neck.requires_grad_(False)
    head = nn.Linear(256, CLASSES)
    optimizer = sgd(head)
    with Doctor(strict=True) as doctor:
        for _ in range(3):
            for rows in torch.arange(1200).split(40):
                optimizer.zero_grad()
                functional.cross_entropy(head(neck(images[rows])), labels[rows]).backward()
                optimizer.step()
                if follows:
                    neck[1].weight.mul_(0.99)
    assert alarms(doctor) == (["frozen-parameters"] if norm and not follows else []), doctor.text()
