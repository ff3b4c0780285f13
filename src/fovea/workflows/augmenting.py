"""`fovea augment`: random variants of the training images, written to files, with labels and boxes carried along.

Training augments anew in every epoch and needs none of this; files are for other tools, or to look at. The images of
DATA are read and never changed; OUT gets each training image unchanged and its variants, and the other images
unchanged. What is done is a pure function of DATA, the settings and the seed, and each file appears whole or not at
all, so a second call after a kill finishes what the first began.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from fovea.core.cores import usable_cores
from fovea.core.errors import DataError, FoveaError, Interrupted, RecipeError
from fovea.core.files import digest, plain, write_json, write_text
from fovea.core.progress import Progress, Silent
from fovea.core.recipe import Recipe
from fovea.data.augment import Augment
from fovea.data.augment.copies import Copy, copies_of_manifest, copies_of_voc
from fovea.data.augment.writing import Task, write_copies
from fovea.data.boxes import IMAGES, LISTS, VocFolder, find_voc, listed_name, read_voc
from fovea.data.reading import read
from fovea.workflows.machine import stop_on_signal

MARK, LABELS = "augment.json", "labels.csv"
MOST = 1000  # variants of an image: far below the number of looks that have a key of their own
_LEFT_BY_A_KILL = re.compile(r"\..+\.[0-9a-f]{12}\.part")  # a temporary file of core.files


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """What `augment` left in its folder.

    Args:
        folder: the output.
        labels: the table to train on; None for data with boxes.
        originals: training images, copied unchanged.
        variants: random variants of them.
        copied: other images, copied unchanged.
        written: image files that this call wrote; the rest was there.
        left_out: (path relative to the data, reason) of images that are not in the output.
    """

    folder: Path
    labels: Path | None
    originals: int
    variants: int
    copied: int
    written: int
    left_out: tuple[tuple[str, str], ...]


def augment(
    data: Path | str,
    *,
    out: Path | str,
    factor: int = 5,
    recipe: Recipe | None = None,
    size: int | None = None,
    min_visible: float = 0.3,
    console: Progress | None = None,
) -> Augmented:
    """Write every training image of `data` `factor` times: once unchanged, and as `factor` - 1 random variants.

    Class folders keep their layout, and `labels.csv` (path, label, split, group) lists everything; the variants of an
    image share its group, so that no later split parts them. A folder in PASCAL VOC's layout becomes one again, its
    boxes moved along with the pixels. Validation and test images are copied unchanged; without a split, all images
    are training images.

    Args:
        data: a folder, table or list file (see `fovea.read`), or a folder in VOC's layout.
        out: a new or empty folder, or the unfinished output of an earlier call with the same settings.
        factor: files per training image, 2 or more.
        recipe: its `data` part and its seed say what happens; the defaults when None.
        size: shorter side of the variants in pixels; images are not enlarged. Their own size when None.
        min_visible: with boxes: an object with less of its area in sight is left out of the annotation.
        console: shown to the user.

    Raises:
        RecipeError: a setting is wrong, or nothing is switched on.
        DataError: `data` cannot be read or has no training images; `out` holds something else.
        Interrupted: the user stopped it; the same call goes on.
    """
    recipe, progress = recipe or Recipe(), console or Silent()
    data, out = Path(data).expanduser(), Path(out).expanduser()
    _check(factor=factor, size=size, min_visible=min_visible)
    _check_apart(data, out)
    voc_root = find_voc(data)
    task = Task(
        out=out,
        augment=_changes(recipe, boxes=voc_root is not None),
        seed=recipe.seed,
        size=size,
        min_visible=min_visible,
        max_pixels=recipe.data.max_pixels,
    )
    voc = read_voc(voc_root) if voc_root else None
    copies, left_out = copies_of_voc(voc, factor) if voc else _copies_of_classes(data, recipe, factor, progress)
    if not any(copy.variants for copy in copies):
        raise DataError(f"{data} has no training images", hint="only images outside val and test are augmented")
    _claim(task, data, factor, copies)
    written, failed = _write_all(task, copies, progress)
    kept = [copy for copy in copies if copy.source not in failed]
    if voc:
        _write_lists(out, voc, kept)
    else:
        _write_labels(out, kept)
    base = (voc.root / IMAGES) if voc else data if data.is_dir() else data.parent
    left_out += [(_relative(source, base), reason) for source, reason in failed.items()]
    write_json(out / MARK, json.loads((out / MARK).read_text(encoding="utf-8")) | {"complete": True})
    return Augmented(
        folder=out,
        labels=None if voc else out / LABELS,
        originals=sum(bool(copy.variants) for copy in kept),
        variants=sum(len(copy.variants) for copy in kept),
        copied=sum(not copy.variants for copy in kept),
        written=written,
        left_out=tuple(left_out),
    )


def _check(*, factor: int, size: int | None, min_visible: float) -> None:
    if not 2 <= factor <= MOST:
        raise RecipeError(
            f"factor is {factor}; expected 2 to {MOST:,}", hint="5 writes each image and 4 variants of it"
        )
    if size is not None and size < 8:
        raise RecipeError(f"size is {size}; expected at least 8 pixels", hint="leave it out to keep the images' own")
    if not 0 <= min_visible <= 1:
        raise RecipeError(f"min_visible is {min_visible}; expected a share, 0 to 1", hint="0.3 is the default")


def _check_apart(data: Path, out: Path) -> None:
    source, target = (data if data.is_dir() else data.parent).resolve(), out.resolve()
    if target == source or (data.is_dir() and source in target.parents):
        raise DataError(f"{out} lies inside {data}, which must stay as it is", hint="choose a folder beside it")


def _changes(recipe: Recipe, *, boxes: bool) -> Augment:
    """Return what may happen to an image; with boxes nothing is mirrored in at the rim, as it would have none."""
    augment = Augment.from_recipe(recipe.data, interpolation="bicubic", border="mean" if boxes else "reflect")
    if not recipe.data.augment or not augment.changes:
        raise RecipeError(
            "all changes are switched off, so every variant would be its original", hint="set data.rotate"
        )
    return augment


def _copies_of_classes(
    data: Path, recipe: Recipe, factor: int, progress: Progress
) -> tuple[list[Copy], list[tuple[str, str]]]:
    manifest = read(
        data,
        label_column=recipe.data.label_column,
        classes=recipe.data.classes,
        max_pixels=recipe.data.max_pixels,
        progress=lambda done, total: progress.advance("reading images", done, total),
    )
    return copies_of_manifest(manifest, factor)


def _claim(task: Task, data: Path, factor: int, copies: list[Copy]) -> None:
    """Write down what the output is of; refuse a folder that is something else; remove what a kill left half done."""
    asked = {
        "data": str(data.resolve()),
        "images": digest(*(repr(asdict(copy) | {"source": copy.name}) for copy in copies)),
        "factor": factor,
        "seed": task.seed,
        "size": task.size,
        "min_visible": task.min_visible,
        **plain(asdict(task.augment)),
    }
    mark = task.out / MARK
    if mark.is_file():
        differing = _differing(mark, asked)
        if differing:
            raise DataError(
                f"{task.out} was made with other settings: {'; '.join(differing)}",
                hint="choose another --out, or empty it",
            )
        for path in task.out.rglob(".*.part"):
            if _LEFT_BY_A_KILL.fullmatch(path.name):
                path.unlink(missing_ok=True)
    elif task.out.exists() and (not task.out.is_dir() or any(task.out.iterdir())):
        raise DataError(f"{task.out} already holds something else", hint="give an empty or a new folder")
    try:
        task.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FoveaError(f"cannot make {task.out}: {error.strerror or error}", hint="choose another --out") from error
    write_json(mark, {"made_by": "fovea augment", **asked, "complete": False})


def _differing(mark: Path, asked: dict[str, Any]) -> list[str]:
    """Say which settings an earlier call had otherwise: `factor 5, now 3`."""
    try:
        before = json.loads(mark.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        before = None
    if not isinstance(before, dict) or before.get("made_by") != "fovea augment":
        raise DataError(f"{mark} is not fovea's", hint="give an empty or a new folder")
    names = [name for name, value in asked.items() if before.get(name) != value]
    return [
        "the images or their labels have changed"
        if name == "images"
        else f"{name} {before.get(name)}, now {asked[name]}"
        for name in names
    ]


def _write_all(task: Task, copies: list[Copy], progress: Progress) -> tuple[int, dict[Path, str]]:
    """Write what is missing, with all cores; return the number of image files written and the sources that failed."""
    written, failed = 0, {}
    with stop_on_signal(progress) as stop, ThreadPoolExecutor(usable_cores(), thread_name_prefix="augment") as pool:
        try:
            for number, (copy, result) in enumerate(_ahead(pool, partial(write_copies, task), copies), start=1):
                if isinstance(result, DataError):
                    failed[copy.source] = _reason(result, copy.source)
                else:
                    written += result
                progress.advance("augmenting", number, len(copies))
                if stop():
                    raise Interrupted("stopped by the user", hint="the same command goes on from here")
        finally:
            pool.shutdown(cancel_futures=True)
    return written, failed


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Copy], int | DataError], copies: list[Copy]
) -> Iterator[tuple[Copy, int | DataError]]:
    """Yield (copy, result) in order, with a few under way at any time."""
    pending: deque[tuple[Copy, Future[int | DataError]]] = deque()
    for copy in copies:
        pending.append((copy, pool.submit(work, copy)))
        if len(pending) > 4 * usable_cores():
            first, future = pending.popleft()
            yield first, future.result()
    for copy, future in pending:
        yield copy, future.result()


def _write_labels(out: Path, copies: list[Copy]) -> None:
    """Write the table to train on. A path that begins with a blank gets `./`, since readers trim cells."""
    rows = [
        (f"./{name}" if name[0].isspace() else name, copy.label, copy.split, copy.group)
        for copy in copies
        for name in (copy.name, *copy.variants)
    ]
    table = pl.DataFrame(rows, schema=dict.fromkeys(("path", "label", "split", "group"), pl.String), orient="row")
    write_text(out / LABELS, table.write_csv())


def _write_lists(out: Path, voc: VocFolder, copies: list[Copy]) -> None:
    """Write the lists of names anew, each image followed by its variants."""
    names = {Path(copy.name).stem: [Path(name).stem for name in copy.variants] for copy in copies}
    for path, lines in voc.lists.items():
        listed = [(name, rest) for name, rest in (listed_name(line, names) for line in lines) if name in names]
        text = "".join(f"{each}{rest}\n" for name, rest in listed for each in (name, *names[name]))
        write_text(out / LISTS / path, text)


def _reason(error: FoveaError, source: Path) -> str:
    return error.message.removeprefix(f"{source} ").removeprefix("the image ")


def _relative(path: Path, base: Path) -> str:
    with contextlib.suppress(ValueError):
        return path.absolute().relative_to(base.absolute()).as_posix()
    return str(path)
