"""Numbers and names as people read them: per cent, durations, counts with the right noun, lists as in a sentence."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float | None, *, digits: int = 0) -> str:
    """Return a share as per cent, or a dash; in whole per cent, what is not all never reads 100, nor what is some 0.

    >>> percent(0.123), percent(0.999), percent(1.0), percent(0.7432, digits=1), percent(None)
    ('12 %', '99.9 %', '100 %', '74.3 %', '–')
    """
    if share is None:
        return "–"
    if digits == 0 and (0.995 <= share < 1 or 0 < share < 0.005):
        digits = 1
    return f"{100 * share:.{digits}f} %"


def percent_range(ends: Sequence[float] | None) -> str:
    """Return an interval of shares, or nothing.

    >>> percent_range([0.5, 0.75])
    '50.0 to 75.0 %'
    """
    return "" if not ends else f"{100 * ends[0]:.1f} to {percent(ends[1], digits=1)}"


def number(value: float | None, *, digits: int = 3) -> str:
    """Return a number with so many decimals, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun.

    >>> counted(1, "image"), counted(1200, "class", "classes")
    ('1 image', '1,200 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(42.4), duration(600), duration(3725)
    ('42 s', '10 min', '1 h 2 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def listed(names: Sequence[str], *, limit: int = 5) -> str:
    """Join names as in a sentence.

    >>> listed(["a", "b", "c"]), listed(list("abcdefg"), limit=3)
    ('a, b and c', 'a, b, c and 4 more')
    """
    shown = list(names[:limit])
    if more := len(names) - len(shown):
        return f"{', '.join(shown)} and {more:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)
