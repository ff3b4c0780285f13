"""Refusing scores and targets that do not fit each other, with a message that says what came and what was expected.

Shapes and types are checked everywhere, values only where looking costs nothing: on the CPU, outside of compiling.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORE_INDEX = -100  # torch's own


def as_class_ids(scores: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> tuple[Tensor, Tensor]:
    """Return class ids (B, …) as int64 and which of them count; ids that do not count become 0.

    Args:
        scores: (B, C) or (B, C, …).
        target: (B,) or (B, …), whole numbers from 0 to C-1, or `ignore_index`.
    """
    expect_classes(scores)
    expected = (scores.shape[0], *scores.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(
            f"target has shape {tuple(target.shape)}, expected {expected}: one class id for each of {_of(scores)}"
        )
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target is {target.dtype}, expected whole class ids such as torch.int64")
    ids = target.long()
    counts = ids != ignore_index
    if may_look(ids) and counts.any():
        low, high = ids[counts].aminmax()
        if low < 0 or high >= scores.shape[1]:
            raise ValueError(
                f"target runs from {int(low)} to {int(high)}, expected 0 to {scores.shape[1] - 1} for {_of(scores)};"
                f" an id that marks what to leave out goes into ignore_index, which is {ignore_index}"
            )
    return ids.where(counts, 0), counts


def as_answers(scores: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> tuple[Tensor, Tensor]:
    """Return answers from 0 (no) to 1 (yes) in the type of the scores, and which count; others become 0.

    Args:
        scores: any shape.
        target: the same shape; bool, whole numbers or floating-point numbers.
    """
    expect_same_shape(scores, target)
    answers = target.to(scores.dtype)
    counts = answers != ignore_index
    answers = answers.where(counts, 0)
    if may_look(answers):
        low, high = answers.aminmax()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"target runs from {low:.4g} to {high:.4g}, expected 0 (no) to 1 (yes); answers of -1 and 1 become so"
                f" by (target + 1) / 2, and a number that marks what to leave out goes into ignore_index"
            )
    return answers, counts


def as_values(scores: Tensor, target: Tensor) -> Tensor:
    """Return target values in the type of the scores; shapes must be equal, because broadcasting hides mistakes."""
    expect_same_shape(scores, target)
    if target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"target is {target.dtype}, expected numbers")
    return target.to(scores.dtype)


def as_distributions(scores: Tensor, target: Tensor) -> Tensor:
    """Return target distributions in the type of the scores, checked to be probabilities that sum to 1 over axis 1.

    Args:
        scores, target: (B, C) or (B, C, …).
    """
    expect_classes(scores)
    expect_same_shape(scores, target)
    if not target.is_floating_point():
        raise ValueError(f"target is {target.dtype}, expected probabilities as floating-point numbers")
    shares = target.to(scores.dtype)
    if may_look(shares):
        worst = (shares.sum(1) - 1).abs().max()
        if not (shares.min() >= 0 and worst < 1e-2):
            raise ValueError(
                f"target holds no distributions: over axis 1 a sum is off 1 by {worst:.3g}, or a share below 0"
            )
    return shares


def expect_classes(scores: Tensor) -> None:
    """Raise unless scores are (B, C) or (B, C, …)."""
    if scores.ndim < 2:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}, expected (B, C) or (B, C, …): a score for each class"
        )


def expect_same_shape(scores: Tensor, target: Tensor) -> None:
    """Raise unless both have the same shape."""
    if scores.shape != target.shape:
        raise ValueError(f"target has shape {tuple(target.shape)}, expected that of the scores, {tuple(scores.shape)}")


def expect_embeddings(embeddings: Tensor, target: Tensor) -> None:
    """Raise unless there is one whole-number label (B,) for each embedding (B, D)."""
    if embeddings.ndim != 2:
        raise ValueError(f"scores have shape {tuple(embeddings.shape)}, expected embeddings (B, D)")
    if tuple(target.shape) != (len(embeddings),) or target.is_floating_point() or target.is_complex():
        raise ValueError(
            f"target is {target.dtype} of shape {tuple(target.shape)}, expected ({len(embeddings)},): one whole-number"
            " label for each embedding"
        )


def expect_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise unless an option lies from `low` to `high`, both included."""
    if not low <= value <= high:
        limits = f"from {low:g} on" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} is {value}, expected a number {limits}")


def may_look(values: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device or breaking a compiled graph."""
    return values.numel() > 0 and values.device.type == "cpu" and not torch.compiler.is_compiling()


def _of(scores: Tensor) -> str:
    return f"scores {tuple(scores.shape)}"
