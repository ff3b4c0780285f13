"""What a frozen network says of images: one vector each, computed once and kept for whoever asks next.

The first rung of a training and the audit ask the same question, so both ask it here and find each other's answers:
what decides a vector (weights, view, image, arithmetic) is its address. Nothing here trains or judges.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from torch import nn

from fovea.core.errors import DataError
from fovea.core.files import cache_root
from fovea.core.progress import Progress
from fovea.core.recipe import DataRecipe
from fovea.data.manifest import Manifest
from fovea.data.preprocess import Preprocess
from fovea.models.catalogue import Loaded
from fovea.models.chain import as_chain
from fovea.models.fastforward import FastForward, fast_forward
from fovea.models.heads import classifier_path
from fovea.training.activations import ActivationStore, extract
from fovea.training.images import Images
from fovea.training.session import noise_images, rows_data

FEATURES = "features"  # the unit whose activations the classifier sees


def embed(
    manifest: Manifest,
    rows: pl.DataFrame,
    *,
    loaded: Loaded,
    preprocess: Preprocess,
    settings: DataRecipe,
    device: torch.device | str = "cpu",
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Return (features (n, F) float32, the row numbers (n,) they belong to) of images seen by a frozen network.

    Rows are missing where a file can no longer be read, and when `stop` ended it early: then those that are there are
    a sample of all classes, and the next call goes on with the rest. Only images without features are decoded; their
    pixels are not kept.

    Args:
        manifest: where the paths start.
        rows: usable rows of its table (N).
        loaded: the network; its classifier does not matter.
        preprocess: the view of an image.
        settings: threads that decode, and the largest image.
        device: where the network computes.
        progress: told of each batch.
        stop: asked before each batch.
    """
    data = rows_data(manifest, rows)
    if not len(data):
        return np.empty((0, 0), np.float32), np.empty(0, np.int64)
    device = torch.device(device)
    decoder = dataclasses.replace(settings, cache=False)
    images = Images(data, preprocess=preprocess, settings=decoder, store_px=preprocess.input_size)
    forward = features_forward(loaded.model, size=preprocess.input_size, device=device, prefer=steady_backend(device))
    store = activation_store(loaded, unit=FEATURES, preprocess=preprocess, backend=forward.name, view="plain")
    gone: set[int] = set()

    def inputs(kept: np.ndarray, places: Sequence[int]) -> torch.Tensor:
        return preprocess.normalise(_views(images, kept[places], gone)).to(device)

    try:
        while True:
            kept = np.array([row for row in range(len(data)) if row not in gone], dtype=np.int64)
            try:
                features, places = frozen_rows(
                    store,
                    digests=[data.photos[row].digest for row in kept],
                    pixels=functools.partial(inputs, kept),
                    forward=forward,
                    advance=lambda done, total: progress.advance("features", done, total),
                    stop=stop,
                )
                return features, kept[places]
            except DataError:
                continue  # without those that have gone; what was stored by then is found again
    finally:
        forward.close()
        images.pool.shutdown()


def _views(images: Images, rows: np.ndarray, gone: set[int]) -> np.ndarray:
    """Return the plain views of these rows; where a file cannot be read, add its row to `gone` and raise."""
    try:
        return images.plain(rows)
    except DataError:
        before = len(gone)
        for row in rows.tolist():
            try:
                images.plain([row])
            except DataError:
                gone.add(row)
        if len(gone) == before:  # it can be read after all: a network folder that hung
            return images.plain(rows)
        raise


def frozen_rows(
    store: ActivationStore,
    *,
    digests: Sequence[str],
    pixels: Callable[[Sequence[int]], torch.Tensor],
    forward: FastForward,
    advance: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Compute what `store` lacks; return (features (n, F) float32, positions (n,) in `digests`).

    All positions are there unless `stop` ended it early. The arguments are those of `activations.extract`.
    """
    extract(
        store,
        digests=digests,
        pixels=pixels,
        forward=forward,
        dtype=np.float32,
        advance=advance,
        stop=stop,
    )
    places = np.flatnonzero(store.has(digests))
    features = (
        store.gather([digests[place] for place in places.tolist()]) if len(places) else np.empty((0, 0), np.float32)
    )
    return features, places


def features_forward(model: nn.Module, *, size: int, device: torch.device, prefer: str | None) -> FastForward:
    """Return the fastest frozen pass on `device` from images (B, 3, size, size) to the classifier's inputs (B, F).

    Args:
        model: a network with its classifier; it is copied.
        size: side of the input in pixels.
        device: where it computes.
        prefer: a backend to use unmeasured if it works here; None measures.
    """
    example = noise_images(size).to(device)
    on_device = copy.deepcopy(model).to(device)
    return fast_forward(feature_network(on_device, example[:1]), example=example, device=device, prefer=prefer)


def steady_backend(device: torch.device) -> str | None:
    """Return the backend that is taken on `device` without measuring, so that features repeat to the last bit.

    None on a GPU, where which is best follows from the network and is stable.
    """
    if device.type != "cpu":
        return None
    return "openvino-fp32" if importlib.util.find_spec("openvino") else "eager-fp32"


def feature_network(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a module from images to the vectors (B, F) that the classifier sees."""
    chain = as_chain(model, example)
    if chain is not None and chain.feature_unit is not None:
        return chain.features()
    bare = copy.deepcopy(model)  # a network that cannot be traced, but ends with its classifier
    parent, _, name = classifier_path(bare).rpartition(".")
    setattr(bare.get_submodule(parent), name, nn.Identity())
    return bare


def activation_store(loaded: Loaded, *, unit: str, preprocess: Preprocess, backend: str, view: str) -> ActivationStore:
    """Return the store of activations after `unit` for one view of the images."""
    identity = [loaded.weights_digest, loaded.architecture, unit, repr(preprocess), backend, view]
    return ActivationStore(cache_root() / "activations", identity=identity)
