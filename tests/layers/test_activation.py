"""Activations: known values, and maxout as the others."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from fovea.layers import create
from fovea.layers.activation import Maxout

KNOWN = {  # at −1, at 2 and at 10
    "sigmoid": (1 / (1 + math.e), 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-10))),
    "tanh": (math.tanh(-1), math.tanh(2), math.tanh(10)),
    "relu": (0, 2, 10),
    "relu6": (0, 2, 6),
    "leaky_relu": (-0.01, 2, 10),
    "prelu": (-0.25, 2, 10),
    "elu": (math.exp(-1) - 1, 2, 10),
    "swish": (-1 / (1 + math.e), 2 / (1 + math.exp(-2)), 10 / (1 + math.exp(-10))),
    "hard_swish": (-2 / 6, 2 * 5 / 6, 10),
    "mish": (-math.tanh(math.log(1 + math.exp(-1))), 2 * math.tanh(math.log(1 + math.exp(2))), 10),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_values(name: str) -> None:
    assert create("act", name)(torch.tensor([-1.0, 2.0, 10.0])).tolist() == pytest.approx(KNOWN[name], rel=1e-5)


def test_maxout_is_relu_where_one_map_is_the_identity_and_one_is_zero() -> None:
    maxout = Maxout(3, pieces=2)
    maxout.maps.weight.data = torch.cat([torch.eye(3), torch.zeros(3, 3)])
    maxout.maps.bias.data.zero_()
    for x in (torch.randn(5, 3), torch.randn(2, 3, 4, 5)):
        torch.testing.assert_close(maxout(x), F.relu(x))


def test_maxout_of_one_piece_is_a_convolution_of_one_place() -> None:
    maxout, x = Maxout(3, pieces=1), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(maxout(x), F.conv2d(x, maxout.maps.weight[:, :, None, None], maxout.maps.bias))


def test_maxout_needs_a_piece() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Maxout(3, pieces=0)
