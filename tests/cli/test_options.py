"""Durations as people write them."""

from __future__ import annotations

import pytest

from fovea.cli.options import parse_duration_s
from fovea.core.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("60s", 60),
        ("0.5", 0.5),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1H 2M 3S", 3723),
        (" 2m30 ", 150),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "ten", "-5m", "5x", "m", "30s1h", "1e3", "٣m", "1d"])
def test_anything_else_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a duration") as caught:
        parse_duration_s(text)
    assert "1h30m" in caught.value.hint
