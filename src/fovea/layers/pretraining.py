"""Greedy layer-wise pretraining: a network's weights learnt from images without labels, each layer as an auto-encoder.

This is no second training loop: it knows neither labels nor epochs of a recipe, only how well one layer's code gives
back what came in. Labels, and with them the last layer, are for ordinary training afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.layers.initialisation import WEIGHTED
from fovea.layers.modes import evaluating


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How well one layer's code gives back what came in: mean squared errors at its first and its last step.

    `spread` is the error of always answering with the mean (over the first batch), a yardstick for both.
    """

    layer: str
    before: float
    after: float
    spread: float


def pretrain_layerwise(
    model: nn.Module,
    batches: Sequence[Tensor],
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    activation: Callable[[Tensor], Tensor] = torch.relu,
    noise: float = 0.0,
) -> tuple[Reconstruction, ...]:
    """Learn the weights of a network one layer after the other, in place, by reconstructing each layer's input.

    Each convolution and linear layer but the last, in the order in which they run, becomes the encoder of an
    auto-encoder: from `activation(layer(input))` a decoder, thrown away afterwards, gives back the input as the layers
    before it now make it.

    Args:
        model: any network of two such layers or more. It is evaluated throughout: dropout is off, and BatchNorm keeps
            its statistics (`recalibrate` afterwards).
        batches: images (B,C,H,W), gone through `epochs` times for each layer, in this order.
        epochs: how often.
        lr: Adam's.
        activation: of the code.
        noise: deviation of Gaussian noise on the input, in units of the input's own: a denoising auto-encoder.

    Returns:
        What each layer came to, in order.

    Raises:
        ValueError: there is no batch, fewer than two layers, or a padding without a number.

    Sources: Bengio et al. 2007, "Greedy layer-wise training of deep networks"; with noise Vincent et al. 2008,
    "Extracting and composing robust features with denoising autoencoders", section 2.3.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5), nn.Linear(5, 2))
    >>> [learnt.layer for learnt in pretrain_layerwise(net, [torch.rand(4, 3, 8, 8)], epochs=2)]
    ['0', '3']
    """
    if not batches:
        raise ValueError("pretraining needs at least one batch of images")
    with evaluating(model):
        layers = _in_order(model, batches[0])
        if len(layers) < 2:
            raise ValueError(
                f"{type(model).__name__} runs {len(layers)} layers with weights; the last is not pretrained"
            )
        learnt = []
        for name, layer in layers[:-1]:
            coder = _AutoEncoder(layer, activation=activation, noise=noise)
            errors = _learn(coder, partial(_inputs, model, layer, batches), epochs=epochs, lr=lr)
            spread = float(next(_inputs(model, layer, batches)).var(0, unbiased=False).mean())
            learnt.append(Reconstruction(layer=name, before=errors[0], after=errors[-1], spread=spread))
        return tuple(learnt)


def _learn(coder: _AutoEncoder, inputs: Callable[[], Iterator[Tensor]], *, epochs: int, lr: float) -> list[float]:
    """Train on all inputs `epochs` times and return the error of each step."""
    optimiser = torch.optim.Adam(coder.parameters(), lr=lr)
    optimiser.zero_grad()
    errors = []
    for _ in range(epochs):
        for given in inputs():
            error = F.mse_loss(coder(given), given)
            error.backward()
            optimiser.step()
            optimiser.zero_grad()
            errors.append(error.item())
    return errors


class _AutoEncoder(nn.Module):
    """A layer of the network and a decoder that mirrors it."""

    def __init__(self, layer: nn.Module, *, activation: Callable[[Tensor], Tensor], noise: float) -> None:
        super().__init__()
        self.layer, self.decoder = layer, _mirrored(layer)
        self.activation, self.noise = activation, noise

    def forward(self, x: Tensor) -> Tensor:
        noisy = x + self.noise * x.std() * torch.randn_like(x) if self.noise else x
        code = self.activation(self.layer(noisy))
        if isinstance(self.decoder, nn.ConvTranspose2d):
            return self.decoder(code, output_size=list(x.shape[-2:]))
        return self.decoder(code)


def _mirrored(layer: nn.Module) -> nn.Module:
    """Return a new layer that maps the output of `layer` back to the shape of its input."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.out_features, layer.in_features).to(layer.weight)
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    if isinstance(layer.padding, str):
        raise ValueError(f"pretraining needs the padding of {layer} as a number, not as {layer.padding!r}")
    geometry: dict[str, Any] = {
        name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")
    }
    kind = nn.ConvTranspose2d if isinstance(layer, nn.Conv2d) else nn.Conv2d
    return kind(layer.out_channels, layer.in_channels, **geometry).to(layer.weight)


class _ReachedError(Exception):
    """Ends a forward pass where all that comes later is of no interest."""


def _in_order(model: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """Return the convolutions and linear layers, with their names, in the order in which they first run."""
    ran: dict[nn.Module, None] = {}

    def note(layer: nn.Module, _: tuple[Tensor, ...]) -> None:
        ran[layer] = None

    names: dict[nn.Module, str] = {layer: name for name, layer in model.named_modules() if isinstance(layer, WEIGHTED)}
    handles = [layer.register_forward_pre_hook(note) for layer in names]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [(names[layer], layer) for layer in ran]


def _inputs(model: nn.Module, layer: nn.Module, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield what `layer` is given for each batch."""
    given: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0].detach())
        raise _ReachedError

    for images in batches:
        handle = layer.register_forward_pre_hook(stop)
        try:
            with torch.no_grad():
                model(images)
        except _ReachedError:
            pass
        finally:
            handle.remove()
        yield given.pop()
