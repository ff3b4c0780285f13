"""Is one picture the other, moved a little? Lays pairs of small grey pictures over each other and compares them.

Two photos of one scene have alike layouts; only copies of one photo agree in their fine structure once they are laid
over each other. So each pair is aligned by an affine map (crop, scale, shift, small rotation, stretch) with brightness
and contrast free, and then compared block by block: text, a logo or a border spoils some blocks, not all.

The alignment is the inverse compositional Lucas-Kanade algorithm with gain and bias (Baker and Matthews 2004,
"Lucas-Kanade 20 years on", section 3 and part 3; gain and bias as in Evangelidis and Psarakis 2008), from coarse to
fine, over many pairs at once. A map takes the unit square of the first picture, -1 to 1 on both axes, to places in the
second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fovea.data.audit.threads import side_by_side

# side in pixels, steps, least correlation to go on; all but one in a hundred copies stay above it
_LEVELS = ((16, 6, 0.85), (32, 5, 0.93), (64, 1, 0.93))
_SPREAD = 2.0  # an error of this many mean errors counts a quarter
_BLOCK = 8  # px of 64: the side of a block that is compared by itself
_FLAT = 3.0  # grey levels: a block that varies less in both pictures shows nothing to compare
_SOFTER = 0.5  # blur of what is shown larger, for each unit by which its area exceeds 1
_REFITS, _CHANGED = 3, 4.0  # of the contrast before changes are told; grey levels that are a change
_INSIDE = 0.65  # of a block that must lie inside both pictures
_LIKELY = 0.6  # median from which on the rest is worth looking at
_PAIRS = 48  # aligned together: as many as fit the processor's cache


class Fit(NamedTuple):
    """How well pairs fit after alignment, each (P,).

    Attributes:
        correlation: of the grey values where the pictures overlap and agree, -1 to 1; 0 where no map was found.
        lower, middle: quartile and median, over the blocks with fine structure, of its correlation; 0 without any.
        overlap: share of the first picture that the second one covers.
        detail: how many blocks have fine structure, of 64.
        changed: share of the common area whose brightness is not the other's after all.
        one_way: how far that goes one way: 1 where all has become brighter, or all darker, 0 where as much has both.
        spread: over how many blocks the fine structure is spread, if all of them had as much of it.
        roughness: share of the fine structure, in the smoother picture, that is as fine as the pixels.
        moved: how far the corner that moves most is moved, in half sides.

    Changes and roughness are looked at only where the median is at least 0.6; elsewhere they are 0.
    """

    correlation: np.ndarray
    lower: np.ndarray
    middle: np.ndarray
    overlap: np.ndarray
    detail: np.ndarray
    changed: np.ndarray
    one_way: np.ndarray
    spread: np.ndarray
    roughness: np.ndarray
    moved: np.ndarray


def align(
    first: np.ndarray, second: np.ndarray, first_rims: np.ndarray, second_rims: np.ndarray, start: np.ndarray
) -> Fit:
    """Align pairs of pictures.

    Args:
        first, second: uint8 (P, 64, 64).
        first_rims, second_rims: share of the side that a plain border takes left, top, right and bottom, (P, 4).
        start: a first guess, from places within the borders of the first to places within those of the second, each
            a square from -1 to 1, (P, 2, 3).
    """

    def of_some(low: int) -> np.ndarray:
        some = slice(low, low + _PAIRS)
        one, other = (torch.from_numpy(values[some]).float() for values in (first, second))
        own, its = (_boxes(torch.from_numpy(values[some]).float()) for values in (first_rims, second_rims))
        return _align(one, other, own, its, torch.from_numpy(start[some]).float())

    return Fit(
        *np.concatenate(
            [np.zeros((len(Fit._fields), 0), np.float32), *side_by_side(of_some, range(0, len(first), _PAIRS))], 1
        )
    )


def _boxes(rims: Tensor) -> Tensor:
    """Return centre and half size of what borders leave, on the square -1 to 1: (P, 4) -> (P, 4) as x, y, w, h."""
    left, top, right, bottom = rims.unbind(1)
    return torch.stack([left - right, top - bottom, 1 - left - right, 1 - top - bottom], dim=1)


def _between(first_boxes: Tensor, second_boxes: Tensor, inner: Tensor) -> Tensor:
    """Turn maps between the insides of boxes into maps between the pictures, (P, 2, 3)."""
    turn = inner[:, :, :2] * second_boxes[:, 2:, None] / first_boxes[:, None, 2:]
    shift = second_boxes[:, :2] + inner[:, :, 2] * second_boxes[:, 2:]
    shift = shift - (turn @ first_boxes[:, :2, None])[:, :, 0]
    return torch.cat([turn, shift[:, :, None]], dim=2)


@torch.inference_mode()
def _align(first: Tensor, second: Tensor, first_boxes: Tensor, second_boxes: Tensor, start: Tensor) -> np.ndarray:
    """Return the rows of `Fit` (10, P) for up to `_PAIRS` pairs.

    The picture that shows things larger comes first: looked up in the other it is not thinned out.
    """
    count = len(first)
    maps = _between(first_boxes, second_boxes, start)
    swapped = maps[:, :, :2].det() > 1
    first, second = _swapped(swapped, first, second)
    first_boxes, second_boxes = _swapped(swapped, first_boxes, second_boxes)
    maps, _ = _swapped(swapped, maps, _inverse(maps))
    correlation = torch.zeros(count)
    alive = torch.arange(count)
    for side, steps, least in _LEVELS:
        template, image = (_shrunk(pictures[alive], side) for pictures in (first, second))
        boxes = first_boxes[alive], second_boxes[alive]
        maps[alive], correlation[alive] = _lucas_kanade(template, image, *boxes, maps[alive], steps)
        alive = alive[(correlation[alive] >= least) & _plausible(maps[alive])]
        if not len(alive):
            break
    fits = torch.zeros(len(Fit._fields), count)
    if len(alive):
        some = (values[alive] for values in (first, second, first_boxes, second_boxes, maps))
        fits[:, alive] = torch.stack([correlation[alive], *_compare(*some)])
    shared = Fit._fields.index("overlap")
    fits[shared] *= torch.where(swapped, maps[:, :, :2].det(), 1)  # of the one that came first
    return fits.numpy()


def _shrunk(pictures: Tensor, side: int) -> Tensor:
    """Return (P, 64, 64) at another side, slightly blurred: gradients then reach further than a pixel."""
    small = (
        F.avg_pool2d(pictures[:, None], pictures.shape[-1] // side) if side < pictures.shape[-1] else pictures[:, None]
    )
    return _blurred(small)[:, 0]


def _blurred(pictures: Tensor) -> Tensor:
    """Binomial 3 x 3 blur of (P, C, H, W); shifted sums are four times as fast as convolutions of this size."""
    padded = F.pad(pictures, (1, 1, 1, 1), mode="replicate")
    rows = 2 * padded[..., 1:-1, :] + padded[..., :-2, :] + padded[..., 2:, :]
    return (2 * rows[..., 1:-1] + rows[..., :-2] + rows[..., 2:]) / 16


def _lucas_kanade(
    template: Tensor, image: Tensor, first_boxes: Tensor, second_boxes: Tensor, maps: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Refine maps (P, 2, 3) of pairs (P, S, S); return them and the correlation where the pictures agree.

    Pixels that fit badly count little, by the weights of Geman and McClure: a logo or a black corner is no reason to
    move the rest.
    """
    count, side = len(template), template.shape[-1]
    x, y = _places(side)
    own = _within(x, y, first_boxes, side)
    down, across = torch.gradient(template, dim=(1, 2))
    across, down = (slope.flatten(1) * side / 2 for slope in (across, down))  # per unit of -1..1
    # change of the template by each of the six numbers of a map
    columns = torch.stack([across * x, across * y, across, down * x, down * y, down], dim=2)  # (P, S*S, 6)
    flat = template.flatten(1)
    weight = own
    for step in range(steps + 1):
        warped, inside = _warped(image, maps, second_boxes)
        weight = inside * own if step == 0 else weight * inside
        error, correlation = _misfit(_centred(flat, weight), _centred(warped, weight), weight)
        if step == steps:
            break
        slopes = _centred(columns.transpose(1, 2), weight[:, None]) * weight[:, None]  # (P, 6, S*S)
        hessian = slopes @ columns  # (P, 6, 6)
        damping = 1e-3 * hessian.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-3)
        hessian = hessian + damping[:, None, None] * torch.eye(6)
        change = torch.linalg.solve(hessian, (slopes @ error[:, :, None])[:, :, 0])  # (P, 6)
        maps = _compose_inverse(maps, change.clamp(-0.25, 0.25).view(count, 2, 3))
        spread = (own * inside * error.abs()).sum(1) / (own * inside).sum(1).clamp_min(1)
        weight = own * _trust(error, spread)
    return maps, correlation


def _misfit(fixed: Tensor, moved: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return errors (P, N) of centred pictures once the moved one has the other's contrast, and correlations (P,)."""
    product, power = (weight * fixed * moved).sum(1), (weight * moved * moved).sum(1)
    correlation = product / ((weight * fixed * fixed).sum(1) * power).sqrt().clamp_min(1e-3)
    gain = (product / power.clamp_min(1e-3)).clamp(0.2, 5.0)
    return gain[:, None] * moved - fixed, correlation


def _trust(error: Tensor, spread: Tensor) -> Tensor:
    """Weights of Geman and McClure for errors (P, N) whose mean size is `spread` (P,)."""
    return 1 / (1 + (error / (_SPREAD * spread[:, None]).clamp_min(1.0)).square()).square()


def _places(side: int) -> tuple[Tensor, Tensor]:
    """The centres of the pixels of a picture on the unit square, x and y, each (S*S,)."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x.flatten(), y.flatten()


def _within(x: Tensor, y: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return 1 for places at least a pixel inside the boxes (P, 4), else 0; x and y (N,) or (P, N) -> (P, N)."""
    centre_x, centre_y, half_x, half_y = (value[:, None] for value in boxes.unbind(1))
    bordered = (boxes[:, 2:] < 1).any(1, keepdim=True) * 2 / side  # a border shines a pixel in; the edge does not
    across, down = (x - centre_x).abs() <= half_x - bordered, (y - centre_y).abs() <= half_y - bordered
    return (across & down).float()


def _warped(image: Tensor, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pictures (P, S*S) seen through the maps, and 1 where that lies inside their boxes."""
    side = image.shape[-1]
    grid = F.affine_grid(maps, [len(image), 1, side, side], align_corners=False)
    seen = F.grid_sample(image[:, None], grid, align_corners=False, padding_mode="border")
    x, y = grid.flatten(1, 2).unbind(2)
    return seen.flatten(1), _within(x, y, boxes, side)


def _centred(values: Tensor, weight: Tensor) -> Tensor:
    """Subtract the weighted mean over the last axis."""
    return values - (values * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp_min(1)


def _compose_inverse(maps: Tensor, change: Tensor) -> Tensor:
    """Return the maps after the inverse of identity + change."""
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(maps), 1, 3)
    step = torch.cat([change + torch.eye(2, 3), last], dim=1)
    return maps @ torch.linalg.inv(step)


def _inverse(maps: Tensor) -> Tensor:
    """Return the maps that lead back, (P, 2, 3)."""
    last = torch.tensor([0.0, 0.0, 1.0]).expand(len(maps), 1, 3)
    return torch.linalg.inv(torch.cat([maps, last], dim=1))[:, :2]


def _plausible(maps: Tensor) -> Tensor:
    """Whether a map is what cropping, bordering, stretching or slightly turning a picture does."""
    a, b, c, d = maps[:, 0, 0], maps[:, 0, 1], maps[:, 1, 0], maps[:, 1, 1]
    across, down = (a * a + c * c).sqrt(), (b * b + d * d).sqrt()
    turned = (c.abs() < 0.35 * across) & (b.abs() < 0.35 * down) & (a > 0) & (d > 0)
    size = (across > 0.5) & (across < 2.0) & (down > 0.5) & (down < 2.0)
    return turned & size & (maps[:, :, 2].abs() < 0.6).all(dim=1)


def _compare(
    first: Tensor, second: Tensor, first_boxes: Tensor, second_boxes: Tensor, maps: Tensor
) -> tuple[Tensor, ...]:
    """Compare pairs once they are aligned; return the rows of `Fit` after the correlation.

    The first picture, which shows things larger, is blurred as much as enlarging blurs the other.
    """
    count, side = len(first), first.shape[-1]
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    away = (corners @ maps[:, :, :2].transpose(1, 2) + maps[:, None, :, 2] - corners).norm(dim=2).amax(1)
    blur = ((1 / maps[:, :, :2].det() - 1) * _SOFTER).clamp(0, 1)[:, None, None]
    fixed = first + blur * (_blurred(first[:, None])[:, 0] - first)
    warped, inside = _warped(second, maps, second_boxes)
    seen = inside * _within(*_places(side), first_boxes, side)
    mask = (_blurred(seen.view(count, 1, side, side)) > 0.99).float()[:, 0]  # what lies beyond shines a pixel in
    pair = (_blocks(values) for values in _fine(fixed, warped.view(count, side, side), mask))  # (P, B, px)
    one, other = (values - values.mean(2, keepdim=True) for values in pair)
    strength = [values.square().mean(2).sqrt() for values in (one, other)]
    shown = (_blocks(mask).mean(2) >= _INSIDE) & (torch.maximum(*strength) >= _FLAT)
    alike = (one * other).mean(2) / (strength[0] * strength[1]).clamp_min(1e-3)
    lower, middle = torch.where(shown, alike, torch.nan).nanquantile(torch.tensor([0.25, 0.5]), dim=1).nan_to_num(0)
    power = (strength[0] * strength[1]).sqrt() * shown
    spread = power.sum(1).square() / power.square().sum(1).clamp_min(1e-6)
    changed, one_way, roughness = torch.zeros(3, count)
    some = middle >= _LIKELY
    changed[some], one_way[some] = _changes(fixed.flatten(1)[some], warped[some], seen[some])
    roughness[some] = torch.minimum(_roughness(first[some]), _roughness(second[some]))
    return lower, middle, seen.mean(1), shown.sum(1).float(), changed, one_way, spread, roughness, away


def _swapped(swapped: Tensor, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return both, exchanged in the rows that say so."""
    wide = swapped.view(-1, *[1] * (one.ndim - 1))
    return torch.where(wide, other, one), torch.where(wide, one, other)


def _changes(fixed: Tensor, moved: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what share of the pixels (P, N) in the mask has changed, and how much more one way than the other."""
    weight = mask
    for _ in range(_REFITS):
        one, other = _centred(fixed, weight), _centred(moved, weight)
        error, _ = _misfit(one, other, weight)
        weight = mask * _trust(error, (weight * error.abs()).sum(1) / weight.sum(1).clamp_min(1))
    error = error * mask * (error.abs() > _CHANGED)
    return (error != 0).float().sum(1) / mask.sum(1).clamp_min(1), error.sum(1).abs() / error.abs().sum(1).clamp_min(1)


def _fine(one: Tensor, other: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of two pictures (P, S, S) without their coarse structure, both seen through the same mask.

    What one of them shows outside, a black corner or more of the scene, has no part in it.
    """
    values = torch.stack([one * mask, other * mask, mask], dim=1)  # (P, 3, S, S)
    smooth, soft = (part[:, :2] / part[:, 2:].clamp_min(1e-3) for part in (_blurred(values), _softened(values)))
    one, other = ((smooth - soft) * mask[:, None]).unbind(1)
    return one, other


def _roughness(pictures: Tensor) -> Tensor:
    """Return what share of the fine structure of pictures (P, S, S) a further blur takes away."""
    smooth = _blurred(pictures[:, None])
    padded = F.pad(smooth, (4, 4, 4, 4), mode="replicate")
    fine = smooth - _softened(padded)[:, :, 4:-4, 4:-4]
    finest = fine - _blurred(fine)
    return finest.square().mean((1, 2, 3)) / fine.square().mean((1, 2, 3)).clamp_min(1e-3)


def _softened(pictures: Tensor) -> Tensor:
    """Return the means of (P, C, H, W) over 9 x 9 pixels; beyond the edge is nothing."""
    sums = F.pad(pictures, (5, 4, 5, 4)).cumsum(-1)
    sums = (sums[..., 9:] - sums[..., :-9]).cumsum(-2)
    return (sums[..., 9:, :] - sums[..., :-9, :]) / 81


def _blocks(pictures: Tensor) -> Tensor:
    """Cut pictures (P, S, S) into blocks: (P, blocks, pixels)."""
    count, side = len(pictures), pictures.shape[-1] // _BLOCK
    cut = pictures.reshape(count, side, _BLOCK, side, _BLOCK).transpose(2, 3)  # (P,S,S) -> (P,s,s,8,8)
    return cut.reshape(count, side * side, _BLOCK * _BLOCK)
