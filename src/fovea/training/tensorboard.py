"""TensorBoard events, for those who watch their trainings there; an optional extra."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fovea.core.errors import require


class Scalars:
    """Writes the numbers of each epoch as TensorBoard events into `folder`.

    Args:
        folder: made when needed.
        done: epochs written before; a resumed run writes over what came after them.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, done: int) -> None:
        require("tensorboard", extra="tensorboard", purpose="train.tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=done + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row of summary.csv."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self.writer.add_scalar(name, value, global_step=int(row["epoch"]))
        self.writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self.writer.close()
