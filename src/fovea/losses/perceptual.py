"""The perceptual loss: two images are alike if a network sees the same in them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fovea.core.errors import nearest
from fovea.losses.base import LOSSES, Loss
from fovea.losses.checks import as_values


@LOSSES.register("perceptual", summary="squared difference of a network's features (Johnson et al. 2016, §3.2)")
class Perceptual(Loss):
    """Σ_l w_l · mean over C_l, H_l, W_l of (φ_l(s) - φ_l(t))², φ_l what layer l of a network makes of an image.

    Images and target images (B, C, H, W), prepared as the network expects them; "none" gives (B,); source: Johnson,
    Alahi & Fei-Fei 2016, §3.2, the feature reconstruction loss. With the whole network for a layer (the name "") and a
    network that changes nothing it is the mean of L2 over pixels.

    Args:
        network: anything that takes the images. A frozen copy in evaluation mode is kept, which no optimiser moves and
            `train()` leaves as it is.
        layers: weight of each layer, by its dotted name in the network. Layers differ in the size of their features, so
            look at each part once before weighing.
        reduction: as in `Loss`, over images.

    Raises:
        ValueError: no layers, or the network has none of that name.

    >>> loss = Perceptual(nn.Conv2d(3, 4, 3), {"": 1.0})
    >>> image = torch.rand(2, 3, 8, 8)
    >>> float(loss(image, image))
    0.0
    """

    def __init__(self, network: nn.Module, layers: Mapping[str, float], *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        known = dict(network.named_modules())
        if not layers:
            raise ValueError("layers is empty, expected the names of layers to compare, each with its weight")
        for name in layers:
            if name not in known:
                near = nearest(name, known)
                meant = f"; did you mean {near!r}?" if near else "; network.named_modules() lists them"
                raise ValueError(f"{type(network).__name__} has no layer {name!r}{meant}")
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.layers = dict(layers)

    def train(self, mode: bool = True) -> Perceptual:
        """Keep the network in evaluation mode, whatever the model around is in."""
        super().train(mode)
        self.network.eval()
        return self

    def each(self, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the weighted difference of the features of each pair of images (B,)."""
        wanted = as_values(scores, target)
        if scores.ndim != 4:
            raise ValueError(f"scores have shape {tuple(scores.shape)}, expected images (B, C, H, W)")
        with torch.no_grad():
            goal = self._features(wanted)
        made = self._features(scores)
        apart = [
            weight * functional.mse_loss(made[name], goal[name], reduction="none").flatten(1).mean(1)
            for name, weight in self.layers.items()
        ]
        return torch.stack(apart).sum(0), None

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        """Return what each of the layers makes of the images."""
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                found[name] = output.clone()  # an in-place ReLU behind this layer would change it

            return hook

        handles = [self.network.get_submodule(name).register_forward_hook(keep(name)) for name in self.layers]
        try:
            self.network(images)
        finally:
            for handle in handles:
                handle.remove()
        return found
