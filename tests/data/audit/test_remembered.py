"""Groups of copies are found once for the same images, and anew whenever anything is different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fovea.core.files import cache_root
from fovea.data.audit import copies, remembered
from fovea.data.audit.remembered import remembered_copies

from .pictures import looks_at, scene, stored


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the searches that were really made."""
    sizes: list[int] = []
    real = copies.find_copies

    def find_copies(looks: Any, *given: Any, **options: Any) -> Any:
        sizes.append(len(looks))
        return real(looks, *given, **options)

    monkeypatch.setattr(copies, "find_copies", find_copies)
    return sizes


FILES = [stored(scene(0)), stored(scene(1)), stored(scene(0), quality=50)]


def near(files: list[bytes], digests: list[str | None], seed: int = 0) -> list[int]:
    looks, sides_px = looks_at(files)
    return remembered_copies(looks, digests, sides_px, seed=seed).near.tolist()


def test_the_same_images_are_compared_once(asked: list[int]) -> None:
    assert near(FILES, ["a", "b", "c"]) == near(FILES, ["a", "b", "c"]) == [0, -1, 0]
    assert asked == [3]


def test_other_images_another_order_and_another_seed_are_compared_anew(asked: list[int]) -> None:
    near(FILES, ["a", "b", "c"])
    assert near(FILES[:2], ["a", "b"]) == [-1, -1]
    assert near(FILES[::-1], ["c", "b", "a"]) == [0, -1, 0]
    near(FILES, ["a", "b", "c"], seed=1)
    assert asked == [3, 2, 3, 3]


def test_images_whose_digest_is_unknown_are_compared_every_time(asked: list[int]) -> None:
    for _ in range(2):
        assert near(FILES, ["a", None, "c"]) == [0, -1, 0]
    assert asked == [3, 3]
    assert not (cache_root() / "copies").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_broken_file_is_replaced(asked: list[int], content: bytes) -> None:
    near(FILES, ["a", "b", "c"])
    (kept,) = (cache_root() / "copies").iterdir()
    kept.write_bytes(content)
    assert near(FILES, ["a", "b", "c"]) == near(FILES, ["a", "b", "c"]) == [0, -1, 0]
    assert asked == [3, 3]


def test_a_cache_that_cannot_be_written_is_no_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "file"))
    assert near(FILES, ["a", "b", "c"]) == [0, -1, 0]


def test_only_the_newest_answers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_KEPT", 2)
    looks, sides_px = looks_at(FILES[:2])
    for number in range(4):
        remembered_copies(looks, ["a", f"{number}"], np.asarray(sides_px))
    assert len(list((cache_root() / "copies").iterdir())) == 2
