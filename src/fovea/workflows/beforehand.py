"""What would fail at the end of long work, said before it begins: places nobody can write to, weights nobody can load.

Nothing is made or changed here, so that work that was refused leaves no trace.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fovea.core.errors import DataError, FoveaError
from fovea.core.recipe import Recipe

if TYPE_CHECKING:
    from fovea.models.catalogue import Loaded


def check_folder(folder: Path | str, *, hint: str) -> None:
    """Raise `FoveaError` unless files can be written to `folder`, which need not be there yet."""
    folder = Path(folder)
    whole = folder.absolute()
    there = next(place for place in (whole, *whole.parents) if os.path.lexists(place))
    if not there.is_dir():
        why = "is no folder" if there == whole else f"cannot be made: {there} is no folder"
        raise FoveaError(f"{folder} {why}", hint=hint)
    if not os.access(there, os.W_OK | os.X_OK):
        raise FoveaError(f"cannot write to {there}: permission denied", hint=hint)


def check_apart(data: Path | str, folder: Path | str) -> None:
    """Raise `DataError` if `folder` lies inside the folder `data`: what is written there would be read as data."""
    source, target = Path(data).expanduser().resolve(), Path(folder).resolve()
    if source.is_dir() and source in (target, *target.parents):
        raise DataError(f"{folder} lies inside {data}, which must stay as it is", hint="choose a folder beside it")


def check_network(recipe: Recipe) -> Loaded | None:
    """Raise `ModelError` or `UnknownName` unless the recipe's network can be built, loaded and changed as it says.

    It is built for two classes, since how many it needs is not known yet, and returned; that takes a tenth of a second
    for networks as small as the default. None where only the data decide which it is.
    """
    if recipe.model.from_scratch and recipe.model.name is None and not recipe.model.exchanged:
        return None
    from fovea.models.catalogue import create  # the networks' libraries take seconds to import

    return create(
        recipe.model.name,
        classes=2,
        weights=recipe.model.weights,
        from_scratch=recipe.model.from_scratch,
        drop_rate=recipe.model.drop_rate,
        input_size=recipe.data.input_size,
        swap=recipe.model.exchanged,
    )
