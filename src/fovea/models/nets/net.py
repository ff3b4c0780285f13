"""What all of fovea's own networks are: stages one after another, then a head, with the attributes and methods of timm.

Because of them timm's own tools work on these networks: another classifier, features by stage, groups of parameters.
How a stage looks is the business of the file that has the network's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """A part of the trunk that ends where features may be taken.

    Attributes:
        module: (B, C, H, W) in and out.
        channels: C of its output.
        reduction: how many pixels of the image a step in its output is, along one side.
    """

    module: nn.Module
    channels: int
    reduction: int


class Head(Protocol):
    """What comes behind the trunk; timm's `ClassifierHead` is one.

    Attributes:
        num_features: length of the vectors that the classifier sees.
        fc: the classifier.
    """

    num_features: int
    fc: nn.Module

    def __call__(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K), or what the classifier sees of each image."""

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Put a fresh classifier in the place of the old one."""


class Net(nn.Module):
    """A trunk of stages and a head: images (B, C, H, W) -> logits (B, K).

    Args:
        stages: from the image to the last features.
        head: made for the last stage's channels.
        num_classes: K, that of the head.
        in_chans: C.
        drop_rate: what the network was built with; the layers that drop have it already.
    """

    def __init__(
        self, stages: Sequence[Stage], head: Head, *, num_classes: int, in_chans: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(stage.module for stage in stages))
        self.head = head
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        self.num_features, self.head_hidden_size = stages[-1].channels, head.num_features
        self.feature_info = [
            {"num_chs": stage.channels, "reduction": stage.reduction, "module": f"stages.{index}"}
            for index, stage in enumerate(stages)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last stage's features (B, num_features, h, w)."""
        return self.stages(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Turn features into logits, or into what the classifier sees: (B, head_hidden_size)."""
        return self.head(x, pre_logits=pre_logits)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the outputs of the stages `indices`, or (last features, those outputs); timm's signature.

        Args:
            indices: None for all, n for the last n, or their numbers.
            norm, output_fmt: of no effect; there is no final norm, and the format is always NCHW.
            stop_early: leave out the stages behind the last wanted one.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt is {output_fmt!r}; these networks give NCHW")
        wanted = self._chosen(indices)
        outputs = []
        for index, stage in enumerate(self.stages):
            if stop_early and index > max(wanted):
                break
            x = stage(x)
            if index in wanted:
                outputs.append(x)
        return outputs if intermediates_only else (x, outputs)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages behind the last one in `indices`, and the classifier; return `indices` as numbers."""
        wanted = self._chosen(indices)
        self.stages = self.stages[: max(wanted) + 1]
        if prune_head:
            self.reset_classifier(0)
        return wanted

    def _chosen(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return `indices` of stages as numbers from 0; timm allows None (all), n (the last n) and numbers below 0."""
        numbers = range(len(self.stages))
        if indices is None or isinstance(indices, int):
            return list(numbers[-indices:] if indices else numbers)
        return [numbers[index] for index in indices]

    def get_classifier(self) -> nn.Module:
        """Return the layer that gives one number per class."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier with `num_classes` outputs in the old one's place; 0 removes it."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return how timm groups the parameters by depth: by stage, or by the blocks within."""
        return {"stem": r"^stages\.0", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse what these networks cannot do."""
        if enable:
            raise ValueError("gradient checkpointing is not made for this network")


def initialise(module: nn.Module) -> None:
    """Set a convolution's weights for a ReLU behind it (He et al. 2015); for `module.apply`."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
