"""The cache gives the same pixels as decoding, whatever happens to it; and nothing that happens to it is fatal."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fovea.core.errors import DataError
from fovea.core.files import digest
from fovea.data.decoding import decode, probe
from fovea.data.pixelcache import Photo, PixelCache, WholeImage
from fovea.data.preprocess import Preprocess

SQUARE = Preprocess(input_size=24, interpolation="bilinear")
WHOLE = WholeImage(32)


def make_photos(folder: Path, count: int = 8, *, first: int = 0) -> list[Photo]:
    """Write smooth JPEGs and PNGs of differing sizes, under names with spaces and accents."""
    folder.mkdir(exist_ok=True)
    photos = []
    for number in range(first, first + count):
        y, x = np.mgrid[: 50 + 9 * number, : 90 - 3 * number]
        pixels = (127 + 100 * np.stack([np.sin(x / 9 + number), np.cos(y / 7), np.sin((x + y) / 11)], -1)).astype(
            np.uint8
        )
        path = folder / f"phöto {number}.{'png' if number % 3 == 0 else 'jpg'}"
        Image.fromarray(pixels).save(path)
        found = probe(path)
        photos.append(Photo(path, digest(path.read_bytes()), found.width, found.height))
    return photos


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    return make_photos(tmp_path / "phötos of ours")


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record the path of every image that is decoded from here on."""
    seen: list[Path] = []
    original = PixelCache._decoded

    def counted(self: PixelCache, photo: Photo) -> np.ndarray:
        seen.append(photo.path)
        return original(self, photo)

    monkeypatch.setattr(PixelCache, "_decoded", counted)
    return seen


def files_of(cache_folder: Path) -> tuple[Path, Path]:
    (folder,) = (cache_folder / "pixels").iterdir()
    return folder / "pixels.u8", folder / "marks.u32"


def assert_same(cache: Sequence[np.ndarray], photos: list[Photo]) -> None:
    for pixels, photo in zip(cache, photos, strict=True):
        np.testing.assert_array_equal(pixels, SQUARE.read(photo.path))


def test_evaluation_pixels_are_exactly_those_of_the_preprocessing(photos, monkeypatch) -> None:
    first = PixelCache.open(photos, geometry=SQUARE)
    assert first.fill(workers=2) == {}
    seen = count_decodes(monkeypatch)
    for cache in (first, PixelCache.open(photos, geometry=SQUARE)):
        assert_same(cache, photos)
        with ThreadPoolExecutor(2) as pool:
            batch = cache.batch([3, 0, 3], pool=pool)
        np.testing.assert_array_equal(batch, np.stack([cache[3], cache[0], cache[3]]))
        assert cache.notes == []
    assert seen == []


def test_whole_images_keep_their_aspect_and_are_never_enlarged(photos) -> None:
    cache = PixelCache.open(photos, geometry=WHOLE)
    for pixels, photo in zip(cache, photos, strict=True):
        assert min(pixels.shape[:2]) == 32
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(photo.width / photo.height, rel=0.03)
        full = Image.fromarray(decode(photo.path)).resize(pixels.shape[1::-1], Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(full).astype(int) - pixels).mean()
        assert difference < 8 if photo.path.suffix == ".jpg" else difference == 0  # steep waves, decoded at 1/2
    large = PixelCache.open(photos, geometry=WholeImage(5000))
    np.testing.assert_array_equal(large[2], decode(photos[2].path))
    with pytest.raises(ValueError, match="differ in size; use take"):
        cache.batch([0])


def test_big_jpegs_are_decoded_at_reduced_scale_and_turned_upright(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "big.jpg"
    Image.linear_gradient("L").resize((643, 391)).convert("RGB").save(path, exif=exif)
    cache = PixelCache.open([Photo(path, "d", 391, 643)], geometry=WholeImage(97))
    assert cache[0].shape == (round(643 * 97 / 391), 97, 3)


def test_rows_come_lazily_in_any_order_and_only_once(photos, monkeypatch) -> None:
    cache = PixelCache.open(photos, geometry=WHOLE)
    seen = count_decodes(monkeypatch)
    taken = cache.take(np.array([5, 2, 5]))
    assert seen == []
    assert [pixels.shape for pixels in taken] == [cache[5].shape, cache[2].shape, cache[5].shape]
    assert seen == [photos[5].path, photos[2].path]
    again = PixelCache.open(photos, geometry=WHOLE)
    assert again.fill() == {}
    assert sorted(seen) == sorted(photo.path for photo in photos)


def test_order_paths_and_doubles_do_not_matter(photos, tmp_path, private_cache, monkeypatch) -> None:
    PixelCache.open(photos, geometry=SQUARE).fill()
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos[0].path.parent, moved)
    shuffled = [Photo(moved / p.path.name, p.digest, p.width, p.height) for p in [*photos[::-1], photos[0]]]
    seen = count_decodes(monkeypatch)
    assert_same(PixelCache.open(shuffled, geometry=SQUARE), shuffled)
    assert seen == []
    PixelCache.open(photos, geometry=Preprocess(input_size=20))
    PixelCache.open(photos[:-1], geometry=SQUARE)
    assert len(list((private_cache / "pixels").iterdir())) == 3


def test_progress_counts_up_and_failures_are_named(photos) -> None:
    photos[3].path.write_bytes(photos[3].path.read_bytes()[:300])
    photos[5].path.unlink()
    calls: list[tuple[int, int]] = []
    cache = PixelCache.open(photos, geometry=SQUARE)
    failures = cache.fill(workers=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 8) for number in range(1, 9)]
    assert list(failures) == [3, 5]
    assert "phöto 3.png is truncated or damaged" in failures[3].message
    assert "no such file" in failures[5].message
    with pytest.raises(DataError, match="no such file"):
        cache[5]


def test_a_file_that_changed_is_not_taken_for_the_old_one(photos) -> None:
    Image.new("RGB", (77, 33)).save(photos[1].path)
    cache = PixelCache.open(photos, geometry=WHOLE)
    with pytest.raises(DataError, match=r"phöto 1\.jpg decodes to 77 x 33 pixels, expected 87 x 59: it has changed"):
        cache[1]


@pytest.mark.parametrize(
    "damage", ["flip a byte", "zero the pixels", "cut pixels", "cut marks", "no marks", "junk marks"]
)
def test_damage_is_noticed_and_repaired(damage: str, photos, private_cache) -> None:
    PixelCache.open(photos, geometry=SQUARE).fill()
    pixels, marks = files_of(private_cache)
    content = bytearray(pixels.read_bytes())
    if damage == "flip a byte":
        content[2000] ^= 1
        pixels.write_bytes(content)
    elif damage == "zero the pixels":  # what a power cut leaves of pages that never reached the disk
        pixels.write_bytes(bytes(len(content)))
    elif damage == "cut pixels":
        pixels.write_bytes(content[:-1])
    elif damage == "cut marks":
        marks.write_bytes(marks.read_bytes()[:-4])
    elif damage == "no marks":
        marks.unlink()
    else:
        marks.write_bytes(os.urandom(4 * len(photos)))
    for _ in range(2):
        cache = PixelCache.open(photos, geometry=SQUARE)
        assert_same(cache, photos)
    assert pixels.stat().st_size == len(content)
    assert cache.notes == []


def test_a_full_disk_ends_the_cache_not_the_training(photos, monkeypatch) -> None:
    calls = []

    def full(*_: object) -> int:
        calls.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    cache = PixelCache.open(photos, geometry=SQUARE)
    monkeypatch.setattr(os, "pwrite", full)
    assert cache.fill(workers=1) == {}
    assert_same(cache, photos)
    assert len(calls) == 1
    (note,) = cache.notes
    assert note.severity == "note"
    assert "No space left on device" in note.message
    assert "FOVEA_CACHE" in note.fix


def test_a_disk_that_takes_rows_in_pieces(photos, monkeypatch) -> None:
    original = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda handle, content, offset: original(handle, content[:100], offset))
        PixelCache.open(photos, geometry=SQUARE).fill(workers=1)
    seen = count_decodes(monkeypatch)
    assert_same(PixelCache.open(photos, geometry=SQUARE), photos)
    assert seen == []


def test_a_folder_that_cannot_be_written(photos, private_cache) -> None:
    private_cache.parent.mkdir(exist_ok=True)
    private_cache.write_text("a file where the cache should be")
    cache = PixelCache.open(photos, geometry=SQUARE)
    assert_same(cache, photos)
    assert "cannot be used" in cache.notes[0].message


def test_half_of_the_free_disk_is_the_most(photos, monkeypatch) -> None:
    usage = shutil.disk_usage("/")
    need = len(photos) * (24 * 24 * 3 + 4)
    for free, notes in [(2 * need - 2, 1), (2 * need, 0)]:
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        cache = PixelCache.open(photos, geometry=SQUARE)
        assert len(cache.notes) == notes
        assert_same(cache, photos)


def test_the_limit_of_all_caches(photos, tmp_path, private_cache, monkeypatch) -> None:
    one = len(photos) * (24 * 24 * 3 + 4)
    monkeypatch.setenv("FOVEA_CACHE_GB", str((one - 1) / 1e9))
    assert "the caches may take" in PixelCache.open(photos, geometry=SQUARE).notes[0].message
    monkeypatch.setenv("FOVEA_CACHE_GB", "lots")
    assert "FOVEA_CACHE_GB is 'lots'" in PixelCache.open(photos, geometry=SQUARE).notes[0].message

    monkeypatch.setenv("FOVEA_CACHE_GB", str(2.5 * one / 1e9))
    sets = [make_photos(tmp_path / f"set {number}", first=8 * number) for number in range(3)]
    for number in (0, 1):
        PixelCache.open(sets[number], geometry=SQUARE).fill()
        time.sleep(0.02)
    seen = count_decodes(monkeypatch)
    open_still = PixelCache.open(sets[1], geometry=SQUARE)
    time.sleep(0.02)
    PixelCache.open(sets[0], geometry=SQUARE)  # used again: now set 1 is the one used least recently
    PixelCache.open(sets[2], geometry=SQUARE).fill()
    assert len(list((private_cache / "pixels").iterdir())) == 2
    seen.clear()
    assert_same(PixelCache.open(sets[0], geometry=SQUARE), sets[0])
    assert_same(open_still, sets[1])  # evicted under its user's feet, and none the worse
    assert seen == []


def test_switched_off_writes_nothing(photos, private_cache) -> None:
    cache = PixelCache.open(photos, geometry=SQUARE, enabled=False)
    assert_same(cache, photos)
    assert cache.fill() == {}
    assert not private_cache.exists()
    assert cache.notes == []
    assert len(PixelCache.open([], geometry=SQUARE)) == 0


FILLER = """
import sys, pickle
from fovea.data.pixelcache import PixelCache
photos, geometry = pickle.loads(open(sys.argv[1], "rb").read())
cache = PixelCache.open(photos, geometry=geometry)
cache.fill(workers=2, progress=lambda done, total: print(done, flush=True))
"""


def start_filler(folder: Path, photos: list[Photo]) -> subprocess.Popen[str]:
    import pickle

    (folder / "job").write_bytes(pickle.dumps((photos, SQUARE)))
    command = [sys.executable, "-c", FILLER, str(folder / "job")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})


def test_kill_at_any_moment(tmp_path, private_cache) -> None:
    photos = make_photos(tmp_path / "many", 12)
    for rows_first in (0, 1, 4, 9):
        shutil.rmtree(private_cache, ignore_errors=True)
        filler = start_filler(tmp_path, photos)
        assert filler.stdout is not None
        for _ in range(rows_first):
            filler.stdout.readline()
        filler.send_signal(signal.SIGKILL)
        filler.wait()
        filler.stdout.close()
        assert_same(PixelCache.open(photos, geometry=SQUARE), photos)


def test_two_processes_share_one_cache(tmp_path, private_cache, monkeypatch) -> None:
    photos = make_photos(tmp_path / "many", 12)
    fillers = [start_filler(tmp_path, photos) for _ in range(2)]
    for filler in fillers:
        assert filler.wait(60) == 0
        assert filler.stdout is not None
        filler.stdout.close()
    assert len(list((private_cache / "pixels").iterdir())) == 1
    seen = count_decodes(monkeypatch)
    assert_same(PixelCache.open(photos, geometry=SQUARE), photos)
    assert seen == []


def test_many_threads_at_once(photos) -> None:
    cache = PixelCache.open(photos, geometry=SQUARE)
    order = np.random.default_rng(0).integers(0, len(photos), 400)
    expected = [SQUARE.read(photo.path) for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        for index, pixels in zip(order, pool.map(cache.__getitem__, order.tolist()), strict=True):
            np.testing.assert_array_equal(pixels, expected[index])


def test_it_lets_go_of_its_files(photos) -> None:
    def open_files() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(5):
        PixelCache.open(photos, geometry=SQUARE).fill(workers=1)
    assert open_files() <= before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_over_epochs(tmp_path) -> None:
    """Five epochs over 60 MB of pixels: what the process itself holds grows by less than 8 MB after the first."""
    from fovea.data.augment import Augment

    path = tmp_path / "one.png"
    Image.linear_gradient("L").resize((320, 320)).convert("RGB").save(path)
    photos = [Photo(path, f"digest {number}", 320, 320) for number in range(200)]
    cache = PixelCache.open(photos, geometry=WholeImage(320))
    cache.fill(workers=2)

    def resident_mb(kind: str) -> float:
        gc.collect()
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(kind)) / 1024

    memory = []
    with ThreadPoolExecutor(2) as pool:
        for epoch in range(5):
            for start in range(0, 200, 20):
                rows = range(start, start + 20)
                Augment().sample(cache.take(rows), size=64, seed=0, keys=[epoch * 200 + row for row in rows], pool=pool)
            memory.append((resident_mb("RssAnon"), resident_mb("VmRSS")))
    assert memory[4][0] - memory[0][0] < 8
    assert memory[4][1] - memory[0][1] < 16  # this one counts the mapped file too


def test_real_photos(shared, monkeypatch) -> None:
    paths = sorted((shared / "data/grocery/train").rglob("*.jpg"))[::500]
    photos = [Photo(path, digest(path.read_bytes()), probe(path).width, probe(path).height) for path in paths]
    spec = Preprocess(input_size=96)
    PixelCache.open(photos, geometry=spec).fill()
    seen = count_decodes(monkeypatch)
    for pixels, photo in zip(PixelCache.open(photos, geometry=spec), photos, strict=True):
        np.testing.assert_array_equal(pixels, spec.read(photo.path))
    assert seen == []
