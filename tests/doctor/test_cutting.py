"""Pictures in memory that are cut to their middle: what is lost is named where it harms, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fovea.doctor.watching import Doctor

from .loops import alarms

WIDTH, HEIGHT, CLASSES = 150, 30, 3


def strip(label: int, rng: np.random.Generator) -> Image.Image:
    """A mark, one of three, anywhere on a long strip."""
    image = Image.new("L", (WIDTH, HEIGHT), int(rng.integers(150, 220)))
    draw, x, y, side = ImageDraw.Draw(image), int(rng.integers(0, WIDTH - 20)), int(rng.integers(2, 8)), 18
    if label == 0:
        draw.ellipse((x, y, x + side, y + side), fill=20)
    elif label == 1:
        draw.line((x, y, x + side, y + side), fill=20, width=4)
    else:
        draw.rectangle((x, y + 7, x + side, y + 11), fill=20)
    return image


class Strips(Dataset[tuple[torch.Tensor, int]]):
    """Strips that are drawn once and prepared whenever they are asked for."""

    def __init__(self, count: int, seed: int, prepare: Callable[[Image.Image], torch.Tensor]) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, CLASSES, count)
        self.images = [strip(int(label), rng) for label in self.labels]
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.prepare(self.images[row]), int(self.labels[row])


def watched(*steps: Any, epochs: int = 3) -> Doctor:
    torch.manual_seed(0)
    prepare = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(0.6, 0.25)])
    layers: list[nn.Module] = []
    for channels, width in ((1, 12), (12, 24)):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    train, held = Strips(240, 0, prepare), Strips(200, 1, prepare)
    with Doctor(strict=True) as doctor:
        for _ in range(epochs):
            model.train()
            for images, labels in DataLoader(train, batch_size=24, shuffle=True):
                optimizer.zero_grad()
                functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for images, labels in DataLoader(held, batch_size=50):
                    functional.cross_entropy(model(images), labels)
    return doctor


def test_a_middle_that_leaves_most_of_each_picture_out_is_named() -> None:
    doctor = watched(transforms.Resize(24), transforms.CenterCrop(24))
    assert alarms(doctor)[:1] == ["bad-resize"], doctor.text()
    assert "150 x 30 px are cut to their middle (24 x 24 px), which shows 20 % of them" in doctor.findings[0].message


@pytest.mark.parametrize(
    "steps",
    [
        (transforms.Resize((24, 120)),),
        (transforms.CenterCrop((30, 140)), transforms.Resize((24, 112))),
        (transforms.RandomCrop((30, 140)), transforms.Resize((24, 112))),
        (transforms.Lambda(lambda image: image.convert("RGB").convert("L")),),
    ],
)
def test_pictures_that_stay_nearly_whole_are_no_fault(steps: tuple[Any, ...]) -> None:
    assert "bad-resize" not in alarms(watched(*steps, epochs=1))


def test_what_is_left_is_counted_from_the_whole_picture_and_pillow_is_as_it_was_afterwards() -> None:
    before = Image.Image.crop, Image.Image.resize, Image.Image.convert
    whole = Image.new("RGB", (100, 50))
    with Doctor(strict=True) as doctor:
        whole.resize((50, 25)).crop((10, 5, 40, 20)).convert("L").crop((10, 5, 20, 10))
        whole.crop((60, 0, 100, 50))
        with pytest.raises(ValueError):
            whole.crop("everything")
    (first, second, third) = doctor.record.cuts
    assert (first.whole, first.part, first.centred, first.count) == ((100, 50), (30, 15), True, 1)
    assert first.kept == pytest.approx(0.36)
    assert second.whole == (100, 50) and second.kept == pytest.approx(0.36 / 9)
    assert (third.centred, third.kept) == (False, pytest.approx(0.4))
    assert (Image.Image.crop, Image.Image.resize, Image.Image.convert) == before
