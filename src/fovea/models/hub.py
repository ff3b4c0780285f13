"""Weights from the network: timm's Hugging Face hub and torchvision's download server, failing fast without one.

huggingface_hub retries a request for about 25 seconds per file before it gives up (47 s measured for one timm network
without a network). So the server is asked once, within a few seconds; only when it answers is timm let loose.
Without it, a copy from an earlier download is used.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from torch import nn

from fovea.core.errors import ModelError
from fovea.models.weights import StateDict, read_state_dict

_PROBE_S = 5.0


def timm_pretrained(name: str, *, classes: int, model_args: dict[str, Any], drop_rate: float) -> nn.Module:
    """Build a timm network with the weights of its hub, by `timm.create_model(name, pretrained=True)`.

    Raises:
        ModelError: the hub cannot be reached and no copy is in its cache, or timm has no weights for this network.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.has_weights:
        raise ModelError(
            f"timm has no weights for {name}", hint=f"{WAYS_OUT}; networks with weights: timm.list_pretrained()"
        )
    cached = None if config.custom_load else _cached_file(config.hf_hub_id, config.hf_hub_filename)
    overlay = {"file": str(cached), "hf_hub_id": None} if cached else None
    if cached is None and not _answers(_hub_address() if config.hf_hub_id else str(config.url)):
        raise _unreachable(name, _hub_address() if config.hf_hub_id else str(config.url))
    try:
        return timm.create_model(
            name,
            pretrained=True,
            num_classes=classes,
            drop_rate=drop_rate,
            pretrained_cfg_overlay=overlay,
            **model_args,
        )
    except (OSError, RuntimeError) as error:
        raise ModelError(f"the weights of {name} could not be loaded: {_first_line(error)}", hint=WAYS_OUT) from error


def torchvision_pretrained(name: str, url: str) -> StateDict:
    """Return torchvision's weights for a network, from torch's cache or from its download server."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if not cached.is_file():
        if not _answers(url):
            raise _unreachable(name, url)
        try:
            torch.hub.load_state_dict_from_url(url, check_hash=True, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"the weights of {name} could not be loaded: {_first_line(error)}", hint=WAYS_OUT
            ) from error
    return read_state_dict(cached)


WAYS_OUT = (
    "--weights DIR_OR_FILE takes a downloaded timm folder or state-dict file, --from-scratch trains without weights"
)


def _unreachable(name: str, address: str) -> ModelError:
    return ModelError(
        f"the weights of {name} are not on this machine and {urlsplit(address).netloc} cannot be reached",
        hint=WAYS_OUT,
    )


def _hub_address() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _cached_file(hub_id: str | None, file_name: str | None) -> Path | None:
    """Return the weights in huggingface_hub's cache from an earlier download."""
    if not hub_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = hub_id.partition("@")
    for name in (file_name,) if file_name else ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _answers(address: str) -> bool:
    """Whether a server answers at all, through the user's proxies and offline switch, within a few seconds.

    A thread, because resolving a host name obeys no time limit of its own.
    """
    from huggingface_hub import get_session

    reached = threading.Event()

    def ask() -> None:
        try:
            get_session().head(address, timeout=_PROBE_S)
        except Exception:  # whatever went wrong, the server was not reached
            return
        reached.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_S + 1)
    return reached.is_set()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
