"""`python -m fovea.doctor script.py`: the script's own behaviour and exit status, and what is written about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from torch import nn
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy  # bound by name

print("arguments", sys.argv[1:], __name__)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 8 - 1
labels = torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(60):
    part = torch.randint(0, 1500, (64,), generator=torch.Generator().manual_seed(step))
    optimizer.zero_grad()
    cross_entropy(model(images[part]), labels[part]).backward()
    optimizer.step()
print("done")
"""


def examined(folder: Path, *arguments: str, after: str = "") -> subprocess.CompletedProcess[str]:
    script = folder / "my training.py"
    script.write_text(SCRIPT + after, encoding="utf-8")
    command = [sys.executable, "-m", "fovea.doctor", *arguments[:-1], str(script), *arguments[-1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)


def test_the_fault_is_named_and_the_script_runs_as_it_would_alone(tmp_path: Path) -> None:
    done = examined(tmp_path, "--json", "answer.json", "--lr=3")
    assert done.returncode == 0
    assert done.stdout == "arguments ['--lr=3'] __main__\ndone\n"
    assert "doctor: 60 steps" in done.stderr
    told = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert told["healthy"] is False
    first = told["findings"][0]
    assert (first["code"], first["severity"]) == ("softmax-before-loss", "alarm")
    assert first["where"] == "my training.py:17"
    assert first["evidence"]["loss_floor"] == pytest.approx(1.4612, abs=1e-4)
    assert {"confidence", "message", "fix", "confirm", "chain"} <= set(first)


@pytest.mark.parametrize(
    ("after", "status", "said"),
    [
        ("sys.exit(7)", 7, ""),
        pytest.param("sys.exit('no luck')", 1, "no luck", marks=pytest.mark.slow),
        ("raise ValueError('broken data')", 1, "ValueError: broken data"),
        pytest.param("raise KeyboardInterrupt", 130, "", marks=pytest.mark.slow),
    ],
)
def test_the_exit_status_is_the_scripts_own(tmp_path: Path, after: str, status: int, said: str) -> None:
    done = examined(tmp_path, "--json", "answer.json", "x", after=after)
    assert done.returncode == status
    assert said in done.stderr
    told = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))
    assert told["findings"][0]["code"] == "softmax-before-loss"
    assert (told["error"] is not None) == ("ValueError" in said)


def test_steps_and_certainty_end_it_early(tmp_path: Path) -> None:
    done = examined(tmp_path, "--steps", "20", "x")
    assert done.returncode == 0
    assert "doctor: 20 steps" in done.stderr and "done" not in done.stdout
    done = examined(tmp_path, "--stop-when-sure", "x")
    assert "doctor: 8 steps" in done.stderr and "softmax-before-loss" in done.stderr


def test_a_missing_script_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fovea.doctor", "nothing.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no script nothing.py\nhint: ")


def test_a_module_of_a_package_is_run_with_its_arguments(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "training.py").write_text("from my_package import other\n" + SCRIPT, encoding="utf-8")
    (package / "other.py").write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "fovea.doctor", "--steps", "9", "-m", "my_package.training", "--lr", "3", "-v"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "arguments ['--lr', '3', '-v'] __main__\n"
    assert "doctor: 9 steps" in done.stderr and "my_package/training.py:18" in done.stderr


STUBBORN = """
import torch
from torch import nn
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(40):
    try:
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
    except Exception as error:  # as frameworks do that go on whatever happens
        print("caught", type(error).__name__)
print("done")
"""


def test_an_early_end_is_no_exception_that_frameworks_catch(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(STUBBORN, encoding="utf-8")
    command = [sys.executable, "-m", "fovea.doctor", "--steps", "5", "train.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
    assert "doctor: 5 steps" in done.stderr


SPAWNING = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

print("imported as", __name__, flush=True)


class Rows(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, row):
        return torch.full((4,), row / 64), row % 2


if __name__ == "__main__":
    loader = DataLoader(Rows(), batch_size=8, num_workers=1, multiprocessing_context="spawn")
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for values, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(values), labels).backward()
        optimizer.step()
"""


@pytest.mark.slow
def test_workers_that_import_the_script_anew_have_no_doctor_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SPAWNING, encoding="utf-8")
    command = [sys.executable, "-m", "fovea.doctor", "train.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "imported as __main__\nimported as __mp_main__\n"
    assert done.stderr.count("doctor: ") == 1 and "doctor: 8 steps" in done.stderr
