"""Receptive fields: which pixels of the image a position of each feature map sees, through branches and residuals.

Follows every tensor that depends on the image through the operators of one pass: windows widen its field, sums and
concatenations unite those of the branches, attention and pooling over the whole map make it the whole image. What
cannot be followed is a named gap. Padding counts as if the image went on. On a map that is finer than its input
(behind a transposed convolution, say) neighbours see differently; the field given holds for all of them.

Source: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fovea.cost.extents import Field
from fovea.cost.fieldrules import FRESH, fields_of
from fovea.cost.watching import Call


@dataclass(frozen=True)
class Reach:
    """The receptive field of a feature map.

    Attributes:
        size_px: the larger side of what one position sees; None where it sees the whole image, or it is not known.
        local_px: the same by convolution and pooling alone, leaving out gates, attention and the like.
        stride_px: how far the fields of neighbouring positions lie apart.
        padding_px: how far the field of the first position begins before the image.
        whole: whether a position sees the whole image whatever its size.
        gap: why it could not be followed; empty where it could.
    """

    size_px: int | None
    local_px: int
    stride_px: float
    padding_px: float
    whole: bool
    gap: str = ""

    @classmethod
    def of(cls, field: Field) -> Reach:
        """Read it off the field of a map."""
        wider = max(field.axes.values(), key=lambda axis: axis.extent)
        whole = any(axis.whole for axis in field.axes.values())
        size = None if whole or field.gap else wider.extent
        return cls(size, wider.extent, float(wider.stride), float(-wider.low), whole, field.gap)


class Reaches:
    """Observes a pass and follows the fields.

    Attributes:
        by_layer: module path → the reach of the last map (or list of tokens) that it made.
        last: of the last one before places were given up, by pooling over all of them for instance.
    """

    def __init__(self) -> None:
        self.by_layer: dict[str, Reach] = {}
        self.last: Reach | None = None
        self._fields = WeakTensorKeyDictionary()

    def begins(self, images: Tensor) -> None:
        """Start from images (B,3,H,W), each pixel of which sees itself."""
        self._fields[images] = Field.of_image(images.shape)

    def saw(self, call: Call) -> None:
        """Work out the fields of what an operator made."""
        known = {id(tensor): self._fields[tensor] for tensor in call.inputs if tensor in self._fields}
        if not known or call.name in FRESH:
            return
        fields: Sequence[Field] = fields_of(call, known)
        for tensor, field in zip(call.outputs, fields, strict=True):
            self._fields[tensor] = field
        if fields and fields[0].has_positions:
            self.last = self.by_layer[call.path] = Reach.of(fields[0])
        elif fields and fields[0].gap and self.last and any(field.has_positions for field in known.values()):
            self.last = replace(self.last, size_px=None, gap=fields[0].gap)  # places were lost, not given up
