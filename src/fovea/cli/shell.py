"""The shell around the verbs: the application, its global options, and the one place where errors become exit codes.

Nothing here or at the top of a verb's file loads torch or matplotlib; a verb imports its workflow when it is called.

Exit codes: 0 done, 1 some files failed or the audit found an error, 2 an error that the user can put right,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from fovea import __version__
from fovea.cli.audit import audit
from fovea.cli.augment import augment
from fovea.cli.compare import compare
from fovea.cli.cost import cost
from fovea.cli.evaluate import evaluate
from fovea.cli.models import models
from fovea.cli.predict import predict
from fovea.cli.resume import resume
from fovea.cli.train import train
from fovea.core.errors import FoveaError, Interrupted

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

app = typer.Typer(
    name="fovea",
    help="From a folder of images to a model you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help looks finer and takes three times as long as all the rest of --help
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (audit, augment, train, resume, evaluate, predict, compare, models, cost):
    app.command()(verb)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"fovea {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
) -> None:
    """From a folder of images to a model you can trust."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    fovea ...
    0
    """
    arguments, debug = _take_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            app(arguments, prog_name="fovea")
        finally:
            sys.stdout.flush()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns the KeyboardInterrupt of a second Ctrl-C, or an early one, into this
            print("stopped at once; what was written so far is whole and stays", file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else 0
    except FoveaError as error:
        if debug:
            traceback.print_exc()
        stopped = isinstance(error, Interrupted)
        print(error.message if stopped else f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return INTERRUPTED if stopped else 2
    except BrokenPipeError:
        sys.stdout = None  # the reader (head, less) has left: nothing remains to flush
        return 1
    return 0


def _take_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Return the arguments without `--debug`, and whether it was there; what follows `--` is left alone."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [item for item in arguments[:end] if item != "--debug"]
    return options + arguments[end:], "--debug" in arguments[:end]
