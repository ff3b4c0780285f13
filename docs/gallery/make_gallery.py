"""Write README.md: each broken script of this folder with what the doctor really says of it.

    .venv/bin/python docs/gallery/make_gallery.py [--python OTHER] [SCRIPT ...]

Without names, every script is run anew. A script whose packages are missing keeps the answer that it has; OTHER is a
Python that has them (fovea itself is taken from this checkout).
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "README.md"
ORDER = (
    "low_loss_half_right", "rounded_twice", "forum_post", "tutorial_loop", "notebook_cells", "timm_like_train",
    "trainer_class", "lightning_module", "fastai_learner", "sorted_folders", "raw_pixels",
)  # fmt: skip
HEAD = """# Eleven broken trainings, and what the doctor says

Scripts in the styles that people really write, each with one fault, on scikit-learn's digits: nothing is downloaded
and each runs within seconds. Below each stands the doctor's own answer, word for word:

```shell
python -m fovea.doctor docs/gallery/low_loss_half_right.py
```

`docs/gallery/make_gallery.py` runs them and writes this page; `tests/docs/test_gallery.py` holds what is named first.
"""


def answer(script: Path, python: str) -> str:
    """Return what the doctor says of a script, or nothing where that could not run."""
    paths = [str(HERE.parents[1] / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [python, "-W", "ignore", "-m", "fovea.doctor", script.name]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    begins = done.stderr.find("doctor: ")
    return "" if done.returncode or begins < 0 else re.sub(r" in [\d.]+ m?s$", "", done.stderr[begins:], flags=re.M)


def main() -> None:
    """Run the scripts and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help="names without .py")
    given = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    parts = [HEAD]
    for name in ORDER:
        script = HERE / f"{name}.py"
        question = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
        known = re.search(rf"\({name}\.py\)\n\n```text\n(.*?)```", before, re.DOTALL)
        told = answer(script, str(Path(given.python).absolute())) if not given.scripts or name in given.scripts else ""
        told = told or (known.group(1) if known else "(not run: its packages are not installed here)\n")
        parts.append(f"## {question}\n\n[{name}.py]({name}.py)\n\n```text\n{told.rstrip()}\n```\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
