"""Making an SVG drawing part of an HTML page: stripped to what it draws, unable to run or fetch anything, themed.

Drawings use the colours named here; inside a page each becomes a CSS variable, so that one drawing is right in light,
in dark and in print. On its own (saved from the page, say) it still shows in the plain colours.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

INK = "#5a6672"
RULE = "#c3cad1"
BLUE = "#2f6fb3"
ORANGE = "#c2611c"
GREEN = "#2f8559"
PURPLE = "#7d57b0"
THEME = {
    INK: "--muted",
    RULE: "--rule",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
}
"""Colours that follow the page, with the names of the CSS variables that replace them."""

_DRAWING = frozenset(
    (
        *("svg", "g", "defs", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("text", "tspan", "use", "image", "clipPath", "title", "desc"),
    )
)
_DROPPED = frozenset(["metadata", "style"])  # matplotlib's style is a rule for *, which would reach the whole page
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_INHERITED = re.compile(r"font-family:[^;]*;?")


def inline(svg: str, *, prefix: str, label: str) -> str:
    """Return the drawing as an `<svg>` element to put into a page.

    Args:
        svg: a whole SVG document.
        prefix: put before every id, so that two drawings on one page do not mix up their clip paths.
        label: what the drawing shows, for screen readers.

    Raises:
        ValueError: it is not SVG, or holds what a drawing has no use for (scripts, event handlers, outside links).
    """
    if "<!ENTITY" in svg:
        raise ValueError("the SVG declares entities, which a drawing has no use for")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"the drawing is not SVG: {error}") from error
    if _local(root.tag) != "svg":
        raise ValueError(f"the drawing is <{_local(root.tag)}>, expected <svg>")
    used = set(_REFERENCE.findall(svg)) | {match[1] for match in re.finditer(r'href="#([^"]+)"', svg)}
    _clean(root, prefix, used)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.attrib.pop("version", None)
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": label}
    root.set("style", "stroke-linejoin:round;stroke-linecap:butt")
    return ElementTree.tostring(root, encoding="unicode")


def width_px(svg: str) -> float:
    """Return the natural width of a drawing in CSS pixels, from its viewBox in points (1 pt = 4/3 px)."""
    match = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ', svg)
    if match is None:
        raise ValueError("the SVG has no viewBox")
    return float(match[1]) * 4 / 3


def _clean(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    element.tag = _local(element.tag)
    if element.tag not in _DRAWING:
        raise ValueError(f"the SVG holds <{element.tag}>, which a drawing has no use for")
    element.attrib = {
        name: _rewrite(name, value, prefix)
        for name, value in ((_local(name), value) for name, value in element.attrib.items())
        if name != "id" or value in used
    }
    if element.tag not in ("text", "tspan", "title", "desc"):
        element.text = None  # indentation
    for child in list(element):
        if _local(child.tag) in _DROPPED:
            element.remove(child)
        else:
            _clean(child, prefix, used)
            if element.tag != "text":
                child.tail = None
    if element.tag == "defs" and not len(element):
        element.set("display", "none")


def _rewrite(name: str, value: str, prefix: str) -> str:
    if name.lower().startswith("on"):
        raise ValueError(f"the SVG has the event handler {name}, which a drawing has no use for")
    if name == "href":
        if value.startswith("#"):
            return f"#{prefix}{value[1:]}"
        if value.startswith("data:image/png;base64,"):
            return re.sub(r"\s", "", value)
        raise ValueError(f"the SVG refers to {value[:60]!r}; a drawing must bring everything with it")
    if name == "id":
        return prefix + value
    if name == "d":
        return " ".join(value.split())
    value = _REFERENCE.sub(lambda match: f"url(#{prefix}{match[1]})", value)
    if "url(" in value and "url(#" not in value:
        raise ValueError(f"the SVG refers to {value[:60]!r}; a drawing must bring everything with it")
    for colour, variable in THEME.items():
        value = value.replace(colour, f"var({variable})")
    return _INHERITED.sub("", value) if name == "style" else value


def _local(name: str) -> str:
    """Drop the namespace that ElementTree puts in front: `{http://www.w3.org/2000/svg}path` -> `path`."""
    return name.rpartition("}")[2]
