"""RoI pooling: torchvision's for half precision too, and the deformable one as plain RoI align without offsets."""

from __future__ import annotations

import pytest
import torch
from torchvision import ops

from fovea.layers import create, deformable_roi_align

FEATURES = torch.randn(3, 4, 9, 11, generator=torch.Generator().manual_seed(0))
BOXES = [
    torch.tensor([[3.0, 5.0, 60.0, 41.0], [-9.0, -7.0, 30.0, 20.0]]),  # beyond the border
    torch.zeros(0, 4),
    torch.tensor([[50.0, 40.0, 100.0, 90.0], [8.0, 8.0, 8.0, 24.0]]),  # beyond the other border; without width
]
SCALE = 1 / 8


@pytest.mark.parametrize("output_size", [1, 3, (2, 5)])
@pytest.mark.parametrize("sampling_ratio", [1, 2, 3])
def test_without_offsets_it_is_roi_align(output_size: int | tuple[int, int], sampling_ratio: int) -> None:
    expected = ops.roi_align(FEATURES, BOXES, output_size, SCALE, sampling_ratio, aligned=True)
    offsets = torch.zeros(len(expected), *expected.shape[-2:], 2)
    got = deformable_roi_align(FEATURES, BOXES, offsets, spatial_scale=SCALE, sampling_ratio=sampling_ratio)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_boxes_come_as_a_list_or_as_one_tensor() -> None:
    rows = torch.cat([torch.cat([torch.full((len(of), 1), float(i)), of], 1) for i, of in enumerate(BOXES)])
    for name, extra in (("roi_pool", {}), ("roi_align", {}), ("deformable_roi", {"channels": 4})):
        layer = create("roi", name, output_size=3, spatial_scale=SCALE, **extra)
        assert torch.equal(layer(FEATURES, BOXES), layer(FEATURES, rows))
        assert layer(FEATURES, rows).shape == (4, 4, 3, 3)


def test_an_offset_moves_a_bin_by_a_share_of_the_box() -> None:
    boxes = [torch.tensor([[16.0, 16.0, 48.0, 48.0]]), torch.zeros(0, 4), torch.zeros(0, 4)]
    moved = [boxes[0] + torch.tensor([8.0, 0.0, 8.0, 0.0]), boxes[1], boxes[2]]  # a quarter of its width to the right
    offsets = torch.zeros(1, 3, 3, 2)
    offsets[..., 0] = 0.25
    got = deformable_roi_align(FEATURES, boxes, offsets, spatial_scale=SCALE)
    torch.testing.assert_close(got, ops.roi_align(FEATURES, moved, 3, SCALE, 2, aligned=True))


def test_the_layer_begins_as_roi_align_and_learns_its_offsets() -> None:
    layer = create("roi", "deformable_roi", channels=4, output_size=3, spatial_scale=SCALE)
    out = layer(FEATURES, BOXES)
    torch.testing.assert_close(out, ops.roi_align(FEATURES, BOXES, 3, SCALE, 2, aligned=True), rtol=1e-4, atol=1e-5)
    out.square().sum().backward()
    assert layer.offsets.weight.grad.abs().sum() > 0


def test_offsets_have_the_gradients_of_finite_differences() -> None:
    features = FEATURES[:, :1].double().requires_grad_()
    offsets = (0.07 + 0.1 * torch.rand(4, 2, 2, 2, dtype=torch.float64)).requires_grad_()

    def run(features: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        return deformable_roi_align(features, BOXES, offsets, spatial_scale=SCALE)

    assert torch.autograd.gradcheck(run, (features, offsets))


def test_roi_pool_is_torchvisions_in_half_precision_too() -> None:
    layer = create("roi", "roi_pool", output_size=2, spatial_scale=SCALE)
    expected = ops.roi_pool(FEATURES.bfloat16().float(), BOXES, 2, SCALE)
    got = layer(FEATURES.bfloat16(), BOXES)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected)


@pytest.mark.parametrize("name", ["roi_pool", "roi_align", "deformable_roi"])
def test_no_boxes_give_no_regions(name: str) -> None:
    extra = {"channels": 4} if name == "deformable_roi" else {}
    layer = create("roi", name, output_size=2, **extra)
    assert layer(FEATURES, [torch.zeros(0, 4)] * 3).shape == (0, 4, 2, 2)


@pytest.mark.parametrize("name", ["roi_pool", "roi_align", "deformable_roi"])
@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(2, 4), r"shape \(2, 4\), expected \(K,5\)"),
        (torch.tensor([[3.0, 0, 0, 8, 8]]), "boxes are of images 3 to 3; there are 3, counted from 0"),
        (BOXES[:2], r"a list of 2, expected 3: a tensor \(n,4\) for each image"),
        ([torch.zeros(1, 5)] * 3, r"shape \(1, 5\), expected \(n,4\)"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(name: str, boxes: torch.Tensor | list[torch.Tensor], message: str) -> None:
    layer = create("roi", name, output_size=2, **({"channels": 4} if name == "deformable_roi" else {}))
    with pytest.raises(ValueError, match=message):
        layer(FEATURES, boxes)


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (4, 2, 2, 1), (4, 2, 2)])
def test_offsets_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(4,h,w,2\): x and y for each bin"):
        deformable_roi_align(FEATURES, BOXES, torch.zeros(shape))
