"""What the doctor reads off tensors and batches: which one is the image, the label, the score; and numbers of each.

B batch, C channels or classes, H height, W width.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

PICTURE_SIDE = 64
_MOST_CHANNELS = 4
_MOST_COLOURS = 24
_COMMON = 4  # values
_LOOKED_AT = 4096
_CANCELLED = 1e-3  # of the mean square, below which a variance of float32 is too inexact
_LABEL_NAMES = ("labels", "label", "targets", "target", "y", "fine_label")
_PLACE_NAMES = ("boxes", "bbox", "bboxes", "masks", "mask", "keypoints", "landmarks")
_SCORE_NAMES = ("logits", "scores", "out", "prediction", "predictions")


def find_inputs(args: Any, kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the first floating tensor with a batch axis among a module's arguments, or None.

    Detectors are given a list of images (C, H, W): those of the first one's size become a batch.
    """
    first = next(iter([*args, *kwargs.values()]), None)
    if isinstance(first, (list, tuple)) and first and all(_is_image(each) for each in first):
        return torch.stack([each for each in first if each.shape == first[0].shape])
    for value in tensors_of([*args, *kwargs.values()]):
        if value.is_floating_point() and value.ndim >= 2:
            return value
    return None


def _is_image(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim == 3


def find_scores(output: Any) -> torch.Tensor | None:
    """Return what a network puts out: its logits, where it names them, or else the first floating tensor."""
    if isinstance(output, Mapping):
        for name in _SCORE_NAMES:
            if isinstance(output.get(name), torch.Tensor):
                return output[name]
    for value in tensors_of([output]):
        if value.is_floating_point() and value.ndim >= 1:
            return value
    return None


def find_labels(batch: Any) -> torch.Tensor | None:
    """Return the labels of a batch: by name in a mapping, or the last tensor of integers or of zeros and ones."""
    if isinstance(batch, Mapping):
        for name in _LABEL_NAMES:
            if isinstance(batch.get(name), torch.Tensor):
                return batch[name]
        return None
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        return None
    for value in list(tensors_of(batch[1:]))[::-1]:
        if not value.is_floating_point() or value.ndim <= 2:
            return value
    return None


def find_places(batch: Any) -> str:
    """Return what the targets of a batch say of places ("boxes", "masks", "keypoints"), or nothing.

    >>> find_places([torch.zeros(2, 3, 8, 8), [{"boxes": torch.zeros(1, 4)}]])
    'boxes'
    """
    if isinstance(batch, Mapping):
        return next((name for name in batch if name in _PLACE_NAMES), "")
    if isinstance(batch, (list, tuple)):
        return next(filter(None, map(find_places, batch[:8])), "")
    return ""


def find_given_labels(module: nn.Module, args: Any, kwargs: Mapping[str, Any], rows: int) -> torch.Tensor | None:
    """Return the labels that a module was given beside its inputs, known by the name of the argument, or None."""
    named = {**dict(zip(_parameters(type(module).forward), [module, *args], strict=False)), **kwargs}
    for name in _LABEL_NAMES:
        value = named.get(name)
        if isinstance(value, torch.Tensor) and value.ndim >= 1 and len(value) == rows:
            return value.detach()
    return None


@cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(forward).parameters)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module holds no others; they are not asked for their truth, which for a compiled one is an error."""
    return next(module.children(), None) is None


def tensors_of(values: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors among nested values."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            yield from tensors_of(value.values())
        elif isinstance(value, (list, tuple)):
            yield from tensors_of(value)


def channel_statistics(inputs: torch.Tensor) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return mean and standard deviation of each channel (C,), and the lowest and the highest value, of (B, C, ...)."""
    values = inputs.detach().float()
    others = [axis for axis in range(values.ndim) if axis != 1] if values.ndim > 2 else [0, 1]
    mean, std = values.mean(dim=others).reshape(-1), spread(values, others).reshape(-1)
    told = torch.cat([mean, std, torch.stack(torch.aminmax(values))]).tolist()
    count = len(mean)
    return np.array(told[:count]), np.array(told[count:-2]), told[-2], told[-1]


def spread(values: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    """Return standard deviations over some axes: by plain reductions, which are many times faster than `std`.

    Where the values hardly differ from their mean, those leave nothing but rounding, and it is `std` that is asked.
    """
    count, dims = math.prod(values.shape[axis] for axis in dims), tuple(dims)
    square = torch.linalg.vector_norm(values, dim=dims).square() / count
    variance = square - values.mean(dim=dims).square()
    if not bool((variance > _CANCELLED * square).all()):
        return values.std(dim=dims)
    return (variance * count / max(1, count - 1)).sqrt()


def count_values(inputs: torch.Tensor) -> int:
    """Return how many different values there are among the first few thousand, of (B, ...)."""
    return len(torch.unique(inputs.detach().flatten()[:_LOOKED_AT]))


def common_values(inputs: torch.Tensor) -> dict[float, float]:
    """Return the commonest values among a few thousand, spread over all of (B, ...), with their shares."""
    flat = inputs.detach().flatten()
    some = flat[:: max(1, len(flat) // _LOOKED_AT) | 1].float()
    if not len(some):
        return {}
    values, counts = torch.unique(some, return_counts=True)
    top = counts.topk(min(_COMMON, len(counts)))
    return dict(zip(values[top.indices].tolist(), (top.values / len(some)).tolist(), strict=True))


def pixels_digest(inputs: torch.Tensor) -> str:
    """Return a digest of the values of a tensor."""
    content = inputs.detach().cpu().contiguous()
    raw = content.view(torch.uint8) if content.dtype == torch.bfloat16 else content
    return hashlib.blake2b(raw.numpy().data, digest_size=8).hexdigest()


def are_pictures(shape: Sequence[int]) -> bool:
    """Whether inputs (B, C, H, W) are pictures: what has more channels than colours is cached activations.

    >>> are_pictures((32, 3, 224, 224)), are_pictures((32, 320, 7, 7))
    (True, False)
    """
    return len(shape) == 4 and shape[1] <= _MOST_CHANNELS


def grey_pictures(inputs: torch.Tensor) -> np.ndarray:
    """Return images (B, C, H, W) as grey pictures (B, 64, 64), each from its own darkest value to its brightest."""
    return _bytes(inputs.detach().float().mean(dim=1, keepdim=True))[:, 0]


def colour_pictures(inputs: torch.Tensor) -> np.ndarray:
    """Return the first 24 images (B, C, H, W) in colour (24, 64, 64, 3), each over its whole range; none unless RGB."""
    if inputs.shape[1] != 3:
        return np.zeros((0, PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8)
    return _bytes(inputs.detach()[:_MOST_COLOURS].float()).transpose(0, 2, 3, 1)


def _bytes(images: torch.Tensor) -> np.ndarray:
    """Return images (B, C, H, W) of whatever range as pictures (B, C, 64, 64) uint8, each over the whole range."""
    small = functional.interpolate(images, size=(PICTURE_SIDE, PICTURE_SIDE), mode="area")
    low, high = small.amin(dim=(1, 2, 3), keepdim=True), small.amax(dim=(1, 2, 3), keepdim=True)
    return ((small - low) / (high - low).clamp_min(1e-6) * 255).round().to(torch.uint8).cpu().numpy()


def is_class_labels(labels: torch.Tensor | None, scores: torch.Tensor) -> bool:
    """Whether labels are the numbers of classes for scores (B, C)."""
    return (
        labels is not None
        and scores.ndim == 2
        and scores.shape[1] > 0
        and labels.shape == scores.shape[:1]
        and not labels.is_floating_point()
        and labels.dtype != torch.bool
    )


def agreement_with_mask(scores: torch.Tensor, mask: torch.Tensor) -> float | None:
    """Return the correlation of scores with a mask of zeros and ones of their shape; None where it is none of both.

    >>> mask = torch.tensor([0.0, 1.0, 1.0, 0.0])
    >>> agreement_with_mask(torch.tensor([0.9, 0.1, 0.1, 0.9]), mask)
    -1.0
    >>> agreement_with_mask(mask, 0.5 * mask) is None
    True
    """
    mask = mask.detach().to(scores.device).float()
    if not bool(((mask == 0) | (mask == 1)).all()) or not 0 < float(mask.mean()) < 1:
        return None
    found = float(torch.corrcoef(torch.stack([scores.detach().float().flatten(), mask.flatten()]))[0, 1])
    return round(found, 4) if math.isfinite(found) else None


def equal_rows(weight: torch.Tensor) -> float:
    """Return the share of the rows of a weight that equal its first row, the first left out; of (rows, ...)."""
    rows = weight.detach().flatten(1)[:64]
    if len(rows) < 2:
        return 0.0
    return float((rows[1:] == rows[:1]).all(dim=1).float().mean())


def read_all(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """Return tensors as arrays of float32, with one transfer for each device: reading one by one would stall a GPU."""
    found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(tensors)
    for device in {each.device for each in tensors}:
        places = [place for place, each in enumerate(tensors) if each.device == device]
        flat = torch.cat([tensors[place].detach().float().flatten() for place in places]).cpu().numpy()
        ends = np.cumsum([tensors[place].numel() for place in places])
        for place, values in zip(places, np.split(flat, ends[:-1]), strict=True):
            found[place] = values.reshape(tensors[place].shape)
    return found
