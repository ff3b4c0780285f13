"""The shell: quick help, errors as two lines and an exit code, tracebacks only on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fovea import __version__
from fovea.cli import main, shell
from fovea.core.errors import FoveaError, Interrupted


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    result = python(
        "import sys; from fovea.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'torchvision', 'timm', 'matplotlib', 'polars', 'numpy', 'sklearn', 'rich', 'PIL'};"
        "print('LOADED', sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    assert result.returncode == 0, result.stderr
    assert "LOADED []" in result.stdout
    for verb in ("audit", "augment", "train", "resume", "evaluate", "predict", "models", "cost"):
        assert f"\n  {verb} " in result.stdout
    assert "...\n" not in result.stdout.partition("Commands:")[2]  # no summary is cut short


def test_importing_fovea_loads_nothing_at_all() -> None:
    result = python("import sys; before = set(sys.modules); import fovea; print(set(sys.modules) - before)")
    loaded = result.stdout
    assert "'fovea'" in loaded
    assert "torch" not in loaded and "fovea.core" not in loaded


def test_rooms_are_there_without_being_imported_by_name() -> None:
    result = python("import fovea; print(fovea.doctor.watch.__name__); fovea.nothing")
    assert result.stdout == "watch\n" and "module 'fovea' has no attribute 'nothing'" in result.stderr


def test_the_script_and_the_module_answer_alike() -> None:
    results = [
        subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=120, check=True).stdout
        for command in ([Path(sys.executable).with_name("fovea")], [sys.executable, "-m", "fovea"])
    ]
    assert results == [f"fovea {__version__}\n"] * 2


def test_an_error_is_two_lines_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(tmp_path / "no such run ü")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"error: no run folder at {tmp_path / 'no such run ü'}",
        "hint: fovea train DATA --out RUN makes one",
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(
    place: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["resume", str(tmp_path / "missing")]
    arguments.insert(place, "--debug")
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and "error: no run folder" in err


def test_debug_after_two_dashes_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "--", "--debug"]) == 2
    assert capsys.readouterr().err.startswith("error: no run folder at --debug")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian"),
        (["train", "--bugdet", "3"], "--budget"),
        (["predict", "run"], "PATH"),
        (["predict", "run", "x.jpg", "--format", "xml"], "parquet"),
        (["predict", "run", "x.jpg", "--top-k", "0"], "--top-k"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def raising(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_an_error_without_a_hint_prints_no_empty_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "app", raising(FoveaError("it broke")))
    assert main([]) == 2
    assert capsys.readouterr().err == "error: it broke\n"


def test_a_training_stopped_by_the_user_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "app", raising(Interrupted("stopped by the user", hint="fovea resume run")))
    assert main([]) == 130
    assert capsys.readouterr().err == "stopped by the user\nhint: fovea resume run\n"


def test_a_fault_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "app", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main([])


def test_ctrl_c_ends_with_130_and_without_a_traceback() -> None:
    result = python(
        "import sys, fovea.core.run as run\n"
        "def interrupt(folder): raise KeyboardInterrupt\n"
        "run.Run.open = interrupt\n"
        "from fovea.cli import main\n"
        "sys.exit(main(['resume', 'run']))"
    )
    assert (result.returncode, result.stderr) == (130, "stopped at once; what was written so far is whole and stays\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m fovea train --help | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True)
    assert result.stderr == ""
    assert result.stdout.strip() in {"0", "1"}
