"""Looks: what is packed comes back, rows go where they belong, and many pictures lie in a file instead of memory."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fovea.data import looks as module
from fovea.data.looks import COLOR_SIDE, FACTS, GREY_SIDE, NUMBERS, Album, Look, Looks, Stored


def look(number: int) -> Look:
    """A look whose parts all tell its number."""
    return Look(
        Stored("JPEG" if number % 2 else "PNG", "RGB", 90.0 + number if number % 2 else None, "Canon é", 1e9 + number),
        np.full(len(NUMBERS), number / 100, np.float32),
        np.full((GREY_SIDE, GREY_SIDE), number, np.uint8),
        np.full((COLOR_SIDE, COLOR_SIDE, 3), number, np.uint8),
    )


def gathered(count: int) -> Looks:
    album = Album(count)
    for number in range(count):
        album.put(number, look(number))
    return album.looks()


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that take more than 20 kB go to a file, and are copied two at a time."""
    monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 20_000)
    monkeypatch.setattr(module, "_PIECE", 2)


def test_a_packed_look_comes_back() -> None:
    for number in (0, 7):
        before = look(number)
        after = Look.unpack(*before.pack())
        assert after.stored == before.stored
        for one, other in zip(after[1:], before[1:], strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_an_album_is_filled_in_any_order_and_what_is_missing_stays_blank() -> None:
    album = Album(4)
    for number in (3, 1):
        album.put(number, look(number))
    found = album.looks()
    assert len(found) == 4
    assert list(found.facts.columns) == list(FACTS)
    assert found.facts.schema == FACTS
    assert found.facts["format"].to_list() == ["", "JPEG", "", "JPEG"]
    assert found.facts["camera"].to_list() == [None, "Canon é", None, "Canon é"]
    assert found.facts["brightness"].null_count() == 2
    assert found.column("brightness")[[1, 3]] == pytest.approx([0.01, 0.03])
    assert math.isnan(found.column("quality")[0])
    assert found.column("taken_s")[3] == 1e9 + 3
    assert found.grey[:, 0, 0].tolist() == [0, 1, 0, 3]


def test_an_empty_album_is_empty() -> None:
    found = Album(0).looks()
    assert len(found) == 0
    assert found.grey.shape == (0, 64, 64)
    assert len(found.take(np.array([], np.int64))) == 0
    assert len(found.spread(np.array([], np.int64), 3)) == 3


def test_take_keeps_the_order_asked_for_and_repeats() -> None:
    found = gathered(6).take(np.array([5, 0, 0, 2]))
    assert found.grey[:, 3, 3].tolist() == found.color[:, 2, 2, 1].tolist() == [5, 0, 0, 2]
    assert found.column("contrast") == pytest.approx([0.05, 0, 0, 0.02])
    assert found.facts["format"].to_list() == ["JPEG", "PNG", "PNG", "PNG"]


def test_spread_puts_looks_at_their_rows_among_blanks() -> None:
    some = gathered(3)
    found = some.spread(np.array([4, 0, 2]), 5)
    assert found.grey[:, 0, 0].tolist() == [1, 0, 2, 0, 0]
    assert found.facts["mode"].to_list() == ["RGB", "", "RGB", "", "RGB"]
    assert found.facts["brightness"].is_null().to_list() == [False, True, False, True, False]
    assert found.column("brightness")[[0, 2, 4]] == pytest.approx([0.01, 0.02, 0])
    assert found.facts.schema == FACTS
    assert some.spread(np.arange(3), 3) is some


def test_take_undoes_spread() -> None:
    some, rows = gathered(4), np.array([7, 1, 3, 6])
    back = some.spread(rows, 9).take(rows)
    assert back.facts.equals(some.facts)
    assert np.array_equal(back.grey, some.grey)
    assert np.array_equal(back.color, some.color)


def test_many_pictures_lie_in_a_file_without_a_name(on_disk: None, private_cache: Path) -> None:
    found = gathered(9)  # 36,864 bytes of grey, 6,912 of colour
    assert isinstance(found.grey, np.memmap)
    assert not isinstance(found.color, np.memmap)
    assert list((private_cache / "scan").iterdir()) == []
    assert found.grey[:, 9, 9].tolist() == list(range(9))
    rows = np.array([8, 6, 4, 2, 0, 1, 3])
    taken = found.take(rows)
    assert isinstance(taken.grey, np.memmap)
    assert taken.grey[:, 0, 0].tolist() == taken.color[:, 0, 0, 0].tolist() == rows.tolist()
    spread = taken.spread(rows, 12)
    assert spread.grey[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 0, 6, 0, 8, 0, 0, 0]
    assert list((private_cache / "scan").iterdir()) == []


def test_a_file_starts_black_like_memory(on_disk: None) -> None:
    album = Album(8)
    album.put(5, look(200))
    grey = album.looks().grey
    assert grey.sum(axis=(1, 2), dtype=np.int64).tolist() == [0] * 5 + [200 * 64 * 64] + [0] * 2


def test_parts_of_different_lengths_are_refused() -> None:
    some = gathered(3)
    with pytest.raises(ValueError, match="3 facts, 2 grey and 3 colour pictures"):
        Looks(some.facts, some.grey[:2], some.color)
