"""`python -m fovea.doctor script.py ARGS`: run a script, unchanged, and say what is wrong with its training."""

import sys

from fovea.doctor.script import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
