"""`watch`: what is named beforehand is described before the block begins, and loaders have the part that is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fovea.doctor import watch

from .loops import cross_entropy, digits, network, sgd


def loaders() -> tuple[DataLoader, DataLoader]:
    images, labels = digits()
    return (
        DataLoader(TensorDataset(images[:600], labels[:600]), batch_size=32, shuffle=True),
        DataLoader(TensorDataset(images[600:900], labels[600:900]), batch_size=100),
    )


def test_what_is_named_is_described_before_the_block_begins() -> None:
    torch.manual_seed(0)
    model, (train, val) = network(), loaders()
    optimizer = sgd(model)
    with watch(model, optimizer, loader=train, val_loader=val, strict=True) as doctor:
        assert [each.kind for each in doctor.record.networks] == ["Sequential"]
        assert [each.kind for each in doctor.record.optimisers] == ["SGD"]
        assert all(each.optimised for each in doctor.record.networks[0].parameters.values())
        assert [each.phase for each in doctor.record.loaders] == ["train", "eval"]
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
        model.eval()
        for images, labels in val:
            cross_entropy(model(images), labels)
    assert len(doctor.record.steps) == 19
    assert len(doctor.record.networks) == len(doctor.record.optimisers) == 1
    assert [each.rounds for each in doctor.record.loaders] == [1, 1]
    assert Path(__file__).name in str(doctor.record.optimisers[0].where)
    assert [each.images for each in doctor.record.rounds] == [300]
    assert doctor.healthy


def test_a_training_loader_that_is_only_evaluated_on_keeps_the_part_that_was_told() -> None:
    model, (train, val) = network().eval(), loaders()
    with watch(loader=train, val_loader=val, strict=True) as doctor, torch.no_grad():
        for images, _ in train:
            model(images)
    assert [each.phase for each in doctor.record.loaders] == ["train", "eval"]


def test_several_optimisers_and_one_that_misses_the_head() -> None:
    torch.manual_seed(0)
    model, (train, _) = network(), loaders()
    body = torch.optim.SGD(model[:5].parameters(), lr=0.05)
    middle = torch.optim.SGD(model[7].parameters(), lr=0.05)
    with watch(model, [body, middle], strict=True) as doctor:
        for images, labels in train:
            for optimizer in (body, middle):
                optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            body.step()
            middle.step()
    assert [finding.code for finding in doctor.findings if finding.severity == "alarm"] == [
        "optimizer-misses-parameters"
    ]
    assert "10.weight" in doctor.findings[0].message


@pytest.mark.parametrize("part", ["loader", "val_loader"])
def test_what_is_no_loader_is_refused_in_words(part: str) -> None:
    with pytest.raises(TypeError, match=r"must be a torch.utils.data.DataLoader, not list; leave it out"):
        watch(nn.Linear(2, 2), **{part: [torch.zeros(2)]})  # type: ignore[arg-type]


class Shared(nn.Module):
    """One ReLU and one pooling for layers of several widths, as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.act, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, 8, 8) -> (B, 10)."""
        images = self.pool(self.act(self.first(images)))
        return self.head(self.pool(self.act(self.second(images))).flatten(1))


def test_a_module_that_is_called_with_several_widths_is_watched_as_any_other() -> None:
    torch.manual_seed(0)
    model, (train, _) = Shared(), loaders()
    optimizer = sgd(model)
    with watch(strict=True) as doctor:
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
    (network,) = doctor.record.networks
    assert network.layers["act"].out_shape[1] == 16
    assert len(network.layers["act"].steps) < len(doctor.record.steps) == 19
    assert doctor.record.unseen == []
