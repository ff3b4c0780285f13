"""`python -m fovea`: the command line, for machines where the script is not on the path."""

from fovea.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
