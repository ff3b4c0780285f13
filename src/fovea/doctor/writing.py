"""Writes down calls of networks and losses once it is known whether they were training or evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from fovea.doctor import describing
from fovea.doctor.files.linking import FileWatch
from fovea.doctor.graphs import squashed_twice
from fovea.doctor.judging import count, judge, keep_decisions
from fovea.doctor.pace import Pace
from fovea.doctor.pending import Forward, LossCall
from fovea.doctor.record import Batch, Loss, NonFinite, Phase, Record, Round, Squashed, Step
from fovea.doctor.senses.places import calling_place
from fovea.doctor.tensors import (
    agreement_with_mask,
    are_pictures,
    channel_statistics,
    colour_pictures,
    common_values,
    count_values,
    grey_pictures,
    is_class_labels,
    pixels_digest,
)

_PICTURES: dict[Phase, int] = {"train": 1500, "eval": 500}
_PICTURES_ANYWAY = 600  # are kept even if that takes more than the share
_DIGESTS = 24  # training batches
_UNJUDGED = 100_000  # answers that are kept in the hope of labels
_LOOKS = 200  # at batches that no loader handed out, to tell new ones from those of the evaluation before
_TURNS = 8  # for which evaluations are kept open


@dataclass
class _Unjudged:
    """The answers of an evaluation whose labels are not known."""

    round: Round
    classes: int
    answers: list[torch.Tensor] = field(default_factory=list)  # (B,) of each call


class Writing:
    """Owns the running step and the open evaluations of a record."""

    def __init__(self, record: Record, pace: Pace, files: FileWatch) -> None:
        self.step = Step()
        self.told_loaders: set[int] = set()  # whose phase somebody has told
        self.scale: Callable[[], float] = lambda: 1.0  # by which a gradient scaler multiplies losses
        self._record = record
        self._pace = pace
        self._files = files
        self._loss_kinds: dict[tuple[str, Phase, str, int], Loss] = {}
        # of the last turns, with and without a loader: the evaluation, with rows of each network
        self._rounds: dict[tuple[int, bool], tuple[Round, dict[int, int]]] = {}
        self._source = False  # whether the last call that was evaluated had no loader
        self._rows: dict[int, int] = {}  # that each network was given since the last step, in training
        self._looked_at = 0  # batches that no loader handed out
        self._evaluated: set[str] = set()  # digests of batches that no loader handed out
        self._unjudged: _Unjudged | None = None  # of the last evaluation
        self._widths: set[int] = set()  # of scores that a loss was given together with class labels

    def next_step(self) -> None:
        """Begin a new step."""
        self.step, self._rows = Step(), {}

    def told(self, call: Forward) -> None:
        """The labels of a call are certain: whoever computed the loss has given them."""
        call.told = True
        if is_class_labels(call.labels, call.scores):
            self._widths.add(call.scores.shape[1])

    def backward(self, value: float, losses: list[LossCall]) -> None:
        """A value was propagated back, through these losses."""
        if not losses:
            self.step.loss = _running_mean(self.step.loss, value, self.step.batches)
        self.step.flipped |= bool(losses) and all(each.is_negated for each in losses)

    def graph(self, loss: torch.Tensor) -> None:
        """A value was propagated back at a sample: look at how it was computed."""
        found = squashed_twice(loss)
        if found is None:
            return
        known = next((each for each in self._record.squashed if (each.first, each.second) == found), None)
        if known is None:
            known = Squashed(*found, calling_place())
            self._record.squashed.append(known)
        known.calls += 1

    def trained(self, call: Forward) -> None:
        """A call of a network was training."""
        call.settle()
        self._belongs(call, "train")
        self._rows[call.network] = self._rows.get(call.network, 0) + len(call.scores)
        self.step.images = max(self._rows.values())  # a body and its heads are given the same images
        self.step.eval_mode |= not call.training
        if self._is_judged(call):
            assert call.labels is not None
            right = int((call.scores.argmax(1) == call.labels.to(call.scores.device)).sum())
            self.step.right = max(self.step.right, 0) + right
        if self._pace.sampling or len(self._record.batches) < _DIGESTS:
            self._batch(call, "train")
        if self._pace.sampling and call.mask is not None:
            agreement = agreement_with_mask(call.scores, call.mask)
            if agreement is not None:
                self._record.networks[call.network].on_masks.append((self._pace.steps, agreement))
        self._pictures(call, "train")

    def trained_loss(self, call: LossCall) -> None:
        """A call of a loss was training."""
        if call.reduction == "sum":
            call.average(self.scale())
        kind = self._kind(call, "train")
        value = call.mean
        kind.values.append((self._pace.steps, value, len(call.scores)))
        self.step.loss = _running_mean(self.step.loss, value, max(1, self.step.batches))
        if not np.isfinite(value) and self._record.nonfinite is None:
            finite = bool(torch.isfinite(call.scores).all())
            self._record.nonfinite = NonFinite(self._pace.steps, "loss" if finite else "scores", call.name, call.where)

    def evaluated(self, call: Forward) -> None:
        """A call of a network was evaluation."""
        call.settle()
        self._belongs(call, "eval")
        self._record.networks[call.network].evaluated += not call.training
        self._record.networks[call.network].unreached += call.minds_mode
        current, rows = self._round_of(call)
        current.batches += 1
        if current.batches == 1:
            current.loader = call.loader
        rows[call.network] = rows.get(call.network, 0) + len(call.scores)
        current.images = max(rows.values())
        current.training_mode += call.minds_mode
        current.grad_enabled += call.grad
        if self._is_judged(call):
            judge(current, call)
        elif call.labels is None and call.scores.ndim == 2 and call.scores.shape[1] > 1:
            self._keep_unjudged(call, current)
        if current.batches <= 2:
            batch = self._batch(call, "eval")
            if current.batches == 1 and batch is not None:
                current.first_digest = batch
        keep_decisions(current, call)
        if not self._record.trains_on(call.loader):  # looking at what is trained on is no leak
            self._pictures(call, "eval", place=current.batches)

    def _keep_unjudged(self, call: Forward, current: Round) -> None:
        """Keep answers whose labels nobody has told yet: they may be compared all at once in the end."""
        if self._unjudged is None or self._unjudged.round is not current:
            self._unjudged = _Unjudged(current, call.scores.shape[1])
        if sum(map(len, self._unjudged.answers)) < _UNJUDGED and call.scores.shape[1] == self._unjudged.classes:
            self._unjudged.answers.append(call.scores.argmax(1))  # where it is: a copy would stall a GPU

    def compared(self, one: torch.Tensor, other: torch.Tensor) -> None:
        """Two tensors were compared, perhaps the answers of a whole evaluation and its labels."""
        open_one = self._unjudged
        if open_one is None:
            return
        if len(one) != sum(map(len, open_one.answers)):
            return
        answers = torch.cat(open_one.answers)
        for told, labels in ((one, other), (other, one)):
            same = bool((told.to(answers.device) == answers).all())
            if same and bool((labels >= 0).all() and (labels < open_one.classes).all()):
                whole = labels.detach().cpu().long().numpy()
                count(open_one.round, answers.cpu().numpy(), whole, classes=open_one.classes)
                self._unjudged = None
                return

    def _is_judged(self, call: Forward) -> bool:
        """Whether the scores of a call are those of classes, rather than features for another network."""
        return is_class_labels(call.labels, call.scores) and (not self._widths or call.scores.shape[1] in self._widths)

    def evaluated_loss(self, call: LossCall) -> None:
        """A call of a loss was evaluation."""
        kind, (current, _) = self._kind(call, "eval"), self._round_of(call)
        value = call.mean / (call.count if call.reduction == "sum" else 1)
        kind.values.append((self._pace.steps, value, len(call.scores)))
        current.loss_sum += value * len(call.scores)
        current.loss_images += len(call.scores)

    def _round_of(self, call: Forward | LossCall) -> tuple[Round, dict[int, int]]:
        """Return the evaluation that a call belongs to, and how many rows each network was given in it.

        What a loader hands out and what is evaluated without one are two; a loss belongs to what was evaluated last.
        """
        source = self._source if isinstance(call, LossCall) else call.loader is None
        if not isinstance(call, LossCall):
            self._source = source
        key = (call.turn, source)
        if key not in self._rounds:
            self._rounds = {key: known for key, known in self._rounds.items() if key[0] >= call.turn - _TURNS}
            self._rounds[key] = Round(step=call.step), {}
            self._record.rounds.append(self._rounds[key][0])
        return self._rounds[key]

    def _belongs(self, call: Forward, phase: Phase) -> None:
        self._files.given(phase, call)
        if call.loader is None or call.loader in self.told_loaders:
            return
        if self._record.loaders[call.loader].phase != "train":
            self._record.loaders[call.loader].phase = phase

    def _kind(self, call: LossCall, phase: Phase) -> Loss:
        width = call.scores.shape[1] if call.scores.ndim > 1 else 0  # one line may hold the losses of several heads
        key = (call.name, phase, str(call.where), width)
        if key not in self._loss_kinds:
            self._loss_kinds[key] = Loss(call.name, phase, call.where, call.reduction)
            self._record.losses.append(self._loss_kinds[key])
        kind = self._loss_kinds[key]
        kind.calls += 1
        if self._pace.sampling or kind.calls <= 4 or phase == "eval":
            describing.add_loss_call(kind, call.scores, call.target)
        return kind

    def _batch(self, call: Forward, phase: Phase) -> str | None:
        """Write down a batch in numbers; return the digest of its pixels."""
        if call.inputs is None or call.inputs.ndim < 2:
            return None
        mean, std, lowest, highest = channel_statistics(call.inputs)
        digest = pixels_digest(call.inputs)
        self._record.batches.append(
            Batch(
                step=self._pace.steps,
                phase=phase,
                shape=tuple(call.inputs.shape),
                dtype=str(call.inputs.dtype).removeprefix("torch."),
                mean=mean,
                std=std,
                lowest=lowest,
                highest=highest,
                digest=digest,
                values=count_values(call.inputs),
                common=common_values(call.inputs),
                labels=None if call.labels is None else call.labels.cpu().numpy(),
                module_training=call.training,
            )
        )
        if not np.isfinite([*mean, lowest, highest]).all() and self._record.nonfinite is None:
            self._record.nonfinite = NonFinite(self._pace.steps, "input", phase)
        return digest

    def _pictures(self, call: Forward, phase: Phase, *, place: int = 0) -> None:
        """Keep some inputs as small pictures while there is time for it.

        Args:
            place: of the batch in its evaluation, from 1.
        """
        gallery = self._record.galleries[phase]
        if call.inputs is None or not are_pictures(call.inputs.shape) or len(gallery.pictures) >= _PICTURES[phase]:
            return
        if len(gallery.pictures) >= _PICTURES_ANYWAY and not self._pace.has_time():
            return
        if phase == "eval" and call.loader is None and self._evaluated_before(call.inputs):
            return
        inputs = call.inputs[: self._wanted(call, phase)]
        if len(gallery.colours) == len(gallery.pictures):
            gallery.colours += list(colour_pictures(inputs))
        gallery.pictures += list(grey_pictures(inputs))
        known = is_class_labels(call.labels, call.scores) and (call.told or phase == "eval")
        labels = call.labels[: len(inputs)].tolist() if known and call.labels is not None else [-1] * len(inputs)
        gallery.labels += labels
        gallery.steps += [self._pace.steps] * len(inputs)
        gallery.networks += [call.network] * len(inputs)
        gallery.sources += [-place if call.loader is None else call.loader] * len(inputs)

    def _evaluated_before(self, inputs: torch.Tensor) -> bool:
        """Whether pictures of this batch, which no loader handed out, are kept already, or enough were looked at."""
        self._looked_at += 1
        if self._looked_at > _LOOKS:
            return True
        digest = pixels_digest(inputs)
        known = digest in self._evaluated
        self._evaluated.add(digest)
        return known

    def _wanted(self, call: Forward, phase: Phase) -> int:
        """Return how many pictures of a batch to keep: of an evaluation, which may be sorted by class, some of each."""
        images = None if call.loader is None else self._record.loaders[call.loader].images
        if phase == "eval" and call.loader is None:
            return _PICTURES[phase] // 2  # another batch may be of other data: all of training's, and then validation's
        if phase == "train" or not images:
            return len(call.scores)
        return math.ceil(len(call.scores) * min(1.0, _PICTURES[phase] / images))


def _running_mean(mean: float, value: float, count: int) -> float:
    """Return the mean of `count` values from that of all but the last; of the first one, itself."""
    return value if mean != mean else mean + (value - mean) / max(1, count)
