"""Attention: without a preference each layer is a mean, a constant or the identity."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fovea.layers import create
from fovea.layers.attention import HardAttention, ResidualAttention, SelfAttention2d, SoftAttention

X = torch.randn(2, 16, 5, 7, generator=torch.Generator().manual_seed(0))


def silenced(layer: nn.Module, *names: str) -> nn.Module:
    """Set the named weights to 0."""
    for name in names:
        layer.get_parameter(name).data.zero_()
    return layer.eval()


def test_squeeze_excite_without_preference_halves_and_its_bias_opens_the_gate() -> None:
    layer = silenced(create("attention", "se", channels=16), "fc2.weight", "fc2.bias")
    torch.testing.assert_close(layer(X), X / 2)
    layer.fc2.bias.data.fill_(50.0)
    torch.testing.assert_close(layer(X), X)


def test_squeeze_excite_reduces_as_asked() -> None:
    layer = create("attention", "se", channels=32, reduction=4)
    assert sum(weight.numel() for weight in layer.parameters()) == 2 * 32 * 8 + 8 + 32


def test_cbam_without_preference_is_a_quarter() -> None:
    channel = silenced(create("attention", "cbam_channel", channels=16), "fc2.weight")
    spatial = silenced(create("attention", "cbam_spatial"), "conv.conv.weight")
    both = silenced(create("attention", "cbam", channels=16), "channel.fc2.weight", "spatial.conv.conv.weight")
    torch.testing.assert_close(channel(X), X / 2)
    torch.testing.assert_close(spatial(X), X / 2)
    torch.testing.assert_close(both(X), X / 4)


def test_cbam_weighs_channels_or_places_alike() -> None:
    channel, spatial = create("attention", "cbam_channel", channels=16), create("attention", "cbam_spatial").eval()
    factors = channel(X) / X
    torch.testing.assert_close(factors, factors[:, :, :1, :1].expand_as(X), rtol=1e-3, atol=1e-4)
    factors = spatial(X) / X
    torch.testing.assert_close(factors, factors[:, :1].expand_as(X), rtol=1e-3, atol=1e-4)


def test_a_non_local_block_begins_as_the_identity_and_then_reads_the_mean() -> None:
    layer = create("attention", "non_local", channels=16).eval()
    torch.testing.assert_close(layer(X), X)
    layer.norm.weight.data.fill_(1.0)
    silenced(layer, "t.weight", "t.bias")  # no preference: every place reads the same mean
    read = layer(X) - X
    torch.testing.assert_close(read, read[:, :, :1, :1].expand_as(X), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(read[..., 0, 0], layer.norm(layer.z(layer.g(X).mean((2, 3), keepdim=True)))[..., 0, 0])


def test_global_context_without_preference_reads_the_mean_once_for_all_places() -> None:
    layer = silenced(create("attention", "global_context", channels=16), "conv_attn.weight", "conv_attn.bias")
    torch.nn.init.normal_(layer.mlp_add.fc2.weight)
    expected = X + layer.mlp_add(X.mean((2, 3), keepdim=True))
    torch.testing.assert_close(layer(X), expected)
    torch.testing.assert_close(silenced(layer, "mlp_add.fc2.weight", "mlp_add.fc2.bias")(X), X)


def test_coordinate_attention_without_preference_is_a_quarter_and_then_rows_times_columns() -> None:
    layer = silenced(create("attention", "coordinate", channels=16), "conv_h.weight", "conv_w.weight")
    torch.testing.assert_close(layer(X), X / 4)
    torch.nn.init.normal_(layer.conv_h.weight)
    factors = 2 * layer(X) / X  # columns still halve: what is left belongs to the row
    torch.testing.assert_close(factors, factors[..., :1].expand_as(X), rtol=1e-3, atol=1e-4)


def test_a_selective_kernel_without_preference_is_the_mean_of_both_kernels() -> None:
    layer = silenced(create("attention", "selective_kernel", channels=16), "attn.fc_select.weight")
    small, large = layer.paths
    assert (small.conv.dilation, large.conv.dilation) == ((1, 1), (2, 2))
    torch.testing.assert_close(layer(X), (small(X) + large(X)) / 2)


def test_self_attention_without_preference_adds_the_mean_over_places() -> None:
    layer = SelfAttention2d(16, heads=4)
    torch.nn.init.eye_(layer.attention.out_proj.weight)
    layer.attention.in_proj_weight.data = torch.cat([torch.zeros(32, 16), torch.eye(16)])  # Q, K of nothing; V of x
    torch.testing.assert_close(layer(X), X + X.mean((2, 3), keepdim=True))


def test_self_attention_knows_no_order() -> None:
    layer = SelfAttention2d(16, heads=4)
    torch.testing.assert_close(layer(X.flip(-1)), layer(X).flip(-1))


@pytest.mark.parametrize("name", ["se", "cbam", "cbam_channel", "non_local", "global_context", "coordinate"])
def test_a_reduction_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="reduction is 0; the channels are divided by it"):
        create("attention", name, channels=16, reduction=0)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="16 channels cannot be shared among 3 heads"):
        SelfAttention2d(16, heads=3)


@pytest.mark.parametrize(("bias", "factor"), [(-200.0, 1.0), (0.0, 1.5), (200.0, 2.0)])
def test_residual_attention_is_one_plus_its_mask(bias: float, factor: float) -> None:
    layer = silenced(ResidualAttention(16, depth=2), "mask.weight")
    layer.mask.bias.data.fill_(bias)
    torch.testing.assert_close(layer(X), factor * X)


def asked(layer: SoftAttention | HardAttention, *, score: float) -> SoftAttention | HardAttention:
    layer.score.score.weight.data.fill_(score)
    return layer


def test_soft_attention_without_preference_is_the_mean() -> None:
    query, features = torch.randn(2, 5), torch.randn(2, 7, 3)
    context, weights = asked(SoftAttention(5, 3), score=0.0)(query, features)
    torch.testing.assert_close(context, features.mean(1))
    torch.testing.assert_close(weights, torch.full((2, 7), 1 / 7))


def test_soft_attention_is_bahdanaus_formula() -> None:
    torch.manual_seed(0)
    layer, query, features = SoftAttention(5, 3, hidden=4), torch.randn(1, 5), torch.randn(1, 6, 3)
    w, b, u, v = (
        p.detach()
        for p in (
            layer.score.query.weight,
            layer.score.query.bias,
            layer.score.feature.weight,
            layer.score.score.weight,
        )
    )
    energies = torch.stack([v[0] @ torch.tanh(w @ query[0] + b + u @ h) for h in features[0]])
    torch.testing.assert_close(layer(query, features)[1][0], energies.softmax(0))


def test_hard_attention_draws_what_soft_attention_averages() -> None:
    torch.manual_seed(0)
    soft, hard = SoftAttention(5, 3, hidden=4), HardAttention(5, 3, hidden=4)
    hard.load_state_dict(soft.state_dict())
    query, features = torch.randn(1, 5), torch.randn(1, 6, 3)
    drawn, weights, log_probability = hard(query.expand(40_000, -1), features.expand(40_000, -1, -1))
    torch.testing.assert_close(drawn.mean(0), soft(query, features)[0][0], atol=0.02, rtol=0)
    assert {tuple(row) for row in drawn[:100].tolist()} <= {tuple(row) for row in features[0].tolist()}
    chosen = (drawn[0] == features[0]).all(-1).nonzero().item()
    assert log_probability[0].exp().item() == pytest.approx(weights[0, chosen].item())
    log_probability.sum().backward()
    assert hard.score.score.weight.grad.abs().sum() > 0  # REINFORCE has something to go by


def test_hard_attention_evaluates_to_the_likeliest() -> None:
    layer, query, features = HardAttention(5, 3).eval(), torch.randn(2, 5), torch.randn(2, 6, 3)
    context, weights, log_probability = layer(query, features)
    best = weights.argmax(-1)
    assert torch.equal(context, features[torch.arange(2), best])
    torch.testing.assert_close(log_probability.exp(), weights.max(-1).values)
