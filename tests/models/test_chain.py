"""A network as a chain: every cut gives the network's own outputs, and its parts share the network's parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.core.errors import ModelError
from fovea.models.catalogue import Library, build, resolve
from fovea.models.chain import Chain, as_chain, parameter_stages
from fovea.models.heads import set_linear_head


def _build(name: str, *, drop_rate: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    library: Library
    library, architecture, _ = resolve(name)
    sized = {"img_size": 64} if architecture.startswith("vit_tiny") else {}
    return build(library, architecture, classes=6, model_args=sized, drop_rate=drop_rate)


def _chain(model: nn.Module, size: int = 64) -> Chain:
    chain = as_chain(model, torch.randn(1, 3, size, size))
    assert chain is not None
    return chain


def _flat(stages: list[list[str]]) -> list[str]:
    return [name for stage in stages for name in stage]


NETWORKS = {  # name: units, features
    "mobilenetv2_050": (20, 1280),
    "mobilenetv3_small_100": (15, 1024),
    "efficientnet_b0": (19, 1280),
    "resnet18": (10, 512),
    "resnet50": (18, 2048),
    "convnext_atto": (17, 320),
    "vit_tiny_patch16_224": (15, 192),
    "regnetx_002": (15, 368),
    "densenet121": (9, 1024),
    "torchvision/alexnet": (8, 4096),
    "torchvision/squeezenet1_0": (10, 512),
    "torchvision/resnet18": (10, 512),
    "torchvision/mobilenet_v2": (20, 1280),
    "torchvision/shufflenet_v2_x1_0": (19, 1024),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_cut_gives_the_same_logits_and_the_head_can_be_set(name: str) -> None:
    model = _build(name)
    chain = _chain(model)
    units, features = NETWORKS[name]
    assert len(chain.units) == units
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        for cut in sorted({0, 1, units // 2, units - 1, units}):
            assert torch.equal(chain.suffix(cut)(chain.prefix(cut)(images)), expected)
        vectors = chain.features()(images)
        assert vectors.shape == (3, features)
        weight, bias = torch.randn(6, features) / features**0.5, torch.randn(6)
        set_linear_head(model, weight=weight, bias=bias)
        wanted = F.linear(vectors, weight, bias).softmax(dim=1)
        assert torch.allclose(model(images).softmax(dim=1), wanted, atol=2e-4)


def test_units_of_mobilenet_are_named_and_measured() -> None:
    chain = _chain(_build("mobilenetv2_050"))
    assert [unit.name for unit in chain.units][:3] == ["conv_stem", "blocks.0.0", "blocks.1.0"]
    assert chain.units[-2].module_names == ("conv_head", "bn2", "global_pool")
    assert chain.feature_unit == 19
    assert chain.units[0].cost.output_shape == (16, 32, 32)
    assert chain.units[0].cost.output_bytes == 4 * 16 * 32 * 32
    assert chain.units[18].cost.output_shape == (1280,)
    assert all(unit.cost.forward_ms > 0 for unit in chain.units)


def test_parts_share_parameters_and_names_with_the_network() -> None:
    model = _build("mobilenetv3_small_100")
    chain = _chain(model)
    prefix, suffix = chain.prefix(6), chain.suffix(6)
    own = dict(model.named_parameters())
    parts = {**dict(prefix.named_parameters()), **dict(suffix.named_parameters())}
    assert parts.keys() == own.keys()
    assert all(parts[name] is own[name] for name in own)
    assert not dict(prefix.named_parameters()).keys() & dict(suffix.named_parameters()).keys()


def test_training_the_suffix_trains_the_network_and_leaves_the_prefix_alone() -> None:
    model = _build("resnet18")
    chain = _chain(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    suffix = chain.suffix(7).train()
    suffix(torch.randn(4, *chain.units[6].cost.output_shape)).sum().backward()
    torch.optim.SGD(suffix.parameters(), lr=0.1).step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "fc.weight" in changed and "layer4.0.bn1.running_mean" in changed
    assert not [name for name in changed if name.startswith(("conv1", "bn1", "layer1", "layer2"))]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "regnetx_002", "torchvision/mobilenet_v2"])
def test_dropout_before_the_classifier_works_while_training(name: str) -> None:
    chain = _chain(_build(name, drop_rate=0.5))
    head = chain.suffix(chain.feature_unit or 0)
    features = torch.rand(64, *chain.units[-2].cost.output_shape)
    assert torch.equal(head.eval()(features), head(features))
    assert not torch.equal(head.train()(features), head(features))


def test_cutting_leaves_mode_and_statistics_alone() -> None:
    model = _build("resnet18").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert as_chain(model, torch.randn(2, 3, 64, 64)) is not None
    assert model.training and model.layer1.training  # type: ignore[union-attr]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


class _Skips(nn.Module):
    """Adds the image's mean at the very end: no single tensor ever carries everything."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x)).mean((2, 3))) + x.mean((1, 2, 3), keepdim=False)[:, None]


class _Branches(_Skips):
    """Decides by the data, which a trace cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if y.mean() > 0:
            y = -y
        return self.fc(self.b(y).mean((2, 3)))


class _Noisy(_Skips):
    """Never gives the same output twice, so no chain can be verified."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.b(self.a(x)) + torch.rand(1)).mean((2, 3)))


class _Two(_Skips):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = self.b(self.a(x))
        return self.fc(y.mean((2, 3))), y


@pytest.mark.parametrize("kind", [_Skips, _Branches, _Noisy, _Two])
def test_what_is_no_chain_is_none(kind: type[nn.Module]) -> None:
    model = kind()
    assert as_chain(model, torch.randn(2, 3, 8, 8)) is None
    assert sorted(_flat(parameter_stages(model))) == sorted(name for name, _ in model.named_parameters())


def test_two_heads_are_no_single_classifier() -> None:
    model = build("timm", "deit_tiny_distilled_patch16_224", classes=4, model_args={"img_size": 32})
    chain = _chain(model, 32)
    assert chain.feature_unit is None
    with pytest.raises(ModelError, match="no single linear classifier"):
        chain.features()


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_hold_every_parameter_once_and_end_with_the_classifier(name: str) -> None:
    with torch.device("meta"):
        model = _build(name)
    stages = parameter_stages(model)
    names = [name for name, _ in model.named_parameters()]
    assert sorted(_flat(stages)) == sorted(names)
    assert names[0] in stages[0]
    assert names[-1] in stages[-1]
    assert len(stages) >= 5
