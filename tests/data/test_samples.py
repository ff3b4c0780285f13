"""The digits folder: what is written is what scikit-learn has, all of it, and nothing is overwritten."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from fovea.core.errors import DataError
from fovea.data import samples


def test_every_digit_is_written_with_its_own_pixels(tmp_path: Path) -> None:
    folder = samples.write_digits(tmp_path / "mit Leerzeichen" / "Ziffern ü")
    digits = load_digits()
    files = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    assert Counter(path.parent.name for path in files) == Counter(str(target) for target in digits.target)
    for index in (0, 17, 1796):
        with Image.open(files[index]) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            np.testing.assert_array_equal(np.round(np.asarray(image) * (16 / 255)), digits.images[index])


def test_a_second_call_leaves_the_files_alone(tmp_path: Path) -> None:
    folder = samples.write_digits(tmp_path / "digits")
    before = (folder / "0" / "0000.png").stat().st_mtime_ns
    assert samples.write_digits(folder) == folder
    assert (folder / "0" / "0000.png").stat().st_mtime_ns == before


def test_another_folder_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match="already holds something else"):
        samples.write_digits(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["photo.jpg"]


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        samples.write_digits(tmp_path / "digits")
    assert not [path for path in tmp_path.iterdir() if "digits" in path.name]


def test_the_command_names_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert samples.main(["digits", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "expected a name and a folder"), (["digit", "x"], "did you mean 'digits'")],
)
def test_the_command_explains_a_wrong_call(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert samples.main(arguments) == 2
    assert message in capsys.readouterr().err
