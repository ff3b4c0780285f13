"""The list of networks: names, papers, sizes and weights are right, and the figures are those of the networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
from torch import nn

from fovea.core.errors import ModelError, UnknownName
from fovea.models import listing, search
from fovea.models.catalogue import names
from fovea.models.listing import Network, architecture_names
from fovea.models.papers import families, paper_of
from fovea.workflows import cataloguing


def _one(name: str) -> Network:
    (found,) = [network for network in search(name) if network.name == name]
    return found


def test_every_architecture_of_the_three_libraries_is_listed_once() -> None:
    found = [network.name for network in search()]
    assert len(found) == len(set(found))
    assert {"resnet50", "torchvision/resnet50", "alexnet", "lenet5", "shufflenet_v1_0_5x_g8"} <= set(found)
    assert "torchvision/alexnet" not in found  # only one library has it
    assert set(found) <= set(names())
    assert {network.library for network in search()} == {"timm", "torchvision", "fovea"}


def test_listing_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "register_parameter", lambda *_: pytest.fail("a network was built"))
    assert len(search()) > 1000


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("squeezenet*", ["squeezenet1_0", "squeezenet1_1"]),
        ("SqueezeNet", ["squeezenet1_0", "squeezenet1_1"]),
        ("resnet1?", ["resnet18"]),
        ("vgg1[16]", ["vgg11", "vgg16"]),
        ("*/vgg1[16]", ["torchvision/vgg11", "torchvision/vgg16"]),
        ("inception_resnet", ["inception_resnet_v1", "inception_resnet_v2"]),
        ("resnet*2d", ["resnet152d", "resnetv2_152d"]),
        ("vgg11.tv", ["vgg11"]),
        ("torchvision/vgg11.IMAGENET1K_V1", ["torchvision/vgg11"]),
        ("inception_v1", ["googlenet"]),  # the names that people use and no library has
        ("mobilenet_v1", ["mobilenetv1_100"]),
        ("densenet??1", ["densenet121", "densenet161", "densenet201"]),  # 121 before 201, as people count
    ],
)
def test_a_pattern_is_part_of_a_name_or_a_glob(pattern: str, expected: list[str]) -> None:
    assert [network.name for network in search(pattern)] == expected


def test_a_part_of_a_tag_finds_the_networks_with_such_weights() -> None:
    found = {network.name for network in search(".dino")}
    assert {"vit_small_patch16_224", "resnet50"} & found
    assert "lenet5" not in found


@pytest.mark.parametrize("pattern", ["mobilnetv2_100", "resnet999*"])
def test_a_pattern_that_fits_nothing_suggests(pattern: str) -> None:
    with pytest.raises(UnknownName, match="unknown network") as caught:
        search(pattern)
    assert "did you mean" in caught.value.hint
    assert caught.value.hint.endswith("fovea models lists all, and with part of a name those that have it")


def test_an_entry_says_all_there_is_to_know() -> None:
    network = _one("torchvision/resnet50")
    assert network.as_dict() == {
        "name": "torchvision/resnet50",
        "library": "torchvision",
        "paper": "Deep Residual Learning for Image Recognition",
        "year": 2015,
        "arxiv": "1512.03385",
        "input_size": 224,
        "parameters": 25_557_032,
        "macs": 4_089_184_256,
        "weights": ["IMAGENET1K_V2", "IMAGENET1K_V1"],
    }


def test_weights_begin_with_those_that_the_plain_name_means() -> None:
    network = _one("mobilenetv2_100")
    assert network.weights[0] == timm.get_pretrained_cfg("mobilenetv2_100").tag
    assert len(_one("resnet50").weights) > 10
    assert _one("lenet5").weights == ()


def test_the_input_size_is_that_of_the_weights() -> None:
    sizes = {name: _one(name).input_size for name in ("lenet5", "inception_v3", "vit_h_14", "legacy_xception")}
    assert sizes == {"lenet5": 32, "inception_v3": 299, "vit_h_14": 518, "legacy_xception": 299}


@pytest.mark.parametrize(
    ("architecture", "year", "arxiv"),
    [
        ("lenet5", 1998, ""),
        ("alexnet", 2012, ""),
        ("nin", 2013, "1312.4400"),
        ("vgg16_bn", 2014, "1409.1556"),
        ("googlenet", 2014, "1409.4842"),
        ("inception_v2", 2015, "1502.03167"),
        ("inception_v3", 2015, "1512.00567"),
        ("inception_v4", 2016, "1602.07261"),
        ("inception_resnet_v1", 2016, "1602.07261"),
        ("resnet152", 2015, "1512.03385"),
        ("resnext50_32x4d", 2016, "1611.05431"),
        ("wide_resnet50_2", 2016, "1605.07146"),
        ("densenet121", 2016, "1608.06993"),
        ("senet154", 2017, "1709.01507"),
        ("seresnet50", 2017, "1709.01507"),
        ("squeezenet1_1", 2016, "1602.07360"),
        ("legacy_xception", 2016, "1610.02357"),
        ("mobilenetv1_100", 2017, "1704.04861"),
        ("mobilenet_v2", 2018, "1801.04381"),
        ("mobilenetv3_large_100", 2019, "1905.02244"),
        ("shufflenet_v1_1x", 2017, "1707.01083"),
        ("shufflenet_v2_x1_0", 2018, "1807.11164"),
        ("convnext_tiny", 2022, "2201.03545"),
        ("efficientnet_b0", 2019, "1905.11946"),
        ("efficientnet_v2_s", 2021, "2104.00298"),
        ("vit_base_patch16_224", 2020, "2010.11929"),
        ("vit_base_patch16_clip_224", 2021, "2103.00020"),
        ("vit_small_patch14_reg4_dinov2", 2023, "2309.16588"),
        ("resnetv2_50x1_bit", 2019, "1912.11370"),
        ("resnetv2_50", 2016, "1603.05027"),
    ],
)
def test_papers_are_the_right_ones(architecture: str, year: int, arxiv: str) -> None:
    paper = paper_of(architecture)
    assert paper is not None
    assert (paper.year, paper.arxiv) == (year, arxiv)


def test_a_variant_without_a_paper_of_its_own_gets_none() -> None:
    assert paper_of("cs3darknet_x") is None
    assert paper_of("test_vit") is None


def test_every_family_is_the_first_that_fits_some_network() -> None:
    architectures = [name.removeprefix("torchvision/") for name in architecture_names()]
    used = {next((pattern for pattern, _ in families() if pattern.fullmatch(name)), None) for name in architectures}
    assert [pattern.pattern for pattern, _ in families() if pattern not in used] == []


# --- parameters and multiply-accumulates -----------------------------------------------------------------------------

KNOWN = {  # name: parameters, multiply-accumulates
    "lenet5": (61_706, 416_520),
    "nin": (7_595_176, 1_100_188_800),
    "alexnet": (61_100_840, 714_188_480),
    "torchvision/vgg16": (138_357_544, 15_470_264_320),
    "torchvision/resnet50": (25_557_032, 4_089_184_256),
    "torchvision/resnet101": (44_549_160, 7_801_405_440),
    "torchvision/resnet152": (60_192_808, 11_513_626_624),
    "torchvision/resnext50_32x4d": (25_028_904, 4_230_479_872),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "mobilenetv1_100": (4_231_976, 568_740_352),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_figures_are_the_known_ones(name: str) -> None:
    network = _one(name)
    assert (network.parameters, network.macs) == KNOWN[name]


def test_every_network_has_its_figures() -> None:
    without = [network.name for network in search() if network.macs is None]
    assert without == ["gemma4_vit_167m_enc", "gemma4_vit_570m_enc"]  # encoders without a classifier


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1", "resnet18", "shufflenet_v2_x0_5"])
def test_the_figures_are_those_of_the_networks_as_they_are_built(name: str) -> None:
    network = _one(name)
    assert cataloguing.figures(name) == (network.parameters, network.macs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [network.name for network in search() if network.macs is not None][::40])
def test_a_sample_of_all_figures_is_measured_again(name: str) -> None:
    network = _one(name)
    assert cataloguing.figures(name) == (network.parameters, network.macs)


def test_a_few_networks_without_figures_are_measured_and_many_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_figures", lambda: {("fovea", "lenet5"): (61_706, 416_520)})
    monkeypatch.setattr(cataloguing, "figures", lambda name: (len(name), 7))
    assert [(network.parameters, network.macs) for network in cataloguing.listed("[n]in")] == [(3, 7)]
    assert cataloguing.listed("lenet5")[0].macs == 416_520
    assert {network.macs for network in cataloguing.listed("resnet*")} == {None}


def test_measuring_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def measured(name: str) -> tuple[int, int | None]:
        asked.append(name)
        if name == "naflexvit_base_patch16_gap":
            raise ModelError("it takes patches")
        if name == "torchvision/resnet18":
            raise KeyboardInterrupt
        return 5, None if name == "alexnet" else 7

    wanted = ["lenet5", "nin", "alexnet", "naflexvit_base_patch16_gap", "torchvision/resnet18"]
    monkeypatch.setattr(cataloguing, "architecture_names", lambda: iter(wanted))
    monkeypatch.setattr(cataloguing, "figures", measured)
    path = tmp_path / "figures.csv"
    path.write_text("library,architecture,parameters,macs\nfovea,lenet5,61706,416520\nfovea,nin,7595176,\n")
    with pytest.raises(KeyboardInterrupt):
        cataloguing.write_figures(path)
    assert asked == wanted[1:]  # what has no multiply-accumulates is measured again
    assert path.read_text().splitlines()[1:] == ["fovea,lenet5,61706,416520", "fovea,nin,5,7", "torchvision,alexnet,5,"]
