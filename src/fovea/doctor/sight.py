"""What the layers of a network make of an image that somebody chooses: no training is needed, and none is changed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fovea.core.errors import UnknownName
from fovea.core.files import write_text
from fovea.doctor import describing
from fovea.doctor.record import FeatureMap, Features, Kernels, Network
from fovea.doctor.seeing import as_maps, choose, first_layer, kernels, smaller, some
from fovea.doctor.tensors import read_all

_SIDE_PX, _IMAGE_PX = 64, 256


@dataclass(frozen=True)
class Sight:
    """What `see` saw: `network.features` and `network.kernels`, as arrays."""

    network: Network

    def write_html(self, path: Path | str, *, title: str = "What the network sees") -> None:
        """Write it as pictures: one file that needs nothing else.

        Raises:
            OSError: it cannot be written there.
        """
        from fovea.core.html import render
        from fovea.core.report import Report
        from fovea.doctor.inside import sight_of

        footer = f"Written by fovea on {datetime.date.today():%d %B %Y}."
        write_text(Path(path), render(Report(title, self.network.kind, sight_of(self.network), footer=footer)))


def see(model: nn.Module, image: torch.Tensor, *, layers: Sequence[str] | None = None, channels: int = 8) -> Sight:
    """Run a network on one image and keep what its layers make of it, and the kernels of its first layer.

    The network runs once, in evaluation mode and without gradients; its modes and PyTorch's random states are put back.

    Args:
        model: the network.
        image: (C, H, W), as the network is given it: after all preprocessing.
        layers: names as in `model.named_modules()`, of which those without maps are left out; when None, eight layers
            from the first to the last.
        channels: of each layer, the first ones.

    Raises:
        ValueError: the image has another number of axes.
        UnknownName: the network has no layer of such a name.

    Example:
        fovea.doctor.see(model, transform(Image.open("fish.jpg"))).write_html("fish.html")
    """
    if image.ndim != 3:
        raise ValueError(f"the image has the shape {tuple(image.shape)}, expected (C, H, W): one image, preprocessed")
    modules = dict(model.named_modules())
    for name in layers or ():
        if name not in modules:
            raise UnknownName("layer", name, modules)
    network = describing.network(model)
    watched = [name for name in modules if name in network.layers] if layers is None else list(layers)
    maps: dict[str, FeatureMap] = {}

    def keep(name: str, module: nn.Module, output: object) -> None:
        made = as_maps(module, output) if isinstance(output, torch.Tensor) and len(output) == 1 else None
        if name in maps or made is None:
            return
        values = read_all([smaller(made[:channels], _SIDE_PX)])[0]
        maps[name] = FeatureMap(name, type(module).__name__, tuple(made.shape), values)
        if name in network.layers:
            layer = network.layers[name]
            assert isinstance(output, torch.Tensor)
            layer.order, layer.steps, layer.out_shape = len(maps), [0], tuple(output.shape)

    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    batch = image.detach()[None].to(device)  # (1, C, H, W)
    hooks = [
        modules[name].register_forward_hook(lambda module, given, output, name=name: keep(name, module, output))
        for name in watched
    ]
    try:
        with torch.no_grad(), _evaluating(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    names = choose(network.layers, modules) if layers is None else list(maps)
    shown = read_all([smaller(batch[0], _IMAGE_PX)])[0]
    network.features = Features(None, shown, [maps[name] for name in names])
    stem = first_layer(model, batch.shape)
    if stem is not None:
        weight = kernels(stem[1], batch.shape)
        network.kernels = Kernels(stem[0], len(weight), [], read_all([some(weight)]))
    return Sight(network)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
