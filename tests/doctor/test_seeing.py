"""What the doctor keeps and shows of a network from within: spreads of values, kernels, feature maps."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import fovea.doctor
from fovea.core.errors import UnknownName
from fovea.core.report import Figure
from fovea.doctor.inside import sight_of
from fovea.doctor.magnitudes import BINS, LOWEST, shares, thinned
from fovea.doctor.mosaics import feature_maps, kernel_tiles, kernel_tones, spread_panels
from fovea.doctor.record import MOST_SPREADS, Features, Network, Record, Spread
from fovea.doctor.seeing import as_maps, first_layer, map_shape
from fovea.doctor.showing import shown_pictures
from fovea.doctor.watching import Doctor

from .loops import Training, digits, network, watched


class Dying(nn.Module):
    """The first ReLU is dead from the start: its inputs are far below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(norm=False, dropout=0.0)
        nn.init.constant_(self.body[0].bias, -100.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images)


class Tokens(nn.Module):
    """A transformer's skeleton: patches of 2 px, a class token, two normalised layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 12, 2, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 12))
        self.norms = nn.ModuleList([nn.LayerNorm(12), nn.LayerNorm(12)])
        self.head = nn.Linear(12, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(images).flatten(2).transpose(1, 2)  # (B,C,H,W) -> (B,N,C)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        for norm in self.norms:
            tokens = norm(tokens)
        return self.head(tokens.mean(dim=1))


def still(model: nn.Module) -> torch.optim.Optimizer:
    """Takes steps that change nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


def short(build: type[nn.Module] | object, **parts: object) -> tuple[Doctor, nn.Module, dict[str, torch.Tensor]]:
    """Return a doctor, the network after three steps, and its weights before them."""
    before: dict[str, torch.Tensor] = {}

    def built() -> nn.Module:
        model = build()  # type: ignore[operator]
        before.update({name: value.clone() for name, value in model.state_dict().items()})
        return model

    training = Training(build=built, images=96, epochs=1, evaluated=False, **parts)  # type: ignore[arg-type]
    return watched(training), training.model, before


@pytest.fixture(scope="module")
def learnt() -> tuple[Doctor, nn.Module, dict[str, torch.Tensor]]:
    return short(network)


def only(record: Record) -> Network:
    (found,) = record.networks
    return found


def pictures_in(drawing: str | None) -> list[np.ndarray]:
    """Return the pictures within an SVG, in their order, (H, W, 4) each."""
    assert drawing is not None
    coded = re.findall(r"data:image/png;base64,([^\"]+)", drawing)
    return [np.array(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGBA")) for each in coded]


def test_shares_of_magnitudes_sum_to_one() -> None:
    values = [np.array([0, 0, 1, -1.9, 2e-30, np.nan, -np.inf, 1e30], np.float32), np.float32(np.arange(-9, 40))]
    found = shares(values)
    assert found.shape == (2, BINS)
    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0, 0] == 2 / 8
    assert found[0, 1 - LOWEST] == 2 / 8  # 1 and -1.9 lie between 1 and 2
    assert found[0, 1] == found[0, -2] == 1 / 8  # far too small, far too large
    assert found[0, -1] == 2 / 8
    assert shares([]).shape == (0, BINS)


@pytest.mark.parametrize("shape", [(32, 64, 16, 16), (8, 197, 192), (3, 5), (4096,), ()])
def test_a_few_values_stand_for_all_channels(shape: tuple[int, ...]) -> None:
    axis = min(1, len(shape) - 1)
    channel = torch.zeros(shape)
    if shape:
        view = [-1 if place == axis else 1 for place in range(len(shape))]
        channel = channel + torch.arange(shape[axis]).view(view)
    variants = [channel, channel.contiguous(memory_format=torch.channels_last)] if len(shape) == 4 else [channel]
    for values in variants:
        few = thinned(values)
        assert len(few) <= 2048
        assert len(few) >= min(values.numel(), 1000)
        expected = min(values.unique().numel(), len(few))
        assert few.unique().numel() >= 0.9 * expected
        assert few.mean() == pytest.approx(values.mean().item(), rel=0.05)


def test_a_long_training_keeps_few_spreads_the_first_and_the_last_among_them() -> None:
    spread = Spread()
    for step in range(0, 40_000, 8):
        spread.add(step, np.ones(BINS, np.float32) / BINS)
    assert len(spread.steps) == len(spread.shares) == MOST_SPREADS
    assert (spread.steps[0], spread.steps[-1]) == (0, 39_992)
    assert spread.steps == sorted(spread.steps)
    assert max(np.diff(spread.steps)) < 4_000


def test_each_layer_and_gradient_has_its_spread(learnt: tuple[Doctor, nn.Module, dict[str, torch.Tensor]]) -> None:
    seen = only(learnt[0].record)
    for each in (seen.layers["0"].outputs, seen.layers["2"].outputs, seen.parameters["7.weight"].gradients):
        assert len(each.steps) == len(each.shares) >= 3
        assert np.sum(each.shares, axis=1) == pytest.approx(1, abs=1e-5)
    assert 0.2 < seen.layers["2"].outputs.shares[0][0] < 0.8  # a ReLU
    assert seen.layers["0"].outputs.shares[0][0] < 0.05
    assert not seen.layers["5"].outputs.steps  # pooling hands on what it is given
    assert not seen.parameters["7.bias"].gradients.steps


def test_a_dead_layer_is_an_empty_band_above_a_full_strip_of_zeros() -> None:
    doctor, _, _ = short(Dying)
    layers = only(doctor.record).layers
    assert [each[0] for each in layers["body.2"].outputs.shares] == [1.0] * len(layers["body.2"].steps)
    named = {name: layers[name].outputs for name in ("body.2", "body.4")}
    dead, zeros, alive, _ = pictures_in(spread_panels(named, label="x"))
    assert dead[..., 3].max() == 0
    assert zeros[..., 3].min() == 255
    assert alive[..., 3].max() > 100
    gradients = only(doctor.record).parameters["body.0.weight"].gradients  # nothing reaches what lies before it
    assert all(each[0] == 1 for each in gradients.shares)


def test_what_has_no_gradient_has_no_spread_and_what_is_no_number_is_purple() -> None:
    assert spread_panels({"a": Spread()}, label="x") is None
    broken = Spread([0, 8], [np.eye(BINS, dtype=np.float32)[1 - LOWEST], np.eye(BINS, dtype=np.float32)[-1]])
    drawing = spread_panels({f"layer{number}": broken for number in range(40)}, label="x")
    assert drawing is not None
    assert "no number" in drawing
    assert len(pictures_in(drawing)) == 32 * 3
    strips = pictures_in(drawing)[2::3]
    assert all(strip[0, 0, 3] == 0 and strip[0, -1, 3] == 255 for strip in strips)


def test_the_kernels_on_the_page_are_those_of_the_network(
    learnt: tuple[Doctor, nn.Module, dict[str, torch.Tensor]],
) -> None:
    doctor, model, before = learnt
    known = only(doctor.record).kernels
    assert known is not None
    assert (known.layer, known.count, known.steps) == ("0", 16, [0, 3])
    assert np.array_equal(known.values[0], before["0.weight"].numpy())
    assert np.array_equal(known.values[1], model.state_dict()["0.weight"].numpy())
    shown = sight_of(only(doctor.record))[0]
    assert shown.title == "First-layer kernels"
    start, end = [block for block in shown.blocks if isinstance(block, Figure)]
    assert (start.image, end.image) == tuple(kernel_tiles(each) for each in known.values)
    assert start.caption == "All 16 kernels of 0, at the start."
    assert re.fullmatch(
        r"All 16 kernels of 0, at the end, after 3 steps: they have changed by [\d.]+ % of what they were\.",
        end.caption,
    )


def test_a_tile_is_grey_where_a_weight_is_zero_and_has_the_colours_of_its_channels() -> None:
    weights = np.zeros((5, 3, 2, 2), np.float32)
    weights[4, 0], weights[4, 2, 0, 0] = 1, -1
    tones = kernel_tones(weights)
    assert tones.shape == (5, 2, 2, 3)
    assert set(tones[:4].flatten().tolist()) == {128}
    assert tones[4, 0, 0].tolist() == [255, 128, 0]
    sheet = np.array(Image.open(io.BytesIO(kernel_tiles(weights))))
    assert sheet.shape == (64 * 2 + 3, 64 * 3 + 6, 4)  # three columns of tiles of 64 px
    assert sheet[-64, 67].tolist() == [255, 128, 0, 255]  # the fifth
    assert sheet[0, 65, 3] == sheet[-1, -1, 3] == 0  # gaps, and where there is no sixth
    assert kernel_tones(np.ones((2, 4, 60, 50), np.float32)).shape == (2, 20, 16, 3)


@pytest.mark.parametrize(
    ("model", "shape", "name"),
    [
        (nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 10)), (2, 3, 2, 2), "0"),
        (nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)), (2, 3, 9, 9), "1"),
        (nn.Linear(64, 10), (2, 1, 8, 8), ""),
        (nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 10)), (2, 1, 8, 8), "1"),  # patches of 4 px
        (nn.Sequential(nn.Linear(15, 10)), (2, 1, 8, 8), None),
        (nn.Sequential(nn.Conv2d(4, 8, 1), nn.Linear(64, 10)), (2, 1, 8, 8), None),  # the second sees no pixels
        (nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 8, 3))), (2, 1, 8, 8), None),
    ],
)
def test_the_first_layer_is_what_sees_pixels(model: nn.Module, shape: tuple[int, ...], name: str | None) -> None:
    found = first_layer(model, shape)
    assert (None if found is None else found[0]) == name


def test_looking_at_a_weight_that_is_computed_would_change_it() -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 8, 3)), *network(norm=False)[5:7],
                             nn.Linear(72, 10))  # fmt: skip

    alone = Training(build=build, images=96, epochs=1, evaluated=False).run()
    doctor, model, _ = short(build)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in alone.model.state_dict().items())
    assert all(each.kernels is None for each in doctor.record.networks)


def test_feature_maps_are_what_the_layers_put_out_for_the_image_beside_them() -> None:
    doctor, model, _ = short(lambda: network(norm=False, dropout=0.0), optimizer=still)
    features = only(doctor.record).features
    assert features is not None
    assert [each.layer for each in features.maps] == ["0", "1", "2", "3", "4", "5"]
    assert features.step == only(doctor.record).layers["0"].steps[-1]
    values = torch.from_numpy(features.image)[None]
    assert any(torch.equal(values[0], each) for each in digits()[0][:96])
    for number, each in enumerate(features.maps):
        values = model[number](values)
        assert each.shape == tuple(values.shape[1:])
        assert each.values == pytest.approx(values[0, :8].detach().numpy(), abs=1e-5)
    shown = sight_of(only(doctor.record))[1]
    assert shown.lead == f"What layers make of one image: the first of the training batch at step {features.step}."
    assert len(pictures_in(feature_maps(features))) == 1 + 6 * 8


def test_tokens_are_maps_without_the_class_token() -> None:
    doctor, model, _ = short(Tokens, optimizer=still)
    features, known = only(doctor.record).features, only(doctor.record).kernels
    assert features is not None
    assert known is not None
    assert (known.layer, known.values[0].shape) == ("patch", (12, 1, 2, 2))
    assert [(each.layer, each.shape) for each in features.maps] == [
        ("patch", (12, 4, 4)), ("norms.0", (12, 4, 4)), ("norms.1", (12, 4, 4)),
    ]  # fmt: skip
    image = torch.from_numpy(features.image)[None]
    patches = model.patch(image)
    expected = model.norms[0](patches.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (4, 4))
    assert features.maps[1].values == pytest.approx(expected[0, :8].detach().numpy(), abs=1e-5)


def test_what_is_no_map_has_none() -> None:
    assert map_shape(nn.ReLU(), (32, 64)) is None
    assert map_shape(nn.ReLU(), (32, 64, 1, 1)) is None
    assert map_shape(nn.GELU(), (32, 60, 16)) is None
    assert map_shape(nn.LayerNorm(96), (2, 14, 12, 96)) == (96, 14, 12)
    assert as_maps(nn.ReLU(), torch.zeros(2, 3, 4, 4, dtype=torch.int64)) is None


def test_a_plain_perceptron_shows_its_first_weights_as_pictures_and_no_maps() -> None:
    doctor, _, before = short(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 70), nn.ReLU(), nn.Linear(70, 10)))
    known = only(doctor.record).kernels
    assert known is not None
    assert np.array_equal(known.values[0], before["1.weight"][:64].reshape(64, 1, 8, 8).numpy())
    (shown,) = sight_of(only(doctor.record))
    assert isinstance(shown.blocks[0], Figure)
    assert shown.blocks[0].caption == "The first 64 of 70 kernels of 1, at the start."


def test_what_sees_no_pictures_has_neither() -> None:
    def rows() -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = digits()
        return images.flatten(1), labels

    doctor, _, _ = short(lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), data=rows)
    assert not sight_of(only(doctor.record))


def test_pictures_in_colour_are_shown_in_colour() -> None:
    def coloured() -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = digits()
        return torch.cat([images, -images, 0 * images], dim=1), labels

    doctor, _, _ = short(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), data=coloured)
    seen = doctor.record.galleries["train"]
    assert len(seen.colours) == 24
    assert len(seen.pictures) == 96
    shown = shown_pictures(seen, [0], [])[0].image
    assert shown is not None
    pixels = np.array(Image.open(io.BytesIO(shown)))
    assert pixels.shape == (64, 64, 3)
    assert pixels[..., 0].max() == 255
    assert np.abs(pixels[..., 0].astype(int) + pixels[..., 1] - 255).max() <= 1  # one is the negative of the other


def test_an_image_of_ones_own_can_be_looked_at(tmp_path: Path) -> None:
    model = network()
    image = digits()[0][0]
    before, state = {name: each.clone() for name, each in model.state_dict().items()}, torch.get_rng_state()
    model[1].eval()
    sight = fovea.doctor.see(model, image, channels=3)
    assert [each.training for each in model] == [True, False, *[True] * 9]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(each._forward_hooks for each in model)
    features = sight.network.features
    assert features is not None
    assert [each.layer for each in features.maps] == ["0", "1", "2", "3", "4", "5"]
    assert features.maps[0].values == pytest.approx(model[0](image[None])[0, :3].detach().numpy(), abs=1e-5)
    sight.write_html(tmp_path / "a.html", title="Eine 5 <b>")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Eine 5 &lt;b&gt;" in text
    assert "All 16 kernels of 0." in text
    chosen = fovea.doctor.see(model, image, layers=["3"]).network.features
    assert chosen is not None
    assert [each.layer for each in chosen.maps] == ["3"]


def test_an_image_that_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(ValueError, match=r"the image has the shape \(8, 8\), expected \(C, H, W\)"):
        fovea.doctor.see(network(), torch.zeros(8, 8))
    with pytest.raises(UnknownName, match="unknown layer 'conv'"):
        fovea.doctor.see(network(), torch.zeros(1, 8, 8), layers=["conv"])


def test_maps_of_an_image_that_broke_the_network_are_drawn() -> None:
    features = Features(3, np.full((1, 8, 8), np.nan, np.float32), [])
    assert feature_maps(features) is None
    sight = fovea.doctor.see(network(), torch.full((1, 8, 8), torch.nan))
    assert sight.network.features is not None
    assert pictures_in(feature_maps(sight.network.features))
