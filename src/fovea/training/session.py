"""What the rungs of one training share: recipe, data, network, devices, clock, and the plan that is kept on disk.

A choice that depends on measured time is made once, through `decide`, and written to plan.json before it is acted on;
a resumed run reads it back. That is why a resumed run repeats an interrupted one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric
from torch import nn

from fovea.core.findings import Finding
from fovea.core.progress import Progress
from fovea.core.recipe import Recipe, TrainRecipe
from fovea.core.run import Run
from fovea.data.manifest import Manifest
from fovea.data.pixelcache import Photo
from fovea.data.preprocess import Preprocess
from fovea.models.catalogue import Loaded
from fovea.training.loop import Clock

PLAN = "plan.json"
BATCH = 16  # images in one frozen forward pass; always full, so that a row does not depend on its neighbours


@dataclass
class Session:
    """One training on one machine.

    Attributes:
        recipe: the resolved settings.
        manifest: the data, with its splits.
        run: the run folder.
        loaded: the network as it will be saved, and where it comes from.
        working: the network that is trained: `loaded.model` itself, or a copy with BatchNorm folded away.
        preprocess: how an image becomes the network's input; a rung may choose another view of the image.
        fabric: devices and precision.
        clock: wall clock over all sessions of the run.
        progress: shown to the user.
        stop: whether the user asked to stop.
        alone: the first device works while the others wait; nothing is exchanged.
        reserve_s: seconds that evaluation and report will need after training.
        watch: what each rung that takes steps is trained within, by its name.
        plan: choices and decisions so far, as in plan.json.
    """

    recipe: Recipe
    manifest: Manifest
    run: Run
    loaded: Loaded
    working: nn.Module
    preprocess: Preprocess
    fabric: Fabric
    clock: Clock
    progress: Progress
    stop: Callable[[], bool]
    reserve_s: float
    alone: bool = False
    watch: Callable[[str], AbstractContextManager[None]] = lambda rung: nullcontext()
    plan: dict[str, Any] = field(default_factory=lambda: {"choices": [], "decisions": {}, "rungs": []})

    @property
    def settings(self) -> TrainRecipe:
        """The recipe's train part."""
        return self.recipe.train

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several classes."""
        return self.manifest.multilabel

    @property
    def native_size(self) -> int:
        """The input side that the weights were trained at, or that the recipe asks for."""
        return int(self.recipe.data.input_size or self.loaded.pretrained_cfg["input_size"][-1])

    @property
    def frozen_bn(self) -> bool:
        """Whether BatchNorm layers keep the statistics of the weights."""
        return self.settings.bn == "frozen"

    @property
    def flexible(self) -> bool:
        """Whether the network takes inputs of any size; vision transformers do not."""
        return not self.loaded.pretrained_cfg.get("fixed_input_size", False)

    def example(self, size: int, *, batch: int = BATCH) -> torch.Tensor:
        """Return noise in the shape of inputs, (batch, 3, size, size) on the device, for measuring and tracing."""
        return self.fabric.to_device(noise_images(size, batch=batch))

    def training_left_s(self) -> float:
        """Return the seconds that training may still take."""
        return self.clock.left_s() - self.reserve_s

    def decide(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the decision named `key`, computing and recording it the first time.

        On several devices the first one decides for all.
        """
        decisions = self.plan["decisions"]
        if key not in decisions:
            value = compute() if self.fabric.is_global_zero else None
            decisions[key] = value if self.alone or self.fabric.world_size == 1 else self.fabric.broadcast(value)
            self.save_plan()
        return decisions[key]

    def choose(self, what: str, why: str) -> None:
        """Tell the user and the plan one choice and its reason; a resumed run does not repeat itself."""
        choice = {"what": what, "why": why}
        if choice not in self.plan["choices"]:
            self.plan["choices"].append(choice)
            self.save_plan()
            if self.fabric.is_global_zero:
                self.progress.say(f"{what}: {why}")

    def finished(self, rung: str) -> dict[str, Any] | None:
        """Return what the plan says of a rung that is done."""
        return next((entry for entry in self.plan["rungs"] if entry["name"] == rung), None)

    def finish(self, rung: str, **values: Any) -> dict[str, Any]:
        """Record a rung as done and return its entry."""
        entry = {"name": rung, "elapsed_s": round(self.clock.elapsed_s(), 2), **values}
        self.plan["rungs"] = [old for old in self.plan["rungs"] if old["name"] != rung] + [entry]
        self.save_plan()
        return entry

    def event(self, kind: str, **values: Any) -> None:
        """Write an event to the run's log, once for all devices."""
        if self.fabric.is_global_zero:
            self.run.event(kind, **values)

    def add_findings(self, findings: list[Finding]) -> None:
        """Add findings to the run, once for all devices."""
        if self.fabric.is_global_zero and findings:
            self.run.add_findings(findings)

    def save_plan(self) -> None:
        """Write plan.json."""
        if self.fabric.is_global_zero:
            self.run.write(PLAN, self.plan)


@dataclass(frozen=True)
class SplitData:
    """The usable images of one split, as the rungs need them.

    Attributes:
        photos: path, content digest and size of each image (N).
        targets: class ids (N,) or indicator rows (N, C).
        groups: group names or None (N).
    """

    photos: list[Photo]
    targets: np.ndarray
    groups: list[str | None]

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def digests(self) -> list[str]:
        """Content digests (N), what caches are addressed by."""
        return [photo.digest for photo in self.photos]

    def take(self, rows: np.ndarray) -> SplitData:
        """Return the images at these row numbers."""
        return replace(
            self,
            photos=[self.photos[row] for row in rows],
            targets=self.targets[rows],
            groups=[self.groups[row] for row in rows],
        )

    def target_tensor(self, rows: np.ndarray) -> torch.Tensor:
        """Return the targets of these rows, (B,) int64 or (B, C) float32."""
        targets = torch.as_tensor(self.targets[rows])
        return targets.float() if targets.ndim == 2 else targets.long()


def noise_images(size: int, *, batch: int = BATCH) -> torch.Tensor:
    """Return noise in the shape of inputs, (batch, 3, size, size), always the same."""
    noise = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    return noise.contiguous(memory_format=torch.channels_last)


def split_data(manifest: Manifest, split: str) -> SplitData:
    """Gather the usable images of `split`."""
    return rows_data(manifest, manifest.usable(split))


def rows_data(manifest: Manifest, rows: pl.DataFrame) -> SplitData:
    """Gather the images of some usable rows."""
    columns = (manifest.paths(rows), rows["digest"], rows["width"], rows["height"])
    return SplitData(
        photos=[Photo(*values) for values in zip(*columns, strict=True)],
        targets=manifest.targets(rows),
        groups=rows["group"].to_list(),
    )
