"""What an evaluated batch adds to its evaluation: right answers, confusions, and scores of yes and no."""

from __future__ import annotations

import math

import numpy as np

from fovea.doctor.pending import Forward
from fovea.doctor.record import Round
from fovea.doctor.tensors import is_class_labels

_DECISIONS = 5000  # of yes and no, in an evaluation
_MOST_CLASSES = 2000  # for a confusion matrix


def judge(current: Round, call: Forward) -> None:
    """Count the right answers of a call whose scores are those of classes."""
    assert call.labels is not None
    count(current, call.scores.argmax(1).cpu().numpy(), call.labels.cpu().numpy(), classes=call.scores.shape[1])


def count(current: Round, told: np.ndarray, labels: np.ndarray, *, classes: int) -> None:
    """Count which of the answers (N,) are right."""
    current.right += int((told == labels).sum())
    current.judged += len(labels)
    current.parts.append((int((told == labels).sum()), len(labels)))
    if classes <= _MOST_CLASSES and labels.min(initial=0) >= 0 and labels.max(initial=0) < classes:
        counts = np.bincount(labels * classes + told, minlength=classes * classes).reshape(classes, classes)
        mean, _ = f1_of_classes(counts)
        current.f1s.append((mean, mean * int((counts.sum(axis=0) + counts.sum(axis=1) > 0).sum()) / classes))
        current.confusion = counts if current.confusion is None else current.confusion + counts


def f1_of_classes(confusion: np.ndarray) -> tuple[float, float]:
    """Return F1 (van Rijsbergen 1979) as mean over the classes that occur, and weighted by how often each is true.

    Args:
        confusion: (C, C) counts, rows true.

    >>> f1_of_classes(np.array([[3, 1], [0, 4]]))
    (0.873015873015873, 0.873015873015873)
    """
    true, told = confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = true + told > 0
    each = 2 * confusion.diagonal()[occurs] / (true + told)[occurs]
    return (float(each.mean()), float((each * true[occurs]).sum() / true.sum())) if true.any() else (math.nan, math.nan)


def keep_decisions(current: Round, call: Forward) -> None:
    """Keep scores of questions that are answered by yes or no."""
    if call.labels is None or sum(map(len, current.scores)) >= _DECISIONS:
        return
    scores, labels = call.scores, call.labels
    if is_class_labels(labels, scores) and scores.shape[1] == 2:
        scores = scores[:, 1] - scores[:, 0]
    elif scores.numel() != labels.numel() or scores.ndim > 2:
        return
    truths = labels.flatten().float().cpu().numpy()
    if np.isin(truths, (0, 1)).all():
        current.scores.append(scores.flatten().float().cpu().numpy())
        current.truths.append(truths.astype(bool))
