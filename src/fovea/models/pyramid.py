"""Features by stage, from any network: the last map of each resolution, from fine to coarse.

timm's networks and our own give them themselves. Any other network is run in the pieces that `chain` cuts it into, so
that no list of layer names is needed; torchvision's transformers, which do not keep their maps as (B, C, H, W), are the
one thing known by name. Pooling maps to vectors is not done here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

import torch
import torchvision
from torch import Tensor, nn

from fovea.core.errors import ModelError
from fovea.layers.modes import evaluating
from fovea.models.chain import as_pieces
from fovea.models.heads import classifier

_COARSER = 0.5  # of the pixels; a convolution without padding takes less away, and starts no stage


class Pyramid(nn.Module):
    """A network's trunk that answers with its maps: images (B, 3, H, W) -> list of (B, C, h, w).

    Each map is the last of its resolution that weights have worked on, and each is coarser than the one before. A plain
    vision transformer has one resolution, so it gives one map. The parameters are the network's own, the maps carry
    gradients to them.

    Args:
        model: any network; it stays as it is, in training or in eval mode.
        example: images as the pyramid will get them; one is enough.

    Raises:
        ModelError: the network cannot be looked into, or does not take such images.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.model = model
        self._trunk: list[nn.Module] = []
        if not hasattr(model, "forward_intermediates"):
            head = classifier(model)
            pieces = as_pieces(model, example[:1]) or []
            self._trunk = list(takewhile(lambda piece: not _is_behind_the_trunk(piece, head), pieces))
            if not self._trunk:
                raise _closed(model, example[:1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps from fine to coarse."""
        levels: list[Tensor] = []
        for found, is_new in self._maps(images):
            share = _pixels(found) / _pixels(levels[-1]) if levels else 0.0
            if share < _COARSER and is_new:
                levels.append(found)
            elif _COARSER <= share <= 1:
                levels[-1] = found
        return levels

    def _maps(self, images: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Yield each map on the way, and whether weights made it: a pooled map alone is no stage."""
        if not self._trunk:
            try:
                found = self.model.forward_intermediates(images, intermediates_only=True)  # type: ignore[operator]
            except (RuntimeError, ValueError, AssertionError) as error:
                raise _refused(self.model, images, error) from error
            yield from ((each, True) for each in found)
            return
        x = images
        for piece in self._trunk:
            x = piece(x)
            found = _as_map(self.model, x, images)
            if found is not None:
                yield found, _has_weights(piece)


def features(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return what each stage of a network makes of images (B, 3, H, W): maps (B, C, h, w), from fine to coarse.

    For many batches make a `Pyramid` once; this makes one each time.

    >>> import torch
    >>> from fovea.models import create
    >>> maps = features(create("resnet10t", classes=2), torch.zeros(1, 3, 64, 64))
    >>> [tuple(level.shape[1:]) for level in maps]
    [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """
    maps: list[Tensor] = Pyramid(model, images)(images)
    return maps


def _closed(model: nn.Module, example: Tensor) -> ModelError:
    """Return why a network could not be taken apart: it does not take such images, or goes its own ways."""
    try:
        with torch.no_grad(), evaluating(model):
            model(example)
    except (RuntimeError, ValueError, AssertionError) as error:
        return _refused(model, example, error)
    return ModelError(
        f"{type(model).__name__} cannot be looked into: its path depends on what it sees",
        hint="choose another network; fovea models lists them",
    )


def _refused(model: nn.Module, images: Tensor, error: Exception) -> ModelError:
    channels, height, width = images.shape[-3:]
    if channels == 3:
        what, hint = "", "give larger images"
    else:
        what, hint = f" with {channels} channels", "most networks take three channels: images.expand(-1, 3, -1, -1)"
    return ModelError(
        f"{type(model).__name__} does not run on images of {height} × {width}{what}: {error}",
        hint=hint,
    )


def _is_behind_the_trunk(piece: nn.Module, head: nn.Module) -> bool:
    """Whether a piece is the classifier or the global pooling before it."""
    parts = list(piece.modules())
    pools = any(isinstance(part, nn.AdaptiveAvgPool2d) for part in parts) and not _has_weights(piece)
    return pools or any(part is head for part in parts)


def _has_weights(piece: nn.Module) -> bool:
    return any(True for _ in piece.parameters())


def _pixels(found: Tensor) -> int:
    return found.shape[-2] * found.shape[-1]


def _as_map(model: nn.Module, x: Tensor, images: Tensor) -> Tensor | None:
    """Return what a piece gave as (B, C, h, w), or None where it is no map."""
    if isinstance(model, torchvision.models.VisionTransformer) and x.ndim == 3:
        rows, columns = (side // model.patch_size for side in images.shape[-2:])
        if x.shape[1] != 1 + rows * columns:
            return None
        return x[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))  # (B,1+N,C) -> (B,C,h,w)
    if x.ndim != 4:
        return None
    if isinstance(model, torchvision.models.SwinTransformer) and x.shape[1] != model.head.in_features:
        return x.permute(0, 3, 1, 2)  # (B,h,w,C) -> (B,C,h,w); only its last step is channels first
    return x
