"""What a check of the audit gets and what it gives: a `Subject` in, findings out.

A check is a registered pure function of plain arrays. It opens no file, trains no network and changes nothing; who
gathers the material is `workflows.auditing`. Checks that need features are given them or are not called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from fovea.core.findings import Finding
from fovea.core.registry import Registry
from fovea.data.looks import Looks
from fovea.data.manifest import Manifest

NAMED_FILES = 500  # how many files a finding names, unless it ranks them or the proposal acts on each


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The material of an audit: N usable images.

    Attributes:
        manifest: the data; what reading found and left out is in it.
        rows: the usable rows of its table, in order (N).
        looks: at the same images.
        copies: number of the group of copies (exact or near duplicates) that an image belongs to, -1 where it is
            alone, (N,).
        scenes: likewise, of photos of one scene, copies included; None where nobody looked.
        features: what a network or `features_from` says of each image, (N, F) float32; None in the fast form.
        features_from: where the features come from, in words: "mobilenetv2_100.tf_in1k".
        seed: of everything random in a check.
    """

    manifest: Manifest
    rows: pl.DataFrame
    looks: Looks
    copies: np.ndarray
    scenes: np.ndarray | None = None
    features: np.ndarray | None = None
    features_from: str = ""
    seed: int = 0

    def __len__(self) -> int:
        return self.rows.height

    @cached_property
    def paths(self) -> list[str]:
        """Paths relative to the data's root (N)."""
        return self.rows["path"].to_list()

    @cached_property
    def targets(self) -> np.ndarray:
        """Class positions (N,) int64; for multi-label data indicator rows (N, C)."""
        return self.manifest.targets(self.rows)

    @cached_property
    def splits(self) -> np.ndarray:
        """Split of each image (N,) as text, "" where it has none."""
        return self.rows["split"].fill_null("").to_numpy().astype(str)

    @cached_property
    def units(self) -> np.ndarray:
        """Number of the unit that each image belongs to (N,): scenes, copies and groups share one, others are alone.

        Cross-validation that holds whole units out says how new images would do.
        """
        import scipy.sparse
        from scipy.sparse.csgraph import connected_components

        count = len(self)
        groups = self.rows["group"].to_list()
        first: dict[str, int] = {}
        pairs = [(row, first.setdefault(group, row)) for row, group in enumerate(groups) if group is not None]
        for numbers in (self.copies, *([] if self.scenes is None else [self.scenes])):
            leaders: dict[int, int] = {}
            pairs += [
                (row, leaders.setdefault(int(numbers[row]), row)) for row in np.flatnonzero(numbers >= 0).tolist()
            ]
        left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        graph = scipy.sparse.coo_array((np.ones(len(left)), (left, right)), shape=(count, count))
        return connected_components(graph, directed=False)[1]

    def named(self, rows: Sequence[int] | np.ndarray, *, limit: int | None = NAMED_FILES) -> tuple[str, ...]:
        """Return the paths of these row numbers, at most `limit` of them; all of them when it is None."""
        return tuple(self.paths[int(row)] for row in rows[:limit])

    def take(self, rows: np.ndarray) -> Subject:
        """Return the part of the subject at these row numbers."""
        return replace(
            self,
            rows=self.rows[rows],
            looks=self.looks.take(rows),
            copies=self.copies[rows],
            scenes=None if self.scenes is None else self.scenes[rows],
            features=None if self.features is None else self.features[rows],
        )


Check = Callable[[Subject], list[Finding]]
CHECKS: Registry[Check] = Registry("check")
FEATURE_CHECKS: Registry[Check] = Registry("check on features")
