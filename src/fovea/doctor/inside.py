"""The sections of the doctor's page that show a network from within: its layers over time, its kernels, its maps.

Each is left out where the record holds nothing of it: no kernels without pictures, no maps of a plain perceptron.
"""

from __future__ import annotations

import numpy as np

from fovea.core.report import Block, Figure, Section
from fovea.doctor import mosaics, pictures
from fovea.doctor.record import Kernels, Layer, Network, Parameter
from fovea.doctor.seeing import ACTIVATIONS

_GRADIENT_DECADES, _UPDATE_DECADES, _SPREAD_DECADES = 3.0, 2.0, 2.0
_USUAL_UPDATE = 1e-3  # of the weights, in a step (cs231n, "Ratio of weights:updates")


def sections_of(network: Network, *, several: bool) -> list[Section]:
    """Return what there is to show of a network; its kind stands in the titles where there are several."""
    name = f" of {network.kind}" if several else ""
    layers = _layers(network, f"Inside {network.kind}" if several else "Inside the network")
    return [*([layers] if layers else []), *sight_of(network, name)]


def sight_of(network: Network, name: str = "") -> list[Section]:
    """Return the kernels and the feature maps of a network; `name` is put behind the titles."""
    found = _kernels(network, f"First-layer kernels{name}"), _features(network, f"Feature maps{name}")
    return [section for section in found if section is not None]


def _layers(network: Network, title: str) -> Section | None:
    weights = _weights(network)
    layers = sorted((layer for layer in network.layers.values() if layer.steps), key=lambda layer: layer.order)
    ratios = {
        each.name: (each.steps, [u / w if w else np.nan for u, w in zip(each.update, each.weight, strict=True)])
        for each in weights
    }
    drawings = [
        (
            mosaics.spread_panels(
                {_name(each): each.outputs for each in layers if each.kind in _shown_kinds(network)},
                label="magnitude of the output",
            ),
            "Activations over time: in each column, how the values that a layer puts out are spread over magnitudes. A "
            "healthy layer is a band that stays at one height, and bands of all layers lie about as high. Bands that "
            "sink from layer to layer fade away; ones that climb explode; a dead layer is an empty panel above a full "
            "strip of zeros (behind a ReLU half of that is usual). Purple is no longer a number.",
        ),
        (
            mosaics.spread_panels(
                {each.name.removesuffix(".weight"): each.gradients for each in weights},
                label="magnitude of the gradient",
            ),
            "Gradients over time: the same for the gradient of each weight. Bands that lie ever lower the nearer a "
            "layer is to the input are a vanishing gradient; a band that climbs from left to right is an exploding "
            "one; a full strip of zeros is a layer that learns nothing.",
        ),
        (
            pictures.layer_map(ratios, usual=_USUAL_UPDATE, decades=_UPDATE_DECADES, label="update over weight"),
            "How much a step changes each weight, as a share of it. About a thousandth is usual (pale); deep orange is "
            "a hundred times that and more, deep blue hardly moves.",
        ),
        (
            pictures.layer_map(
                {each.name: (each.steps, each.gradient) for each in weights},
                usual=None,
                decades=_GRADIENT_DECADES,
                label="norm of the gradient",
            ),
            "The norm of each weight's gradient. A map that turns blue towards the first layers is a gradient that "
            "vanishes; one that turns orange to the right grows. Purple is no longer a number.",
        ),
        (
            pictures.layer_map(
                {layer.name or layer.kind: (layer.steps, layer.std) for layer in layers},
                usual=1.0,
                decades=_SPREAD_DECADES,
                label="spread of the output",
            ),
            "The spread of what each layer puts out, from the input (top) to the scores. Near 1 is usual; what fades "
            "or swells from layer to layer is badly scaled.",
        ),
        (
            pictures.unit_map([layer for layer in layers if layer.kind in pictures.RECTIFIERS]),
            "Units of the rectifying layers (channels of a convolution). A unit that never fires for any image has no "
            "gradient and learns nothing; a few are no harm.",
        ),
    ]
    blocks: list[Block] = [Figure(drawing, caption, caption) for drawing, caption in drawings if drawing]
    lead = "From the first layer to the last, at the steps that were looked at closely."
    return Section(title, blocks, lead=lead) if blocks else None


def _weights(network: Network) -> list[Parameter]:
    """Return the weights that were seen to move, from the first layer to the last.

    One of no layer of its own, as within an attention, stands behind the parameter that it is declared after.
    """
    found, order = [], -1
    for each in network.parameters.values():
        layer = network.layers.get(each.module)
        order = layer.order if layer is not None and layer.order >= 0 else order
        if len(each.shape) > 1 and each.steps:
            found.append((order, each))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _name(layer: Layer) -> str:
    """Return a layer's name, with its kind where the name is a mere number."""
    return f"{layer.name} {layer.kind}" if layer.name.isdigit() else layer.name or layer.kind


def _shown_kinds(network: Network) -> set[str]:
    """Return the kinds of layers to show activations of: where there are many layers, not what merely rescales."""
    kinds = [layer.kind for layer in network.layers.values() if layer.outputs.steps]
    few = [kind for kind in kinds if kind in ACTIVATIONS or "Norm" not in kind]
    return set(few if len(kinds) > mosaics.MOST_PANELS and few else kinds)


def _kernels(network: Network, title: str) -> Section | None:
    known = network.kernels
    if known is None:
        return None
    shown = len(known.values[0])
    which = "All" if shown == known.count else f"The first {shown} of"
    blocks: list[Block] = []
    for place, values in enumerate(known.values):
        caption = f"{which} {known.count} kernels of {known.layer or network.kind}{_when(known, place)}."
        blocks.append(Figure(mosaics.kernel_tiles(values), caption, caption, half=True))
    channels = known.values[0].shape[1]
    tones = "In colour, if images come as RGB" if channels == 3 else "In grey"
    mean = f", the mean over the {channels} channels" if channels not in (1, 3) else ""
    lead = (
        f"What the first layer looks for. {tones}{mean}; middle grey is zero. Edges, bars and blobs of colour have "
        "been learnt; what looks like noise, as kernels do before a training, has learnt little; flat grey ones do "
        "nothing."
    )
    return Section(title, blocks, lead=lead)


def _when(known: Kernels, place: int) -> str:
    if not known.steps:
        return ""
    if place == 0:
        return ", at the start" if known.steps[0] == 0 else f", at step {known.steps[0]:,}"
    before, after = known.values
    change = np.linalg.norm(after - before) / max(float(np.linalg.norm(before)), 1e-12)
    told = (
        f"{100 * change:.2g} %" if change < 0.1 else f"{100 * change:.0f} %" if change < 10 else f"{change:,.0f} times"
    )
    return f", at the end, after {known.steps[1]:,} steps: they have changed by {told} of what they were"


def _features(network: Network, title: str) -> Section | None:
    features = network.features
    drawing = None if features is None else mosaics.feature_maps(features)
    if features is None or drawing is None:
        return None
    caption = (
        "An image as the network is given it, and what layers make of it: the first channels of each, from the input "
        "(top) to the last layer with maps. Dark is the lowest value of a row, yellow its highest. A channel of one "
        "colour does not respond to this image; where all channels of a row look alike, the layer tells little apart."
    )
    which = "" if features.step is None else f": the first of the training batch at step {features.step:,}"
    lead = f"What layers make of one image{which}."
    return Section(title, [Figure(drawing, caption, caption)], lead=lead)
