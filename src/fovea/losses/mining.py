"""Which triplets of a batch to learn from: miners, from distances and labels to (anchors, positives, negatives).

Every miner takes distances (B, B), labels (B,) and the margin, and returns three index tensors (T,); T may be 0. An
anchor and its positive have one label, its negative another. Nothing here carries a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fovea.core.registry import Registry

Triplets = tuple[Tensor, Tensor, Tensor]
Miner = Callable[[Tensor, Tensor, float], Triplets]

MINERS: Registry[Miner] = Registry("miner")


@MINERS.register(
    "all", summary="every triplet of the batch: most are easy, and there are about B³ (Hermans et al. 2017, §2)"
)
def every(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return all triplets.

    >>> every(torch.zeros(3, 3), torch.tensor([0, 0, 1]), 1.0)
    (tensor([0, 1]), tensor([1, 0]), tensor([2, 2]))
    """
    friends, strangers = _relations(labels)
    anchors, positives, negatives = (friends.unsqueeze(2) & strangers.unsqueeze(1)).nonzero(as_tuple=True)
    return anchors, positives, negatives


@MINERS.register("batch_hard", summary="farthest positive, nearest negative of each anchor (Hermans et al. 2017, §2)")
def batch_hard(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return one triplet for each anchor that has a positive and a negative.

    >>> distances = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    >>> batch_hard(distances, torch.tensor([0, 0, 1]), 1.0)
    (tensor([0, 1]), tensor([1, 0]), tensor([2, 2]))
    """
    friends, strangers = _relations(labels)
    anchors = (friends.any(1) & strangers.any(1)).nonzero().flatten()
    if not len(anchors):
        return anchors, anchors, anchors
    farthest = distances.masked_fill(~friends, -torch.inf)[anchors].argmax(1)
    nearest = distances.masked_fill(~strangers, torch.inf)[anchors].argmin(1)
    return anchors, farthest, nearest


@MINERS.register(
    "semi_hard", summary="the nearest negative beyond the positive, within the margin (Schroff et al. 2015, §3.2)"
)
def semi_hard(distances: Tensor, labels: Tensor, margin: float) -> Triplets:
    """Return one triplet for each pair of anchor and positive that has a negative with d_ap < d_an < d_ap + margin.

    Hard negatives, nearer than the positive, are left alone: learning from them early collapses all embeddings into
    one.

    >>> distances = torch.full((4, 4), 9.0)
    >>> distances[0] = distances[:, 0] = torch.tensor([0.0, 1.0, 0.5, 1.4])
    >>> semi_hard(distances, torch.tensor([0, 0, 1, 2]), 1.0)  # image 2 is too hard, image 3 just right
    (tensor([0]), tensor([1]), tensor([3]))
    """
    friends, strangers = _relations(labels)
    anchors, positives = friends.nonzero(as_tuple=True)
    if not len(anchors):
        return anchors, anchors, anchors
    near = distances[anchors, positives].unsqueeze(1)
    rivals = distances[anchors]  # (pairs, B)
    usable = strangers[anchors] & (rivals > near) & (rivals < near + margin)
    negatives = rivals.masked_fill(~usable, torch.inf).argmin(1)
    found = usable.any(1)
    return anchors[found], positives[found], negatives[found]


def _relations(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs (B, B) have the same label, oneself left out, and which have different ones."""
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same
