"""Contrastive and triplet losses: every pair and triplet counted by loops, miners by their definitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from fovea.core.errors import UnknownName
from fovea.losses.embedding import Contrastive, Triplet, distances
from fovea.losses.mining import MINERS

PLACES = torch.randn(14, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4])  # 4 is alone
APART = [[math.dist(one, two) for two in PLACES.tolist()] for one in PLACES.tolist()]
CLASS = LABELS.tolist()
TRIPLETS = [
    (a, p, n) for a, p, n in itertools.permutations(range(14), 3) if CLASS[a] == CLASS[p] and CLASS[a] != CLASS[n]
]


def mined(name: str, margin: float) -> set[tuple[int, int, int]]:
    rows = MINERS[name].build(torch.tensor(APART, dtype=torch.float64), LABELS, margin)
    found = list(zip(*(row.tolist() for row in rows), strict=True))
    assert len(found) == len(set(found))
    return set(found)


def test_distances_near_zero_are_exact() -> None:
    close = torch.randn(40, 8) * 1e-4 + 100
    torch.testing.assert_close(
        distances(close).double(), torch.cdist(close.double(), close.double()), rtol=1e-4, atol=0
    )
    assert not distances(close).diagonal().any()


def test_contrastive_of_every_pair() -> None:
    expected = [
        (APART[i][j] if CLASS[i] == CLASS[j] else max(0.0, 1.5 - APART[i][j])) ** 2 / 2
        for i, j in itertools.combinations(range(14), 2)
    ]
    values = Contrastive(margin=1.5, reduction="none")(PLACES, LABELS)
    assert values.tolist() == pytest.approx(expected)
    assert 0 in expected and Contrastive(margin=1.5)(PLACES, LABELS).item() == pytest.approx(sum(expected) / 91)


def test_the_triplet_loss_over_all_triplets_is_torchs() -> None:
    rows = torch.tensor(TRIPLETS).T
    theirs = functional.triplet_margin_loss(*(PLACES[row] for row in rows), margin=0.7, eps=0.0)
    torch.testing.assert_close(Triplet(margin=0.7, miner="all")(PLACES, LABELS), theirs)


def test_all_triplets() -> None:
    assert mined("all", 1.0) == set(TRIPLETS)


def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative() -> None:
    expected = set()
    for anchor in {a for a, _, _ in TRIPLETS}:
        positive = max((p for a, p, _ in TRIPLETS if a == anchor), key=lambda p: APART[anchor][p])
        negative = min((n for a, _, n in TRIPLETS if a == anchor), key=lambda n: APART[anchor][n])
        expected.add((anchor, positive, negative))
    assert mined("batch_hard", 1.0) == expected and len(expected) == 13


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_semi_hard_takes_the_nearest_negative_within_the_margin(margin: float) -> None:
    expected = set()
    for anchor, positive in {(a, p) for a, p, _ in TRIPLETS}:
        near = APART[anchor][positive]
        band = [n for a, p, n in TRIPLETS if (a, p) == (anchor, positive) and near < APART[a][n] < near + margin]
        if band:
            expected.add((anchor, positive, min(band, key=lambda n: APART[anchor][n])))
    assert mined("semi_hard", margin) == expected
    assert 0 < len(expected) < len({(a, p) for a, p, _ in TRIPLETS})


@pytest.mark.parametrize("miner", MINERS.names())
def test_the_loss_is_that_of_the_mined_triplets(miner: str) -> None:
    values = Triplet(margin=1.0, miner=miner, reduction="none")(PLACES, LABELS)
    expected = [max(0.0, APART[a][p] - APART[a][n] + 1) for a, p, n in mined(miner, 1.0)]
    assert sorted(values.tolist()) == pytest.approx(sorted(expected))


@pytest.mark.parametrize("miner", MINERS.names())
@pytest.mark.parametrize(
    "labels", [torch.zeros(14, dtype=torch.long), torch.arange(14), torch.zeros(0, dtype=torch.long)]
)
def test_a_batch_without_triplets_costs_nothing(miner: str, labels: torch.Tensor) -> None:
    places = PLACES[: len(labels)].clone().requires_grad_(True)
    loss = Triplet(miner=miner)(places, labels)
    assert loss == 0 and not torch.autograd.grad(loss, places)[0].any()


def test_collapsed_embeddings_have_a_finite_gradient() -> None:
    same = torch.zeros(6, 3, requires_grad=True)
    for loss in (Contrastive(), Triplet(margin=0.3)):
        value = loss(same, torch.tensor([0, 0, 0, 1, 1, 1]))
        assert torch.autograd.grad(value, same)[0].isfinite().all()
    assert value.item() == pytest.approx(0.3)  # the margin: where collapse stops


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match=r"scores have shape \(4,\), expected embeddings \(B, D\)"):
        Contrastive()(torch.zeros(4), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"target is torch.float32 of shape \(4,\), expected \(4,\): one whole-number"):
        Triplet()(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(UnknownName) as caught:
        Triplet(miner="semihard")
    assert caught.value.hint.startswith("did you mean 'semi_hard'?")
