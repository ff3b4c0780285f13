"""The preprocessing equals timm's, travels losslessly, and normalises as stated."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from fovea.core.errors import ModelError
from fovea.data.preprocess import Preprocess

SIZES = [(50, 80), (81, 50), (64, 64), (33, 200), (201, 33), (300, 401), (7, 5)]


def photo(width: int, height: int) -> np.ndarray:
    """Smooth colours with hard edges, so that filters and offsets show."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5) + np.cos(y / 7), np.sin((x + y) / 3), np.cos(x * y / 90)], -1)
    image = (127 + 60 * waves).clip(0, 255).astype(np.uint8)
    image[height // 3 :, width // 2 :] = (250, 10, 130)
    return image


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize(("input_size", "crop_pct"), [(64, 0.875), (63, 0.95), (32, 1.0)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_pixels_equal_those_of_timm(resize: str, input_size: int, crop_pct: float, interpolation: str) -> None:
    from timm.data import create_transform

    ours = Preprocess(input_size=input_size, resize=resize, crop_pct=crop_pct, interpolation=interpolation)  # type: ignore[arg-type]
    cfg = ours.as_pretrained_cfg()
    theirs = create_transform(**cfg, is_training=False, normalize=False)
    for width, height in SIZES:
        image = photo(width, height)
        expected = np.asarray(theirs(Image.fromarray(image)).permute(1, 2, 0))
        np.testing.assert_array_equal(ours.pixels(image), expected, err_msg=f"{width} x {height}")


def test_pixels_and_normalise_give_the_tensor_timm_feeds() -> None:
    from timm.data import create_transform

    ours = Preprocess(input_size=48, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.5))
    image = photo(90, 70)
    expected = create_transform(**ours.as_pretrained_cfg(), is_training=False)(Image.fromarray(image))
    torch.testing.assert_close(ours.normalise(ours.pixels(image)[None])[0], expected, atol=2e-6, rtol=0)


def test_normalise_is_channels_last_and_leaves_its_input_alone() -> None:
    pixels = torch.arange(2 * 5 * 4 * 3, dtype=torch.uint8).reshape(2, 5, 4, 3)
    before = pixels.clone()
    out = Preprocess(mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25)).normalise(pixels)
    assert out.shape == (2, 3, 5, 4)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before)
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.0, (1 / 255 - 0.5) / 0.5, (2 / 255 - 1) / 0.25], abs=1e-6)


def test_normalise_takes_a_read_only_array_and_refuses_other_shapes() -> None:
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    assert Preprocess().normalise(pixels).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"expected uint8 \(B, H, W, 3\), got torch.float32 \(1, 2, 2, 3\)"):
        Preprocess().normalise(pixels.astype(np.float32))
    with pytest.raises(ValueError, match=r"got torch.uint8 \(2, 2, 3\)"):
        Preprocess().normalise(pixels[0])


def test_every_value_survives_json() -> None:
    spec = Preprocess(input_size=97, resize="pad", crop_pct=0.9, interpolation="lanczos", mean=(0.1, 0.2, 1 / 3))
    assert Preprocess.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    assert spec.as_dict()["color_order"] == "rgb"
    assert Preprocess.from_pretrained_cfg(json.loads(json.dumps(spec.as_pretrained_cfg()))) == spec


def test_the_cfg_of_real_weights(shared) -> None:
    cfg = json.loads((shared / "weights/mobilenetv2_100.tf_in1k/config.json").read_text())
    spec = Preprocess.from_pretrained_cfg(cfg.get("pretrained_cfg", cfg))
    assert spec.input_size == 224
    assert spec.interpolation == "bicubic"


def test_timms_defaults_where_the_cfg_is_silent() -> None:
    spec = Preprocess.from_pretrained_cfg({})
    assert (spec.input_size, spec.crop_pct, spec.interpolation, spec.resize) == (224, 0.875, "bicubic", "crop")
    assert spec.mean == (0.485, 0.456, 0.406)
    assert Preprocess.from_pretrained_cfg({"mean": (0.5,), "interpolation": "random"}).mean == (0.5, 0.5, 0.5)


def test_overrides() -> None:
    cfg = {"input_size": (3, 224, 224), "crop_pct": 0.875, "crop_mode": "center"}
    assert Preprocess.from_pretrained_cfg(cfg, input_size=96).scaled_size == 109
    assert Preprocess.from_pretrained_cfg(cfg, resize="crop").crop_pct == 0.875
    squash = Preprocess.from_pretrained_cfg(cfg, resize="squash")
    assert (squash.resize, squash.crop_pct) == ("squash", 1.0)


def test_what_cannot_be_fed_is_refused() -> None:
    with pytest.raises(ModelError, match="1 channels of 28 x 28"):
        Preprocess.from_pretrained_cfg({"input_size": (1, 28, 28)})
    with pytest.raises(ModelError, match="224 x 160"):
        Preprocess.from_pretrained_cfg({"input_size": (3, 224, 160)})
    with pytest.raises(ModelError, match="'bgr'"):
        Preprocess.from_dict({**Preprocess().as_dict(), "color_order": "bgr"})
    for wrong in (
        {"crop_pct": 0.0},
        {"crop_pct": 1.5},
        {"resize": "zoom"},
        {"interpolation": "best"},
        {"std": (0, 1, 1)},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Preprocess(**wrong)  # type: ignore[arg-type]


def test_reduced_decoding_changes_little(shared, tmp_path) -> None:
    source = next((shared / "data/grocery/train").rglob("*.jpg"))
    big = tmp_path / "groß 2000.jpg"
    Image.open(source).resize((2000, 1500), Image.Resampling.BICUBIC).save(big, quality=92)
    spec = Preprocess(input_size=224, interpolation="bicubic")
    exact = spec.pixels(np.asarray(Image.open(big)))
    difference = np.abs(spec.read(big).astype(int) - exact)
    assert 0 < difference.mean() < 1.0


def test_the_geometry_key_ignores_what_does_not_change_pixels() -> None:
    assert Preprocess(mean=(0.5, 0.5, 0.5)).geometry == Preprocess().geometry
    assert Preprocess(resize="pad", mean=(0.5, 0.5, 0.5)).geometry != Preprocess(resize="pad").geometry
    assert Preprocess(input_size=96).geometry != Preprocess().geometry


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, fovea.data.preprocess; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
