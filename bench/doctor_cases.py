"""The trainings of bench/doctor.py: a plan that works, faults that break a part of it, and healthy variations.

A fault takes a plan and a strength (0 mild, 1 strong) and returns a broken plan. Nothing here knows how the doctor
works; the trainings are plain loops.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Images = torch.Tensor
Change = Callable[[Images, np.random.Generator], Images]
WEIGHTS = "mobilenetv2_100.tf_in1k"


@dataclass(frozen=True)
class Plan:
    """A training of images (N, 3, 32, 32), 0 to 1; the defaults work."""

    classes: int
    network: str = "cnn"
    activation: type[nn.Module] = nn.ReLU
    width: int = 16
    depth: int = 3
    norm: bool = True
    dropout: float = 0.2
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    batch: int = 32
    epochs: int = 5
    train_images: int = 900
    seed: int = 0
    mean: float = 0.5
    std: float = 0.25
    normalise: Change | None = None  # in place of mean and std, for both
    normalise_eval: Change | None = None  # for evaluation only
    augment: Change | None = None  # of training images
    augment_eval: Change | None = None
    train_labels: Callable[[torch.Tensor, np.random.Generator], torch.Tensor] | None = None
    eval_labels: Callable[[torch.Tensor], torch.Tensor] | None = None
    choose: Callable[[torch.Tensor, np.random.Generator], np.ndarray] | None = None  # training rows, by label
    leak: float = 0.0  # share of validation that is taken from training
    validation: int = 500
    shuffle: bool = True
    head: int | None = None  # outputs, if not one for each class
    prepare: Callable[[nn.Module], Any] | None = None  # done to the network before the optimiser is built
    wrap: Callable[[nn.Module], nn.Module] | None = None
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    parameters: Callable[[nn.Module], Any] | None = None
    zero_grad: bool = True
    train_mode: bool = True
    eval_mode: bool = True
    autocast: bool = False


class Residual(nn.Module):
    """Two convolutions with BatchNorm and a way around them."""

    def __init__(self, width: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.activation = activation()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same."""
        return self.activation(images + self.body(images))


def build(plan: Plan, weights: str) -> nn.Module:
    """Return the network of a plan."""
    outputs = plan.classes if plan.head is None else plan.head
    if plan.network == "mobilenet":
        import timm

        model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=outputs, drop_rate=plan.dropout)
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), model)  # 32 px would end in a single place
    layers: list[nn.Module] = []
    channels = 3
    for place in range(plan.depth):
        width = plan.width * 2**place
        layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not plan.norm))
        layers += [nn.BatchNorm2d(width)] if plan.norm else []
        layers.append(plan.activation())
        layers += [Residual(width, plan.activation)] if plan.network == "resnet" else []
        layers.append(nn.MaxPool2d(2))
        channels = width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 64), plan.activation()]
    return nn.Sequential(*layers, nn.Dropout(plan.dropout), nn.Linear(64, outputs))


Fault = Callable[[Plan, int], Plan]
FAULTS: dict[str, tuple[str, Fault]] = {}  # name -> (code, fault)


def _add(code: str, name: str = "") -> Callable[[Fault], Fault]:
    def keep(fault: Fault) -> Fault:
        FAULTS[name or code] = (code, fault)
        return fault

    return keep


def _simple(code: str, mild: dict[str, Any], strong: dict[str, Any], name: str = "") -> None:
    _add(code, name)(lambda plan, strength: dataclasses.replace(plan, **(strong if strength else mild)))


def _mixed(share: float) -> Callable[[torch.Tensor, np.random.Generator], torch.Tensor]:
    def mix(labels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        rows = rng.choice(len(labels), round(share * len(labels)), replace=False)
        mixed = labels.clone()
        mixed[rows] = labels[rng.permutation(rows)]
        return mixed

    return mix


def _rare(ratio: int) -> Callable[[torch.Tensor, np.random.Generator], np.ndarray]:
    def rows(labels: torch.Tensor, rng: np.random.Generator) -> np.ndarray:
        classes = labels.unique().tolist()
        few = set(classes[: max(1, len(classes) // 3)])
        keep = [row for row, label in enumerate(labels.tolist()) if label not in few or rng.random() < 1 / ratio]
        return np.array(keep)

    return rows


def _in_place(module: nn.Module, kinds: tuple[type[nn.Module], ...], change: Callable[[Any], Any]) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, kinds):
            change(layer)
    return module


def _weights(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.ndim > 1]


def _last(module: nn.Module) -> nn.Linear:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]


def _constant(value: float) -> Callable[[nn.Module], Any]:
    return lambda module: [nn.init.constant_(parameter, value) for parameter in _weights(module)]


def _flip(images: Images, rng: np.random.Generator) -> Images:
    turned = torch.from_numpy(rng.random(len(images)) < 0.5)
    images = images.clone()
    images[turned] = images[turned].flip(3)
    return images


def _upside_down(images: Images, rng: np.random.Generator) -> Images:
    turned = torch.from_numpy(rng.random(len(images)) < 0.5)
    images = _flip(images, rng)
    images[turned] = images[turned].flip(2)
    return images


def _noise(sigma: float) -> Change:
    return lambda images, rng: images + sigma * torch.from_numpy(rng.standard_normal(images.shape, np.float32))


def _erased(images: Images, rng: np.random.Generator) -> Images:
    images = images.clone()
    for image in images:
        top, left = rng.integers(0, 8, 2)
        image[:, top : top + 26, left : left + 26] = 0.5
    return images


def _scaled(factor: float, shift: float) -> Change:
    return lambda images, rng: images * factor + shift


class _Wrapped(nn.Module):
    def __init__(self, inner: nn.Module, change: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change(self.inner, images)


def _wrapped(change: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> dict[str, Any]:
    return {"wrap": lambda module: _Wrapped(module, change)}


def _cut(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    *body, head = module.children()
    return head(nn.Sequential(*body)(images).detach())


class _Linear(nn.Module):
    """Stands where an activation stood and does nothing."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values


def ln(scores: torch.Tensor, labels: torch.Tensor, **options: Any) -> torch.Tensor:
    """Cross-entropy, looked up when it is called, as a script does that the doctor runs."""
    return functional.cross_entropy(scores, labels, **options)


_simple("labels-shuffled", {"train_labels": _mixed(0.9)}, {"train_labels": _mixed(1.0)})
_simple("noisy-labels", {"train_labels": _mixed(0.3)}, {"train_labels": _mixed(0.5)})
_add("class-map")(
    lambda plan, strong: dataclasses.replace(
        plan, eval_labels=lambda y: (y + 1) % plan.classes if strong else torch.where(y < 2, 1 - y, y)
    )
)
_add("class-map", "labels from 1")(
    lambda plan, strong: dataclasses.replace(
        plan, head=plan.classes + 1, train_labels=lambda y, rng: y + 1, eval_labels=lambda y: y + 1
    )
)
_simple("not-normalised", {"mean": 0.0, "std": 1 / 255, "norm": False}, {"mean": 0.0, "std": 1 / 255, "norm": True})
_simple(
    "normalised-twice",
    {"normalise": lambda x, rng: ((x - 0.5) / 0.25 - 0.5) / 0.25},
    {"normalise": _scaled(1 / 255, 0.0)},
)
_simple("train-eval-transform", {"normalise_eval": _scaled(4.0, 0.0)}, {"normalise_eval": _scaled(255.0, 0.0)})
_simple(
    "channel-order",
    {"normalise_eval": lambda x, rng: (x.flip(1) - 0.5) / 0.25},
    {"normalise_eval": lambda x, rng: (x.flip(1) - 0.5) / 0.25},
)
_simple("not-shuffled", {"shuffle": False, "batch": 16}, {"shuffle": False})
_simple("imbalance", {"choose": _rare(20)}, {"choose": _rare(60)})
_simple("split-leakage", {"leak": 0.3}, {"leak": 1.0})
_simple("augmentation-too-strong", {"augment": _noise(1.0)}, {"augment": _erased})
_simple("label-changing-augmentation", {"augment": _flip}, {"augment": _upside_down})
_simple("input-ignored", {"normalise": _scaled(0.0, 0.0)}, {"normalise": lambda x, rng: torch.zeros_like(x) + 1})
_simple("missing-nonlinearity", {"activation": _Linear, "norm": False}, {"activation": _Linear})
_simple(
    "softmax-before-loss",
    {"wrap": lambda module: nn.Sequential(module, nn.Softmax(1))},
    _wrapped(lambda module, images: functional.softmax(module(images), dim=1)),
)
_add("wrong-head")(lambda plan, strong: dataclasses.replace(plan, head=1000 if strong else 5 * plan.classes))
_add("wrong-head", "squared error of class numbers")(
    lambda plan, strong: dataclasses.replace(
        plan,
        head=1,
        loss=lambda s, y: (functional.mse_loss if strong else functional.smooth_l1_loss)(s[:, 0], y.float()),
    )
)
_simple(
    "saturated-units",
    {"activation": nn.Tanh, "norm": False, "prepare": lambda m: [w.data.mul_(12) for w in _weights(m)[:-1]]},
    {"activation": nn.Sigmoid, "norm": False, "prepare": lambda m: [w.data.mul_(60) for w in _weights(m)[:-1]]},
)
_simple(
    "dead-relu",
    {"norm": False, "prepare": lambda m: nn.init.constant_([x for x in m if isinstance(x, nn.Conv2d)][1].bias, -5.0)},
    {"norm": False, "prepare": lambda m: nn.init.constant_([x for x in m if isinstance(x, nn.Conv2d)][-1].bias, -50.0)},
)
_simple("constant-init", {"prepare": _constant(0.01)}, {"prepare": _constant(0.0), "norm": False})
_simple(
    "init-scale",
    {"prepare": lambda m: nn.init.normal_(_last(m).weight, std=1.5)},
    {"prepare": lambda m: nn.init.normal_(_last(m).weight, std=8.0)},
)
_simple(
    "vanishing-gradient",
    {"activation": nn.Sigmoid, "norm": False, "prepare": lambda m: m.insert(len(m) - 1, _sigmoids(5))},
    {"activation": nn.Sigmoid, "norm": False, "prepare": lambda m: m.insert(len(m) - 1, _sigmoids(10))},
)
_simple(
    "exploding-gradient",
    {"norm": False, "prepare": lambda m: [w.data.mul_(6) for w in _weights(m)]},
    {"norm": False, "prepare": lambda m: [w.data.mul_(20) for w in _weights(m)]},
)
_simple(
    "frozen-parameters",
    {"prepare": lambda m: [p.requires_grad_(False) for p in list(m.parameters())[:-4]], "lr": 0.002},
    {"prepare": lambda m: [p.requires_grad_(False) for p in list(m.parameters())[:-2]], "lr": 0.002},
)
_simple("batchnorm-mode", {"train_mode": False}, {"train_mode": False, "epochs": 8})
_simple("batchnorm-small-batch", {"batch": 4, "epochs": 2}, {"batch": 2, "epochs": 1})
_simple(
    "batchnorm-momentum",
    {"prepare": lambda m: _in_place(m, (nn.BatchNorm2d,), lambda layer: setattr(layer, "momentum", 0.001))},
    {"prepare": lambda m: _in_place(m, (nn.BatchNorm2d,), lambda layer: setattr(layer, "momentum", 0.99))},
)
_simple("dropout-misuse", {"dropout": 0.85}, {"wrap": lambda m: nn.Sequential(m, nn.Dropout(0.5))})
_simple("under-capacity", {"width": 1, "depth": 2}, {"width": 1, "depth": 1})
_add("learning-rate-high")(lambda plan, strong: dataclasses.replace(plan, lr=plan.lr * (300 if strong else 40)))
_add("learning-rate-low")(lambda plan, strong: dataclasses.replace(plan, lr=plan.lr / (30000 if strong else 1000)))
_simple("missing-zero-grad", {"zero_grad": False, "lr": 0.01}, {"zero_grad": False})
_simple(
    "optimizer-misses-parameters",
    {"parameters": lambda m: list(m.parameters())[:-2]},
    {"parameters": lambda m: _last(m).parameters(), "lr": 0.002},
)
_simple("weight-decay-high", {"weight_decay": 0.3}, {"weight_decay": 2.0})
_simple("momentum-high", {"momentum": 0.99}, {"momentum": 0.999})
_simple("schedule-unit", {"schedule": "exponential by step"}, {"schedule": "steps by step"})
_simple(
    "loss-summed",
    {"loss": lambda s, y: ln(s, y, reduction="sum")},
    {"loss": lambda s, y: ln(s, y, reduction="sum"), "batch": 64},
)
_simple("loss-sign", {"loss": lambda s, y: -ln(s, y), "lr": 0.001}, {"loss": lambda s, y: -ln(s, y)})
_simple(
    "nan",
    {"loss": lambda s, y: -torch.log(functional.softmax(s * 30, 1)[torch.arange(len(y)), y]).mean()},
    _wrapped(lambda module, images: module(images).sqrt()),
)
_simple("detached-graph", _wrapped(_cut), {**_wrapped(_cut), "lr": 0.002})
_simple("eval-in-train-mode", {"eval_mode": False}, {"eval_mode": False, "dropout": 0.5})
_simple(
    "augmented-validation",
    {"augment_eval": _noise(0.05), "augment": _noise(0.05)},
    {"augment_eval": _flip, "augment": _flip},
)
_simple("validation-too-small", {"validation": 40}, {"validation": 15})
_simple(
    "overfitting",
    {"train_images": 120, "epochs": 40, "dropout": 0.0, "weight_decay": 0.0, "train_labels": _mixed(0.2)},
    {"train_images": 60, "epochs": 80, "dropout": 0.0, "weight_decay": 0.0, "train_labels": _mixed(0.3)},
)
_simple("receptive-field", {"prepare": lambda m: _one_by_one(m)}, {"prepare": lambda m: _one_by_one(m), "depth": 2})


def _sigmoids(count: int) -> nn.Module:
    return nn.Sequential(*[layer for _ in range(count) for layer in (nn.Linear(64, 64), nn.Sigmoid())])


def _one_by_one(module: nn.Module) -> None:
    for place, layer in enumerate(module):  # type: ignore[arg-type]
        if isinstance(layer, nn.Conv2d):
            module[place] = nn.Conv2d(layer.in_channels, layer.out_channels, 1)  # type: ignore[index]


def healthy(plan: Plan, number: int) -> Plan:
    """Return variation `number` of a plan that works: seed, optimiser, rate, width, dropout, batch, norm, schedule."""
    rng = np.random.default_rng([7, number])
    optimizer, lr = [("sgd", 0.05), ("sgd", 0.02), ("adam", 1e-3), ("adamw", 2e-3), ("adam", 3e-4)][number % 5]
    factor = math.exp(rng.uniform(-0.4, 0.4)) * (0.2 if plan.network == "mobilenet" else 1)  # to fine-tune
    return dataclasses.replace(
        plan,
        seed=number,
        optimizer=optimizer,
        lr=lr * factor,
        weight_decay=0.02 if optimizer == "adamw" else float(rng.choice([0, 1e-4, 5e-4])),
        width=int(rng.choice([12, 16, 24])),
        dropout=float(rng.choice([0.0, 0.2, 0.5])),
        batch=int(rng.choice([16, 32, 64])),
        schedule=str(rng.choice(["cosine", "constant", "one cycle", "steps"])),
        augment=_noise(0.03) if rng.random() < 0.4 else None,
        autocast=bool(rng.random() < 0.15),
        epochs=8 if lr * factor < 5e-4 else 6,
    )
