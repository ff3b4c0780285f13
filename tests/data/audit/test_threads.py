"""Side by side: in order, only a little ahead, and nothing is left changed, however it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from fovea.data.audit import threads
from fovea.data.audit.threads import side_by_side


@pytest.fixture(autouse=True)
def torch_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads of torch and two cores; whatever a test does, three are there again at its end."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_results_come_in_order_though_work_ends_out_of_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 if number % 2 == 0 else 0)
        return number * number

    assert list(side_by_side(work, range(9))) == [number * number for number in range(9)]
    assert list(side_by_side(work, [])) == []


def test_torch_divides_nothing_within_a_piece() -> None:
    assert set(side_by_side(lambda _: torch.get_num_threads(), range(6))) == {1}


def test_pieces_run_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=10)
    assert len(list(side_by_side(lambda _: both.wait(), range(2)))) == 2  # one after the other would wait for ever


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = side_by_side(lambda number: number, items())
    assert next(results) == 0
    assert len(taken) <= 6  # two cores: at most four wait
    results.close()  # type: ignore[attr-defined]  # who loses interest stops the rest
    assert len(taken) <= 6


def test_an_error_in_a_piece_is_the_callers() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ZeroDivisionError("three")
        return number

    with pytest.raises(ZeroDivisionError, match="three"):
        list(side_by_side(work, range(50)))


def test_an_interruption_ends_it_and_waits_for_no_more_than_was_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    def consume() -> None:
        for number in side_by_side(work, range(1000)):
            if number == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert len(begun) < 20
