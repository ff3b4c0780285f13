"""The command line: one file per verb, each a thin door to a function in `workflows`."""

from fovea.cli.shell import main as main
