"""Which functions autograd's graph of a loss shows one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from fovea.doctor.graphs import squashed_twice

LABELS = torch.tensor([0, 2, 1, 1])


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda x: functional.cross_entropy(x.softmax(1), LABELS), ("Softmax", "LogSoftmax")),
        (lambda x: functional.cross_entropy(x.softmax(1)[:, :, None].squeeze(2), LABELS), ("Softmax", "LogSoftmax")),
        (lambda x: (torch.logsumexp(x.softmax(1), 1) - x[:, 0]).mean(), ("Softmax", "Logsumexp")),
        (lambda x: functional.cross_entropy(torch.sigmoid(x), LABELS), ("Sigmoid", "LogSoftmax")),
        (
            lambda x: functional.binary_cross_entropy_with_logits(x.softmax(1)[:, 1], (LABELS == 1).float()),
            ("Softmax", "BinaryCrossEntropyWithLogits"),
        ),
        (lambda x: -torch.log(torch.sigmoid(torch.sigmoid(x))).mean(), ("Sigmoid", "Sigmoid")),
        (lambda x: functional.cross_entropy(x, LABELS), None),
        (lambda x: functional.nll_loss(x.softmax(1).log(), LABELS), None),
        (lambda x: functional.cross_entropy(30 * torch.tanh(x / 30), LABELS), None),  # a soft cap
        (lambda x: functional.cross_entropy(x.softmax(1) / 0.05, LABELS), None),  # prototypes with a temperature
        (lambda x: (x.softmax(1).topk(2).values.softmax(1) * x[:, :2]).sum(), None),  # a gate that is shared out again
    ],
)
def test_what_is_squashed_twice(loss: Callable[[torch.Tensor], torch.Tensor], told: tuple[str, str] | None) -> None:
    assert squashed_twice(loss(torch.randn(4, 3, requires_grad=True))) == told


def test_a_loss_without_a_graph_and_one_of_attention_tell_nothing() -> None:
    assert squashed_twice(torch.tensor(1.0)) is None
    attention, head = nn.MultiheadAttention(8, 2), nn.Linear(8, 3)
    tokens = torch.randn(4, 5, 8)
    assert squashed_twice(functional.cross_entropy(head(attention(tokens, tokens, tokens)[0]).mean(1), LABELS)) is None
