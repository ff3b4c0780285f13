"""What autograd's graph of a loss tells: which functions a loss of somebody's own applies to the network's answers."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch

_DEEPEST = 24  # functions away from the loss, beyond which the network itself begins
_LONGEST = 200  # functions looked at
_HANDS_ON = (
    "ToCopy", "View", "UnsafeView", "Unsqueeze", "Squeeze", "Expand", "Clone", "Alias", "Transpose", "T", "Permute",
    "Reshape", "Index", "Gather", "Select", "Slice",
)  # fmt: skip
_SECOND = {
    "Softmax": ("LogSoftmax", "Softmax", "Logsumexp", "Sigmoid", "LogSigmoid", "BinaryCrossEntropyWithLogits"),
    "Sigmoid": ("LogSoftmax", "Sigmoid", "LogSigmoid", "BinaryCrossEntropyWithLogits"),
}


def squashed_twice(loss: torch.Tensor) -> tuple[str, str] | None:
    """Return the two functions of a loss of which the second turns what is a probability already into one, or None.

    >>> scores = torch.randn(4, 3, requires_grad=True)
    >>> squashed_twice(-scores.softmax(dim=1).log_softmax(dim=1)[:, 0].mean())
    ('Softmax', 'LogSoftmax')
    >>> squashed_twice(-scores.softmax(dim=1).log()[:, 0].mean())
    """
    waiting, known = deque([(loss.grad_fn, 0)]), set[Any]()
    while waiting and len(known) < _LONGEST:
        function, depth = waiting.popleft()
        if function is None or function in known or depth > _DEEPEST:
            continue
        known.add(function)
        kind = _kind(function)
        for before, _ in function.next_functions:
            first = _kind(_maker(before))
            if kind in _SECOND.get(first, ()):
                return first, kind
            waiting.append((before, depth + 1))
    return None


def _maker(function: Any) -> Any:
    """Return what has computed the values that functions from this one on only hand on, cut or shape otherwise."""
    while function is not None and _kind(function) in _HANDS_ON:
        function = function.next_functions[0][0]
    return function


def _kind(function: Any) -> str:
    return "" if function is None else function.name().split("Backward")[0]
