"""Losses that place images in a space where distance means something: contrastive and triplet.

`loss(embeddings, labels)`: embeddings (B, D), labels (B,) whole numbers. Pairs and triplets are those within the batch,
so the batch decides what can be learnt: draw several images of each of several classes. A batch without a pair or
triplet costs 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fovea.losses.base import LOSSES, Loss
from fovea.losses.checks import expect_embeddings, expect_range
from fovea.losses.mining import MINERS


@LOSSES.register("contrastive", summary="pull pairs of one class together, push others apart (Hadsell et al. 2006, §2)")
class Contrastive(Loss):
    """½d² for a pair of one class, ½max(0, m - d)² for others, d the Euclidean distance; over all pairs of the batch.

    Embeddings (B, D), labels (B,), "none" gives (B(B-1)/2,); source: Hadsell, Chopra & LeCun 2006, §2.

    Args:
        margin: m above 0: how far apart is far enough. Distances of normalised embeddings reach 2 at most.
        reduction: as in `Loss`, over pairs.

    >>> places = torch.tensor([[0.0], [3.0], [3.5]])
    >>> Contrastive(margin=1, reduction="none")(places, torch.tensor([0, 0, 1]))
    tensor([4.5000, 0.0000, 0.1250])
    """

    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("margin", margin, 0)
        self.margin = margin

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each pair, in the order (0, 1), (0, 2) … (1, 2) …"""
        expect_embeddings(scores, target)
        first, second = torch.triu_indices(len(scores), len(scores), offset=1, device=scores.device)
        apart = distances(scores)[first, second]
        pull, push = apart.square(), functional.relu(self.margin - apart).square()
        return torch.where(target[first] == target[second], pull, push) / 2, None


@LOSSES.register("triplet", summary="nearer to one's class than to others, by a margin (Schroff et al. 2015, §3.1)")
class Triplet(Loss):
    """max(0, d_ap - d_an + m) over the triplets that a miner chooses; d the Euclidean distance, not its square.

    Embeddings (B, D), labels (B,), "none" gives (T,); sources: Schroff, Kalenichenko & Philbin 2015, §3.1 (with squared
    distances); Hermans, Beyer & Leibe 2017, §2, who keep them plain because squares make it collapse more easily.

    Args:
        margin: m from 0 on.
        miner: a name from `fovea.losses.mining.MINERS`: "batch_hard", "semi_hard" or "all".
        reduction: as in `Loss`, over triplets, those that cost nothing included.

    >>> places = torch.tensor([[0.0], [1.0], [1.5]])
    >>> Triplet(margin=1, miner="all", reduction="none")(places, torch.tensor([0, 0, 1]))
    tensor([0.5000, 1.5000])
    """

    def __init__(self, *, margin: float = 0.2, miner: str = "batch_hard", reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        expect_range("margin", margin, 0)
        self.margin = margin
        self.miner = MINERS[miner]

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss of each triplet (T,)."""
        expect_embeddings(scores, target)
        between = distances(scores)
        anchors, positives, negatives = self.miner.build(between.detach(), target, self.margin)
        return functional.relu(between[anchors, positives] - between[anchors, negatives] + self.margin), None


def distances(embeddings: Tensor) -> Tensor:
    """Return the Euclidean distances (B, B); by differences, because the faster product form is inexact near 0.

    >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    return torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
