"""Scanning: what is said of each file, what is remembered, and what may happen to the memory."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
from pathlib import Path

import pytest
from PIL import Image

from fovea.core.errors import Interrupted
from fovea.data import scanning
from fovea.data.scanning import scan as scan_with_looks

LIMIT = 1_000_000


def scan(*args, **options):
    """Scan and return the table alone."""
    return scan_with_looks(*args, **options)[0]


def image(path: Path, size: tuple[int, int] = (9, 6), *, age_s: float = 60, **options) -> str:
    """Write an image file that was last changed `age_s` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 50).convert("RGB").save(path, **options)
    return aged(path, age_s)


def aged(path: Path, age_s: float = 60) -> str:
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return str(path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every source that was decoded."""
    sources: list[object] = []
    real = scanning.see

    def see(source, *, max_pixels):
        sources.append(source)
        return real(source, max_pixels=max_pixels)

    monkeypatch.setattr(scanning, "see", see)
    return sources


def test_a_whole_image_gives_its_upright_size_and_the_digest_of_its_bytes(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: width and height change places
    path = image(tmp_path / "grüße 1.jpg", (40, 20), exif=exif)
    (row,) = scan([path], max_pixels=LIMIT).to_dicts()
    data = Path(path).read_bytes()
    assert row == {
        "width": 20,
        "height": 40,
        "bytes": len(data),
        "digest": hashlib.blake2b(data, digest_size=16).hexdigest(),
        "excluded": None,
    }


def test_every_kind_of_bad_file_has_its_reason(tmp_path: Path):
    whole = Path(image(tmp_path / "whole.jpg", (200, 200)))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("<html>404 not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    names = ["whole", "cut", "text", "folder", "pipe", "dangling", "gone"]
    paths = [str(tmp_path / f"{name}.jpg") for name in names] + [str(tmp_path / "empty.png")]
    found = scan(paths, max_pixels=40_000)
    reasons = dict(zip([*names, "empty"], found["excluded"], strict=True))
    assert reasons["whole"] is None
    assert reasons["cut"].startswith("is truncated")
    assert reasons["text"].startswith("is not an image")
    assert reasons["folder"] == "is a folder"
    assert reasons["pipe"] == "is not a regular file"
    assert reasons["dangling"] == reasons["gone"] == "is missing"
    assert reasons["empty"] == "is empty (0 bytes)"
    assert scan(paths[:1], max_pixels=39_999)["excluded"][0].startswith("has 200 x 200 = 40,000 pixels, more than")


def test_permission_denied_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = image(tmp_path / "secret.png")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)  # the tests may run as root, whom nothing is denied
    assert scan([path], max_pixels=LIMIT)["excluded"][0] == "cannot be read: permission denied"


def test_a_large_file_is_hashed_without_being_held_in_memory(tmp_path: Path, monkeypatch, opened):
    path = image(tmp_path / "a.png")
    monkeypatch.setattr(scanning, "_IN_MEMORY_BYTES", 10)
    row = scan([path], max_pixels=LIMIT).to_dicts()[0]
    assert opened == [path]
    assert row["digest"] == hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    Path(path).write_bytes(Path(path).read_bytes()[:-30])
    assert scan([path], max_pixels=LIMIT)["excluded"][0].startswith("is truncated")


def test_the_second_scan_opens_only_what_changed(tmp_path: Path, opened):
    paths = [image(tmp_path / f"{index}.png") for index in range(5)]
    paths.append(str(tmp_path / "bad.png"))
    Path(paths[5]).write_bytes(b"no image")
    aged(Path(paths[5]))
    first = scan(paths, max_pixels=LIMIT)
    assert len(opened) == 6
    assert scan(paths, max_pixels=LIMIT).equals(first)
    assert len(opened) == 6
    image(Path(paths[2]), (30, 30), age_s=30)
    again = scan(paths, max_pixels=LIMIT)
    assert len(opened) == 7
    assert again["width"].to_list()[:5] == [9, 9, 30, 9, 9]
    assert scan(paths[:1], max_pixels=1)["excluded"][0].startswith("has 9 x 6")  # another limit, another answer


def test_a_file_that_may_still_change_within_its_clock_tick_is_not_remembered(tmp_path: Path, opened):
    path = image(tmp_path / "fresh.png", age_s=0)
    scan([path], max_pixels=LIMIT)
    scan([path], max_pixels=LIMIT)
    assert len(opened) == 2


def test_a_passing_shortage_of_memory_is_not_remembered(tmp_path: Path, monkeypatch):
    path = image(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", lambda self: (_ for _ in ()).throw(MemoryError()))
        patch.setattr("PIL.ImageFile.ImageFile.load", lambda self: (_ for _ in ()).throw(MemoryError()))
        assert "memory" in scan([path], max_pixels=LIMIT)["excluded"][0]
    assert scan([path], max_pixels=LIMIT)["excluded"][0] is None


@pytest.mark.parametrize("damage", [b"not a database", b"SQLite format 3\0" + bytes(200)])
def test_a_damaged_memory_is_begun_anew(tmp_path: Path, private_cache: Path, damage: bytes, opened):
    paths = [image(tmp_path / f"{index}.png") for index in range(3)]
    database = private_cache / "scan" / "files.sqlite"
    database.parent.mkdir(parents=True)
    database.write_bytes(damage)
    for _ in range(3):
        assert scan(paths, max_pixels=LIMIT)["excluded"].null_count() == 3
    assert len(opened) == 6  # the third scan remembers again


def test_a_scan_goes_on_while_another_process_holds_the_memory(tmp_path: Path, private_cache: Path, monkeypatch):
    monkeypatch.setattr(scanning, "_BUSY_S", 0.05)
    path = image(tmp_path / "a.png")
    scan([image(tmp_path / "b.png")], max_pixels=LIMIT)
    other = sqlite3.connect(private_cache / "scan" / "files.sqlite")
    other.execute("BEGIN EXCLUSIVE")
    assert scan([path], max_pixels=LIMIT)["width"].to_list() == [9]
    other.close()
    assert (private_cache / "scan" / "files.sqlite").exists()


def test_a_scan_goes_on_without_a_place_for_the_memory(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "file"))
    assert scan([image(tmp_path / "a.png")], max_pixels=LIMIT)["width"].to_list() == [9]


def test_an_interrupted_scan_keeps_what_it_had(tmp_path: Path, monkeypatch, opened):
    monkeypatch.setattr(scanning, "_BATCH", 4)
    paths = [image(tmp_path / f"{index}.png") for index in range(12)]

    def interrupt(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(paths, max_pixels=LIMIT, progress=interrupt)
    opened.clear()
    scan(paths, max_pixels=LIMIT)
    assert len(opened) == 3


def test_a_scan_that_is_stopped_says_how_many_files_it_remembers(tmp_path: Path, monkeypatch, opened):
    monkeypatch.setattr(scanning, "_BATCH", 4)
    paths = [image(tmp_path / f"{index}.png") for index in range(12)]

    def stop(done: int, total: int) -> None:
        if done == 6:
            raise Interrupted("stopped by the user")

    with pytest.raises(Interrupted, match="stopped by the user; 6 of 12 files are remembered"):
        scan(paths, max_pixels=LIMIT, progress=stop)
    opened.clear()
    with pytest.raises(Interrupted, match="; 8 of 12 files are remembered"):  # 4 known, then 2 and the 2 that follow
        scan(paths, max_pixels=LIMIT, progress=lambda done, total: stop(done - 2, total))
    assert len(opened) == 2
    monkeypatch.setenv("FOVEA_CACHE", str(tmp_path / "0.png"))
    with pytest.raises(Interrupted, match="; 0 of 12 files are remembered"):
        scan(paths, max_pixels=LIMIT, progress=stop)


def test_progress_ends_at_the_total(tmp_path: Path):
    paths = [image(tmp_path / f"{index}.png") for index in range(3)]
    calls: list[tuple[int, int]] = []
    scan(paths, max_pixels=LIMIT, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    calls.clear()
    scan([*paths, str(tmp_path / "gone.png")], max_pixels=LIMIT, progress=lambda *call: calls.append(call))
    assert calls == [(4, 4)]
    assert scan([], max_pixels=LIMIT).height == 0


def test_hostile_bytes_never_raise(tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    whole = buffer.getvalue()
    paths = []
    for index in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[index] ^= 0xFF
        (tmp_path / f"{index}.png").write_bytes(damaged)
        paths.append(str(tmp_path / f"{index}.png"))
    found = scan(paths, max_pixels=LIMIT)
    assert found.height == len(paths)
    assert 0 < found["excluded"].null_count() < len(paths)
