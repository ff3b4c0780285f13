"""Running somebody's unchanged training script under observation, as `python -m cProfile` would.

The exit status is the script's own. Files are written, and the summary is printed to the error stream, however the
script ends: by its last line, sys.exit, an exception or Ctrl-C.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fovea.core.errors import FoveaError
from fovea.core.files import write_text

if TYPE_CHECKING:
    from fovea.doctor.watching import Doctor


class _Enough(BaseException):
    """Ends the script from within: enough was seen. Not an Exception, so that scripts do not catch it."""


def main(arguments: Sequence[str], *, doctor: Doctor | None = None) -> int:
    """Run a script under observation and return its exit status.

    Args:
        arguments: options, the script, and its own arguments.
        doctor: who watches, so that the record can be looked at afterwards; a new one when None.
    """
    given, rest = _parse(arguments)
    script = Path(given.script)
    if not given.module and not script.is_file():
        print(
            f"error: there is no script {script}\nhint: python -m fovea.doctor [OPTIONS] script.py ARGS",
            file=sys.stderr,
        )
        return 2
    from fovea.doctor.watching import Doctor

    doctor = doctor or Doctor()
    if given.steps:
        doctor.limit(given.steps, _Enough)
    if given.stop_when_sure:
        doctor.stop_when_sure(_Enough)
    sys.argv = [given.script, *rest]
    if given.module:
        sys.path.insert(0, str(Path.cwd()))
    else:
        sys.path[0] = str(script.resolve().parent)
    status = 0
    doctor.start()
    try:
        if given.module:
            runpy.run_module(given.script, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(str(script), run_name="__main__")
    except _Enough:
        doctor.record.cut_short = True
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if status == 1 and isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except KeyboardInterrupt:
        doctor.record.cut_short, status = True, 130
    except Exception as error:
        traceback.print_exc()
        doctor.record.error = f"{type(error).__name__}: {error}"
        status = 1
    finally:
        doctor.stop()
    sys.stdout.flush()
    print(doctor.text(), file=sys.stderr)
    try:
        if given.json:
            write_text(given.json, doctor.to_json() + "\n")
        if given.html:
            doctor.write_html(given.html, title=f"What the doctor saw of {script.name}")
    except (FoveaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status or 2
    return status


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m fovea.doctor", description=__doc__)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the findings as JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the findings and pictures as one page")
    parser.add_argument("--steps", metavar="N", type=int, help="end the script after N steps of its optimiser")
    parser.add_argument("--stop-when-sure", action="store_true", help="end the script once a fault is certain")
    parser.add_argument("-m", dest="module", action="store_true", help="the script is the name of a module")
    parser.add_argument("script", help="the script (or module, with -m), followed by its own arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(list(arguments))
    return given, given.arguments
