"""How far a training has come, and which of its steps are looked at layer by layer: few, ever further apart."""

from __future__ import annotations

import time

from fovea.doctor.record import Record

_FIRST_SAMPLES = (0, 1, 2, 4, 8, 16, 32)
_LEAST_GAP = 8  # steps between two samples afterwards


class Pace:
    """Counts steps and says which are samples.

    Args:
        record: of the training, in which the time stands that the doctor has used.
        share: of the time that samples may take.
    """

    def __init__(self, record: Record, *, share: float) -> None:
        self.steps = 0
        self.sampling = True  # whether the running step is a sample
        self.began = time.perf_counter()
        self._record = record
        self._share = share
        self._last_sample = 0

    def step_taken(self) -> None:
        """An optimiser has taken a step; several take turns."""
        optimisers = max(1, len(self._record.optimisers))
        self.steps += 1
        if self.sampling:
            self._last_sample = self.steps // optimisers
        turn, within = divmod(self.steps, optimisers)
        if not (within and self.sampling):
            self.sampling = self._is_sample(turn)

    def _is_sample(self, turn: int) -> bool:
        if turn in _FIRST_SAMPLES:
            return turn < 3 or self.has_time(4)
        if turn > _FIRST_SAMPLES[-1] and turn.bit_count() == 1:
            return True  # at 64, 128, 256 ... whatever it takes: fewer than one step in a hundred, in the long run
        return turn - self._last_sample >= _LEAST_GAP and self.has_time()

    def has_time(self, times: float = 1.0) -> bool:
        """Whether the doctor has used less than its share of the time so far, or than so many times that."""
        return self._record.overhead_s < times * self._share * (time.perf_counter() - self.began)
