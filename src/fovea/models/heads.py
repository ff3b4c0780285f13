"""Finding and replacing a network's classifier: the layer that turns features into one number per class.

Knows layers, not libraries: timm says where its classifier is, for any other network the last linear layer or 1×1
convolution is taken. Does not touch the rest of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fovea.core.errors import ModelError


def classifier_path(model: nn.Module) -> str:
    """Return the dotted name of the layer that produces one number per class.

    Raises:
        ModelError: the network has no linear layer and no 1×1 convolution.

    >>> classifier_path(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 5)))
    '2'
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    declared = config.get("classifier")
    declared = declared[0] if isinstance(declared, (tuple, list)) and declared else declared
    modules = dict(model.named_modules())
    if isinstance(declared, str) and isinstance(modules.get(declared), (nn.Linear, nn.Conv2d)):
        return declared
    heads = [name for name, module in modules.items() if _maps_features(module)]
    if not heads:
        raise ModelError(
            f"{type(model).__name__} has no classifier: no linear layer and no 1×1 convolution",
            hint="choose a network made for classification",
        )
    return heads[-1]


def classifier(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """Return the layer at `classifier_path`."""
    layer = model.get_submodule(classifier_path(model))
    assert isinstance(layer, (nn.Linear, nn.Conv2d))  # what classifier_path looks for
    return layer


def set_linear_head(model: nn.Module, *, weight: Tensor, bias: Tensor) -> None:
    """Install a linear head that was fitted on the pooled features, in place.

    Args:
        model: a network whose classifier has K outputs and F inputs.
        weight: (K, F).
        bias: (K,).

    SqueezeNet puts a ReLU and the pooling after its classifier. There every bias is raised by a constant: hardly
    any pre-activation is cut off by the ReLU then, and a constant added to all classes leaves softmax as it is. It does
    not leave a sigmoid as it is: such a network is not for several labels at once.

    >>> head = nn.Linear(2, 3)
    >>> set_linear_head(nn.Sequential(head), weight=torch.ones(3, 2), bias=torch.zeros(3))
    >>> head(torch.ones(1, 2)).tolist()
    [[2.0, 2.0, 2.0]]
    """
    layer = classifier(model)
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(layer.weight.shape))  # (K,F) -> (K,F,1,1) for a convolution
        if layer.bias is None:
            raise ModelError(f"the classifier of {type(model).__name__} has no bias", hint="choose another network")
        layer.bias.copy_(bias + (_ABOVE_RELU if is_followed_by_relu(model) else 0.0))


# Above nearly all logits of a regularised head, and small enough for the coarse steps of bfloat16 (0.25 there).
_ABOVE_RELU = 32.0


def is_followed_by_relu(model: nn.Module) -> bool:
    """Whether the classifier's output passes a ReLU before it is pooled, as in SqueezeNet.

    >>> is_followed_by_relu(nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    True
    """
    parent_path, _, own_name = classifier_path(model).rpartition(".")
    parent = model.get_submodule(parent_path)
    if not isinstance(parent, nn.Sequential):
        return False
    after = list(parent.children())[list(dict(parent.named_children())).index(own_name) + 1 :]
    return any(isinstance(module, nn.ReLU) for module in after)


def replace_classifier(model: nn.Module, classes: int) -> None:
    """Put a freshly initialised layer with `classes` outputs in the classifier's place."""
    path = classifier_path(model)
    old = classifier(model)
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        fresh: nn.Module = nn.Linear(old.in_features, classes, bias=bias)
    else:
        fresh = nn.Conv2d(old.in_channels, classes, kernel_size=1, bias=bias)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, fresh)


def _maps_features(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
