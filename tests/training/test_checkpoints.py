"""Checkpoints: what goes in comes out, damage is seen, a full disk loses nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from fovea.core.errors import FoveaError
from fovea.training.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint


def _state(value: float) -> dict[str, Any]:
    return {
        "module": {"w": torch.full((3, 2), value), "steps": torch.tensor(7)},
        "optimiser": {
            "state": {0: {"step": torch.tensor(2.0)}, 11: {"exp_avg": torch.ones(2)}},
            "groups": [{"lr": 0.1}],
        },
        "rows": [{"epoch": 1, "val_loss": ""}],
        "best": None,
        "bf16": torch.tensor([1.5], dtype=torch.bfloat16),
    }


def test_a_state_survives_with_its_types_and_integer_keys(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _state(1.25))
    loaded, damaged = load_checkpoint(tmp_path)
    assert damaged == []
    assert loaded is not None
    assert torch.equal(loaded["module"]["w"], torch.full((3, 2), 1.25))
    assert list(loaded["optimiser"]["state"]) == [0, 11]
    assert loaded["optimiser"]["groups"] == [{"lr": 0.1}]
    assert loaded["bf16"].dtype == torch.bfloat16
    assert loaded["best"] is None
    assert loaded["rows"] == [{"epoch": 1, "val_loss": ""}]


def test_only_the_newest_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    for value in range(5):
        save_checkpoint(tmp_path, _state(value))
    assert len(list(tmp_path.iterdir())) == 2
    loaded, _ = load_checkpoint(tmp_path)
    assert loaded is not None
    assert float(loaded["module"]["w"][0, 0]) == 4.0


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage"])
def test_a_damaged_newest_checkpoint_is_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, _state(1))
    newest = save_checkpoint(tmp_path, _state(2))
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[-3] ^= 1
    newest.write_bytes({"truncate": content[:-40], "empty": b"", "garbage": b"\xff" * 99}.get(damage, content))
    loaded, damaged = load_checkpoint(tmp_path)
    assert damaged == [newest]
    assert loaded is not None
    assert float(loaded["module"]["w"][0, 0]) == 1.0


def test_nothing_intact_is_none_and_a_missing_folder_too(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _state(1))
    path.write_bytes(b"x")
    assert load_checkpoint(tmp_path) == (None, [path])
    assert load_checkpoint(tmp_path / "nowhere") == (None, [])
    assert read_checkpoint(tmp_path / "nowhere" / "step-000001-00.safetensors") is None


def test_a_full_disk_is_said_plainly_and_the_last_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = save_checkpoint(tmp_path, _state(1))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FoveaError, match=r"no space left while writing .*step-000002"):
        save_checkpoint(tmp_path, _state(2))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [kept]
    loaded, _ = load_checkpoint(tmp_path)
    assert loaded is not None


def test_a_pickle_in_its_place_is_never_run(tmp_path: Path) -> None:
    import pickle

    class Canary:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    from fovea.core.files import digest

    content = pickle.dumps(Canary())
    path = tmp_path / f"step-000001-{digest(content)}.safetensors"
    path.write_bytes(content)
    assert load_checkpoint(tmp_path) == (None, [path])
    assert not (tmp_path / "ran").exists()
