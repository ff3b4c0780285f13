"""Ceilings and latency: what is kept, what is predicted from given ceilings, and what a measurement is made of."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from fovea.cost import latency, roofline
from fovea.cost.counting import count
from fovea.cost.latency import Prediction, measure, predict
from fovea.cost.roofline import Machine, this_machine

MACHINE = Machine(
    name="a machine",
    matmul=1e9,
    convolution=2e9,
    grouped=5e8,
    depthwise=1e8,
    elementwise=1e9,
    bandwidth=((1000, 1e10), (10**6, 1e9)),
    start_s=1e-6,
    start_convolution_s=5e-6,
)


def predicted(net: nn.Module, *shape: int) -> Prediction:
    return predict(count(net.eval(), shape).operations, MACHINE)


@pytest.mark.parametrize(("groups", "rate"), [(1, 2e9), (4, 5e8), (64, 1e8)])
def test_a_convolution_takes_what_its_kind_of_arithmetic_takes(groups: int, rate: float) -> None:
    found = predicted(nn.Conv2d(64, 64, 3, padding=1, groups=groups, bias=False), 1, 64, 16, 16)
    flops = 2 * 64 * 16 * 16 * 9 * 64 // groups
    assert found.compute_s == pytest.approx(flops / rate)
    assert found.seconds == pytest.approx(flops / rate + 5e-6)
    assert found.bound == "compute"


def test_what_moves_much_and_computes_little_is_bound_by_memory() -> None:
    found = predicted(nn.ReLU(), 1, 3, 100, 100)
    assert found.memory_s == pytest.approx(2 * 4 * 30_000 / 1e9)
    assert found.seconds == pytest.approx(found.memory_s + 1e-6)
    assert found.bound == "memory"


def test_small_things_are_bound_by_starting_and_stay_in_the_cache() -> None:
    found = predicted(nn.Sequential(nn.ReLU(), nn.Unflatten(1, (3, 1))), 1, 3, 4, 4)
    assert found.memory_s == pytest.approx(2 * 4 * 48 / 1e10)
    assert found.start_s == pytest.approx(2e-6)
    assert found.bound == "overhead"


def test_bandwidth_is_that_of_the_smallest_memory_that_holds_it() -> None:
    assert [MACHINE.bytes_per_s(size) for size in (10, 1000, 1001, 10**9)] == [1e10, 1e10, 1e9, 1e9]


def test_the_better_of_two_measurements_counts() -> None:
    slow = replace(MACHINE, matmul=5e8, start_s=9e-6, bandwidth=((1000, 2e10), (10**6, 1e8)))
    best = slow.best_of(MACHINE)
    assert (best.matmul, best.start_s, best.bandwidth) == (1e9, 1e-6, ((1000, 2e10), (10**6, 1e9)))
    assert best.occasions == 2


def test_ceilings_are_measured_on_three_occasions_and_then_kept(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([replace(MACHINE, matmul=rate) for rate in (1e9, 3e9, 2e9)])
    monkeypatch.setattr(roofline, "measure", lambda: next(given))
    assert [this_machine().matmul for _ in range(4)] == [1e9, 3e9, 3e9, 3e9]
    (path,) = (private_cache / "cost").iterdir()
    assert json.loads(path.read_text(encoding="utf-8"))["occasions"] == 3


def test_other_threads_are_another_machine_and_a_torn_file_is_measured_anew(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Machine] = []
    monkeypatch.setattr(roofline, "measure", lambda: calls.append(MACHINE) or replace(MACHINE, occasions=3))
    threads = torch.get_num_threads()
    try:
        this_machine()
        torch.set_num_threads(threads + 1)
        this_machine()
    finally:
        torch.set_num_threads(threads)
    assert len(calls) == 2
    for path in (private_cache / "cost").iterdir():
        path.write_text('{"name": "a mach', encoding="utf-8")
    assert this_machine() == replace(MACHINE, occasions=3)
    assert len(calls) == 3


def test_a_real_measurement_is_plausible() -> None:
    found = roofline.measure()  # other tests may be running: only the order of magnitude is certain
    for rate in (found.matmul, found.convolution, found.grouped, found.depthwise, found.elementwise):
        assert 1e7 < rate < 1e14
    assert [size for size, _ in found.bandwidth] == [2**18, 2**22, 2**26]
    assert all(1e7 < rate < 1e13 for _, rate in found.bandwidth)
    assert 1e-8 < found.start_s < 1 and 1e-8 < found.start_convolution_s < 1


class Branched(nn.Module):
    """Two layers, one of which runs twice, and a sum of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.act(self.conv(self.act(images))) + images  # type: ignore[no-any-return]


def test_time_is_measured_where_it_is_spent_and_on_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()  # a clock that moves on by one whenever it is read
    clock = SimpleNamespace(perf_counter=lambda: next(ticks), thread_time=time.thread_time)
    monkeypatch.setattr(latency, "time", clock)
    net = Branched().train()
    before = [parameter.clone() for parameter in net.parameters()]
    found = measure(net, (1, 8, 16, 16), budget_s=0.1)
    assert found.by_layer == {"conv": 1, "act": 2, "": 1}
    assert (found.seconds, found.repeats) == (1, 5) and 0 < found.running <= 1
    assert net.training and all(map(torch.equal, net.parameters(), before))
    assert net.conv.weight.is_contiguous()
