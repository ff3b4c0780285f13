"""Losses of whole regions: overlap (dice, Tversky) and its convex extension (Lovász), for masks.

Scores (B, C, H, W) or with any number of spatial axes. The target says which kind of mask it is: class ids (B, H, W),
where every pixel is of one class and scores go through a softmax; or answers 0 and 1 of the shape of the scores, where
each of the C masks is a yes-or-no question by itself and scores go through a sigmoid. One mask needs its channel:
(B, 1, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, WeightedLoss
from fovea.losses.checks import IGNORE_INDEX, as_answers, as_class_ids, expect_range


@dataclass(frozen=True)
class Regions:
    """Scores and masks of G groups of pixels: the images, or the batch as one.

    Attributes:
        scores: (G, C, P) logits.
        masks: (G, C, P) 0 or 1, answers between allowed; 0 where a pixel is ignored.
        counts: (G, C, P) 1, or 0 where a pixel is ignored.
        exclusive: whether a pixel is of one class (softmax) or each mask is a question by itself (sigmoid).
    """

    scores: Tensor
    masks: Tensor
    counts: Tensor
    exclusive: bool

    def probabilities(self) -> Tensor:
        """Return the probabilities (G, C, P)."""
        return self.scores.softmax(1) if self.exclusive else self.scores.sigmoid()


class RegionLoss(WeightedLoss):
    """What the losses below share: a loss for each class, over the batch as one or in each image.

    Args:
        over: "batch", one overlap for each class over all images, so that an image without the class is no special
            case; or "image", where every image counts the same, large objects or small.
        weight, ignore_index, reduction: as in `WeightedLoss`; "none" gives (1, C) over the batch, (B, C) over images.
    """

    def __init__(
        self,
        *,
        over: str = "batch",
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)
        if over not in ("batch", "image"):
            raise ValueError(f"over is {over!r}, expected 'batch' or 'image'")
        self.over = over

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each class in each group (G, C), and what it weighs."""
        regions = self._regions(scores, target)
        weights = self.counted(regions)
        if (weight := self.weight_for(scores)) is not None:
            weights = weights * weight
        return self.cost(regions) * weights, weights

    def counted(self, regions: Regions) -> Tensor:
        """Return 1 for each class in each group (G, C) that the mean is over, else 0: no pixel, no say."""
        return (regions.counts.sum(2) > 0).to(regions.counts.dtype)

    def cost(self, regions: Regions) -> Tensor:
        """Return the unweighted loss of each class in each group (G, C)."""
        raise NotImplementedError

    def _regions(self, scores: Tensor, target: Tensor) -> Regions:
        if scores.ndim < 3:
            raise ValueError(f"scores have shape {tuple(scores.shape)}, expected (B, C, H, W): a map for each class")
        if exclusive := target.ndim == scores.ndim - 1:
            if scores.shape[1] == 1:
                raise ValueError(
                    f"target has shape {tuple(target.shape)} beside scores {tuple(scores.shape)} of one mask, which"
                    " needs its channel, too: target.unsqueeze(1)"
                )
            ids, valid = as_class_ids(scores, target, ignore_index=self.ignore_index)
            counts = valid.unsqueeze(1).to(scores.dtype).expand_as(scores)
            masks = torch.zeros_like(scores).scatter(1, ids.unsqueeze(1), counts)
        elif target.shape == scores.shape and scores.ndim > 3:
            masks, valid = as_answers(scores, target, ignore_index=self.ignore_index)
            counts = valid.to(scores.dtype)
        else:
            raise ValueError(
                f"target has shape {tuple(target.shape)} beside scores {tuple(scores.shape)}; expected class ids"
                " (B, H, W) or masks (B, C, H, W) beside scores (B, C, H, W)"
            )
        return Regions(self._grouped(scores), self._grouped(masks), self._grouped(counts), exclusive)

    def _grouped(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, P) over images, (1, C, B·P) over the batch."""
        flat = maps.flatten(2)
        return flat if self.over == "image" else flat.movedim(0, 1).flatten(1).unsqueeze(0)


@LOSSES.register("tversky", summary="overlap with prices for false alarms and misses (Salehi et al. 2017, §2)")
class Tversky(RegionLoss):
    """1 - TP / (TP + α·FP + β·FN) of soft counts: TP = Σ p·t, FP = Σ p·(1-t), FN = Σ (1-p)·t.

    Scores (B, C, H, W), target (B, H, W) or (B, C, H, W); source: Salehi, Erdogmus & Gholipour 2017, §2. At α = β = ½
    it is dice, at α = β = 1 the Jaccard loss.

    Args:
        alpha: price of a false alarm, from 0 on.
        beta: price of a miss, from 0 on; above alpha it favours recall.
        smooth: pixels added to TP, so that an empty mask with an empty answer costs 0. At 0 a class without pixels
            costs 1 whatever is predicted, and teaches nothing.
        over, weight, ignore_index, reduction: as in `RegionLoss`.

    >>> sure = torch.tensor([[[[100.0, 100.0, -100.0, -100.0]]]])  # of 3 pixels, 2 found and 1 missed
    >>> Tversky(alpha=0.3, beta=0.7, smooth=0)(sure, torch.tensor([[[[1, 1, 1, 0]]]]))  # 1 - 2 / 2.7
    tensor(0.2593)
    """

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 1.0,
        over: str = "batch",
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(over=over, weight=weight, ignore_index=ignore_index, reduction=reduction)
        for name, value in (("alpha", alpha), ("beta", beta), ("smooth", smooth)):
            expect_range(name, value, 0)
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def cost(self, regions: Regions) -> Tensor:
        """Return 1 - the Tversky index of each class."""
        guess = regions.probabilities() * regions.counts
        hits = (guess * regions.masks).sum(2)
        alarms, misses = guess.sum(2) - hits, regions.masks.sum(2) - hits
        missing = self.alpha * alarms + self.beta * misses
        whole = hits + self.smooth + missing
        return missing / torch.where(whole > 0, whole, 1)  # nothing at all: 0


@LOSSES.register("dice", summary="overlap of masks, whatever their size (Milletari et al. 2016, §3)")
class Dice(RegionLoss):
    """1 - 2·Σ p·t / (Σ p + Σ t).

    Scores (B, C, H, W), target (B, H, W) or (B, C, H, W); source: Milletari, Navab & Ahmadi 2016, §3, without its
    squares.

    Args:
        smooth: pixels added to the overlap, as in `Tversky`: (2·Σ p·t + 2·smooth) / (Σ p + Σ t + 2·smooth).
        over, weight, ignore_index, reduction: as in `RegionLoss`.

    >>> sure = torch.tensor([[[[100.0, 100.0, -100.0, -100.0]]]])
    >>> Dice(smooth=0)(sure, torch.tensor([[[[1, 0, 0, 0]]]]))  # 1 - 2·1 / (2 + 1)
    tensor(0.3333)
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        over: str = "batch",
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = IGNORE_INDEX,
        reduction: str = "mean",
    ) -> None:
        super().__init__(over=over, weight=weight, ignore_index=ignore_index, reduction=reduction)
        expect_range("smooth", smooth, 0)
        self.smooth = smooth

    def cost(self, regions: Regions) -> Tensor:
        """Return 1 - the dice coefficient of each class."""
        guess = regions.probabilities() * regions.counts
        both = guess.sum(2) + regions.masks.sum(2)
        apart = both - 2 * (guess * regions.masks).sum(2)
        whole = both + 2 * self.smooth
        return apart / torch.where(whole > 0, whole, 1)


@LOSSES.register("lovasz", summary="convex extension of 1 - IoU (Berman, Triki & Blaschko 2018, def. 2, alg. 1)")
class Lovasz(RegionLoss):
    """The Lovász extension of Δ(M) = |M| / |{t = 1} ∪ M|, the Jaccard loss if the pixels M are wrong.

    With errors m sorted in decreasing order, Σ_i m_i · (Δ({1…i}) - Δ({1…i-1})). The errors are |t - softmax(s)| for
    class ids (Lovász-softmax), max(0, 1 - s·(2t - 1)) for masks (Lovász hinge). Scores (B, C, H, W), target (B, H, W)
    or (B, C, H, W) of zeros and ones; source: Berman, Triki & Blaschko 2018, def. 2 and alg. 1. As there, a class
    without pixels is left out of the mean of Lovász-softmax, and an empty mask counts in that of the hinge.

    Args:
        over, weight, ignore_index, reduction: as in `RegionLoss`.

    >>> scores = torch.tensor([[[[2.0, -2.0, 0.5, -2.0]]]])  # the third pixel is short of the margin by 0.5
    >>> Lovasz()(scores, torch.tensor([[[[1, 0, 1, 0]]]]))  # Δ of that pixel alone is 1 / 2
    tensor(0.2500)
    """

    def counted(self, regions: Regions) -> Tensor:
        """Return 1 for each class that the mean is over: with class ids, those that have pixels."""
        return (regions.masks.sum(2) > 0).to(regions.masks.dtype) if regions.exclusive else super().counted(regions)

    def cost(self, regions: Regions) -> Tensor:
        """Return the extension at the errors of each class."""
        if regions.exclusive:
            errors = (regions.masks - regions.probabilities()).abs()
        else:
            errors = functional.relu(1 - regions.scores * (2 * regions.masks - 1))
        errors, order = (errors * regions.counts).sort(dim=2, descending=True)  # ignored pixels add nothing
        masks = regions.masks.gather(2, order)
        positives = masks.sum(2, keepdim=True)
        jaccard = 1 - (positives - masks.cumsum(2)) / (positives + (1 - masks).cumsum(2)).clamp(min=1)
        steps = torch.diff(jaccard, dim=2, prepend=torch.zeros_like(positives))
        return (errors * steps).sum(2)
