"""Pooling of regions: boxes on a map become maps of one size. Boxes are (x1, y1, x2, y2) in pixels of the image.

Wraps torchvision where it has the layer; deformable RoI pooling it has not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import ops

from fovea.core.registry import Registry
from fovea.layers.windows import Size, pair, precise

ROI: Registry[Callable[..., nn.Module]] = Registry("RoI pooling layer")


@ROI.register("roi_pool", summary="maximum over each of h × w rounded bins (Girshick 2015, §2.1)")
class RoIPool(ops.RoIPool):
    """torchvision's RoI pooling, for half precision too: the maximum of each bin, whose borders are rounded.

    Shape: features (B,C,H,W) and a list of B tensors (n,4), or one (K,5) with the image's number first -> (K,C,h,w).

    Source: Girshick 2015, "Fast R-CNN", section 2.1.

    >>> RoIPool(output_size=1)(torch.arange(16.0).view(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 1.0, 1.0]])]).item()
    5.0
    """

    def __init__(self, *, output_size: Size, spatial_scale: float = 1.0) -> None:
        super().__init__(pair(output_size), spatial_scale)

    def forward(self, features: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        """Pool each box."""
        wide = precise(features)
        return super().forward(wide, _regions(boxes, wide)).to(features.dtype)


@ROI.register("roi_align", summary="mean of bilinear samples in each of h × w exact bins (He 2017, §3)")
class RoIAlign(ops.RoIAlign):
    """torchvision's RoI align, for half precision too: bins are not rounded, and sampled bilinearly.

    Args:
        output_size: h and w.
        spatial_scale: size of the map over size of the image.
        sampling_ratio: samples along each side of a bin.

    Shape: features (B,C,H,W) and a list of B tensors (n,4), or one (K,5) with the image's number first -> (K,C,h,w).

    Source: He et al. 2017, "Mask R-CNN", section 3 (RoIAlign).

    >>> RoIAlign(output_size=1)(torch.arange(16.0).view(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 2.0, 2.0]])]).item()
    2.5
    """

    def __init__(self, *, output_size: Size, spatial_scale: float = 1.0, sampling_ratio: int = 2) -> None:
        super().__init__(pair(output_size), spatial_scale, sampling_ratio, aligned=True)

    def forward(self, features: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        """Pool each box."""
        wide = precise(features)
        return super().forward(wide, _regions(boxes, wide)).to(features.dtype)


@ROI.register("deformable_roi", summary="RoI align whose bins move by learnt offsets (Dai 2017, §2.2)")
class DeformableRoIAlign(nn.Module):
    """RoI align whose bins are moved by offsets that a linear layer reads from the plainly pooled region.

    The offsets are shares of the box's width and height, times γ = 0.1. The linear layer begins at zero, that is as
    plain RoI align.

    Args:
        channels: of the map.
        output_size, spatial_scale, sampling_ratio: as for `RoIAlign`.

    Shape: features (B,C,H,W) and a list of B tensors (n,4), or one (K,5) with the image's number first -> (K,C,h,w).

    Source: Dai et al. 2017, "Deformable convolutional networks", section 2.2 (with the bins of RoI align).

    >>> layer = DeformableRoIAlign(1, output_size=1)
    >>> layer(torch.arange(16.0).view(1, 1, 4, 4), [torch.tensor([[0.0, 0.0, 2.0, 2.0]])]).item()
    2.5
    """

    gamma = 0.1

    def __init__(
        self, channels: int, *, output_size: Size, spatial_scale: float = 1.0, sampling_ratio: int = 2
    ) -> None:
        super().__init__()
        self.plain = RoIAlign(output_size=output_size, spatial_scale=spatial_scale, sampling_ratio=sampling_ratio)
        height, width = pair(output_size)
        self.offsets = nn.Linear(channels * height * width, 2 * height * width)
        for parameter in self.offsets.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, boxes: Tensor | list[Tensor]) -> Tensor:
        """Pool each box, look at it, and pool again where the offsets lead."""
        height, width = self.plain.output_size
        pooled = self.plain(features, boxes)  # (K,C,h,w)
        offsets = self.gamma * self.offsets(pooled.flatten(1)).view(-1, height, width, 2)  # (K,2*h*w) -> (K,h,w,2)
        return deformable_roi_align(
            features,
            boxes,
            offsets,
            spatial_scale=self.plain.spatial_scale,
            sampling_ratio=self.plain.sampling_ratio,
        )


def deformable_roi_align(
    features: Tensor,
    boxes: Tensor | list[Tensor],
    offsets: Tensor,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
) -> Tensor:
    """Pool boxes whose bins are moved: bin (i, j) is shifted by `offsets[:, i, j]` and averaged.

    Args:
        features: (B,C,H,W).
        boxes: a list of B tensors (n,4), or one (K,5) with the image's number first.
        offsets: (K,h,w,2), along x and y, as shares of the box's width and height. Gradients reach them. With zeros the
            result is torchvision's `roi_align(…, aligned=True)`.
        spatial_scale: size of the map over size of the image.
        sampling_ratio: samples along each side of a bin.

    Returns:
        (K,C,h,w). A sample more than one place outside the map counts as 0, as in `roi_align`.

    Raises:
        ValueError: shapes that do not fit, or on the CPU the number of an image that is not there.

    Source: Dai et al. 2017, section 2.2, equations 5 and 6.

    >>> one_box, half_a_box_to_the_right = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), torch.tensor([0.5, 0.0])
    >>> features, offsets = torch.arange(16.0).view(1, 1, 4, 4), half_a_box_to_the_right.view(1, 1, 1, 2)
    >>> deformable_roi_align(features, one_box, offsets).item()
    3.5
    """
    wide = precise(features)
    regions = _regions(boxes, wide)
    if offsets.ndim != 4 or (len(offsets), offsets.shape[-1]) != (len(regions), 2):
        raise ValueError(
            f"offsets have shape {tuple(offsets.shape)}, expected ({len(regions)},h,w,2): x and y for each bin"
        )
    points = _sample_points(regions, precise(offsets).to(wide.dtype), spatial_scale, sampling_ratio)
    count, height, width = offsets.shape[:3]
    pooled = wide.new_zeros((count, wide.shape[1], height, width))
    for image in range(len(wide)):
        mine = regions[:, 0] == image
        if mine.any():
            samples = _bilinear(wide[image], points[mine].flatten(0, -2))  # (C,P)
            bins = samples.view(len(samples), -1, height, width, sampling_ratio**2)  # (C,P) -> (C,n,h,w,s*s)
            pooled[mine] = bins.mean(-1).transpose(0, 1)
    return pooled.to(features.dtype)


def _regions(boxes: Tensor | list[Tensor], features: Tensor) -> Tensor:
    """Return boxes as (K,5), the image's number first, in the type of the features (B,C,H,W), checked to fit them."""
    images = len(features)
    if isinstance(boxes, Tensor):
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f"boxes have shape {tuple(boxes.shape)}, expected (K,5): the image's number, x1, y1, x2, y2"
            )
        if boxes.device.type == "cpu" and len(boxes) and not 0 <= boxes[:, 0].min() <= boxes[:, 0].max() < images:
            low, high = boxes[:, 0].min().item(), boxes[:, 0].max().item()
            raise ValueError(f"boxes are of images {low:g} to {high:g}; there are {images}, counted from 0")
        return boxes.to(features)
    if len(boxes) != images:
        raise ValueError(f"boxes are a list of {len(boxes)}, expected {images}: a tensor (n,4) for each image")
    if wrong := [tuple(of_one.shape) for of_one in boxes if of_one.ndim != 2 or of_one.shape[1] != 4]:
        raise ValueError(f"boxes of an image have shape {wrong[0]}, expected (n,4): x1, y1, x2, y2")
    numbered = [F.pad(of_one, (1, 0), value=float(image)) for image, of_one in enumerate(boxes)]
    return torch.cat(numbered).to(features)


def _sample_points(regions: Tensor, offsets: Tensor, spatial_scale: float, sampling_ratio: int) -> Tensor:
    """Return where each bin is sampled, (K,h,w,s*s,2) as x and y on the map; 0 is the middle of the first place."""
    _, height, width, _ = offsets.shape
    corner = regions[:, 1:3] * spatial_scale - 0.5
    size = (regions[:, 3:5] - regions[:, 1:3]) * spatial_scale  # (K,2)

    def fractions(bins: int) -> Tensor:  # (bins, s): sample positions along a side, as shares of it
        steps = torch.arange(bins * sampling_ratio, dtype=regions.dtype, device=regions.device)
        return ((steps + 0.5) / (bins * sampling_ratio)).view(bins, sampling_ratio)

    across = fractions(width)[None, :, None, :].expand(height, -1, sampling_ratio, -1)  # (h,w,s,s)
    down = fractions(height)[:, None, :, None].expand(-1, width, -1, sampling_ratio)
    grid = torch.stack([across, down], -1).flatten(2, 3)  # (h,w,s,s,2) -> (h,w,s*s,2)
    return corner[:, None, None, None] + (grid + offsets[:, :, :, None]) * size[:, None, None, None]


def _bilinear(image: Tensor, points: Tensor) -> Tensor:
    """Sample one map (C,H,W) at points (P,2) -> (C,P); beyond the border by more than one place lies nothing."""
    height, width = image.shape[-2:]
    size = points.new_tensor([width, height])
    inside = ((points >= -1) & (points <= size)).all(-1)
    # grid_sample counts from -1 to 1 over the outer edges of the map
    grid = ((2 * points + 1) / size - 1)[None, None]  # (P,2) -> (1,1,P,2)
    sampled = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)
    return sampled[0, :, 0] * inside
