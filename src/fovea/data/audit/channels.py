"""What the pixels are like as a whole: means and covariance of the colours, sizes, and what they suggest for training.

Both checks describe rather than blame, so they return notes that carry the settings to copy. Colours are measured on
the pictures of a look, squashed to 128 px: averaging pixels keeps the means and lowers the variances a little.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from fovea.core.findings import Finding
from fovea.core.wording import counted, percent
from fovea.data.audit.base import CHECKS, Subject
from fovea.data.looks import SIDE
from fovea.data.preprocess import Preprocess

SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384)  # input sides that networks are commonly trained at
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_GREY = 2 / 255  # root mean square difference between channels, from which there is colour
_PLAIN = 0.03  # standard deviation of all pixels, below which the images hardly differ from one colour
_BRIGHTER, _RICHER = 0.05, 1.2  # difference of means, and factor between standard deviations, that are worth a word
_LONG = 1.5  # longer to shorter side, from which a square crop loses a third
_SAME_SHAPE = 1.2  # factor within which nine of ten images have the same ratio of width to height
_NAMED_SIZES = 20


@CHECKS.register("channel-statistics", summary="means and covariance of red, green and blue, and settings from them")
def channel_statistics(subject: Subject) -> list[Finding]:
    """Pool the training images, each with the same weight."""
    looks = subject.looks.take(_training(subject))
    means = np.stack([looks.column(f"mean_{name}") for name in "rgb"], axis=1)  # (n, 3)
    pairs = [["rr", "rg", "rb"], ["rg", "gg", "gb"], ["rb", "gb", "bb"]]
    products = np.stack([np.stack([looks.column(f"product_{p}") for p in row], axis=1) for row in pairs], axis=1)
    known = np.isfinite(means).all(axis=1) & np.isfinite(products).all(axis=(1, 2))  # products: (n, 3, 3)
    if not known.any():
        return []
    mean, second = means[known].mean(axis=0), products[known].mean(axis=0)
    covariance = second - np.outer(mean, mean)
    values, axes = np.linalg.eigh(covariance)
    values, axes = np.maximum(values[::-1], 0), axes[:, ::-1]
    axes = axes * np.where(axes.sum(axis=0) < 0, -1, 1)  # an axis has no sign of its own: the first one is brightness
    covariance = (axes * values) @ axes.T  # what rounding made negative is gone, so that it is a covariance
    std = np.sqrt(np.diag(covariance))
    unlike = [second[one, one] + second[other, other] - 2 * second[one, other] for one, other in ((0, 1), (1, 2))]
    grey = float(np.sqrt(max(0.0, *unlike))) < _GREY
    plain = float(std.max()) < _PLAIN
    command = "--set data.pca_jitter=0.1 --set "
    digits = [f"{value:.7f}" for value in covariance.ravel()]  # with fewer, a singular matrix may round to none at all
    command += f'"data.pca_covariance=[{", ".join(digits)}]"'
    share = values / max(float(values.sum()), 1e-12)
    count = int(known.sum())
    message = (
        f"over {counted(count, 'training image')} red, green and blue have the means {_three(mean)} and "
        f"the standard deviations {_three(std)} (0 to 1); {_beside_imagenet(mean, std)}; {percent(float(share[0]))} of "
        "the variance lies along the first principal axis"
    )
    if grey:
        message += "; all three channels are equal: the images are grey"
    if plain:
        message += "; the pixels hardly differ from one colour"
    advice = f"to jitter colours along this data's own axes: {command}"
    if plain:
        advice = "check that the images are what they should be: 16-bit or float files may need rescaling"
    elif grey:
        advice += "; saturation has no effect on grey images"
    return [
        Finding(
            severity="warning" if plain else "note",
            code="channel-statistics",
            message=message,
            fix=f"{advice}; a pretrained network keeps the normalisation of its weights",
            evidence={
                "images": count,
                "grey": grey,
                "mean": _plain(mean),
                "std": _plain(std),
                "mean_255": _plain(255 * mean, 2),
                "std_255": _plain(255 * std, 2),
                "covariance": [_plain(row) for row in covariance],
                "eigenvalues": _plain(values, 6),
                "eigenvectors": [_plain(axis) for axis in axes.T],  # one principal axis each, as red, green, blue
                "measured_at_px": SIDE,
                "command": command,
            },
        )
    ]


def _beside_imagenet(mean: np.ndarray, std: np.ndarray) -> str:
    """Compare with the means and standard deviations that most pretrained networks normalise by."""
    usual = Preprocess()
    brighter, richer = float(np.mean(mean - usual.mean)), float(np.mean(std / usual.std))
    words = []
    if abs(brighter) >= _BRIGHTER:
        words.append("brighter" if brighter > 0 else "darker")
    if not 1 / _RICHER < richer < _RICHER:
        words.append("richer in contrast" if richer > 1 else "poorer in contrast")
    cast = mean - usual.mean - brighter
    if np.abs(cast).max() >= _BRIGHTER:
        place = int(np.abs(cast).argmax())
        words.append(f"{'more' if cast[place] > 0 else 'less'} {('red', 'green', 'blue')[place]}")
    numbers = f"({_three(np.array(usual.mean))} and {_three(np.array(usual.std))})"
    return f"{' and '.join(words)} than ImageNet's {numbers}" if words else f"much as ImageNet's {numbers}"


@CHECKS.register("input-size", summary="how large the images are, and the input size and shape that suit them")
def input_size(subject: Subject) -> list[Finding]:
    """Suggest the largest common size that three quarters of the training images reach, and crop, squash or pad."""
    table = subject.rows[_training(subject)].select("width", "height").drop_nulls()
    width, height = (table[name].to_numpy().astype(np.float64) for name in ("width", "height"))
    if not len(width):
        return []
    short = np.minimum(width, height)
    usual = Preprocess().input_size
    quarter = float(np.quantile(short, 0.25))
    suggested = max((size for size in SIZES if size <= quarter), default=SIZES[0])
    smaller = float((short < usual).mean())
    resize, why = _resize(width, height)
    command = f"--set data.input_size={suggested}" + (f" --set data.resize={resize}" if resize != "crop" else "")
    median = f"{np.median(width):.0f} × {np.median(height):.0f} px"
    advice = f"to use what the images have: {command}"
    if suggested > usual:
        advice += (
            f", at {(suggested / usual) ** 2:.1f} times the arithmetic of {usual}; it pays where objects are small"
        )
    elif suggested < usual:
        advice = (
            f"a network from scratch needs no more than {suggested} px ({command}); a pretrained one mostly does "
            "better on images enlarged to its own size, which is the default"
        )
    return [
        Finding(
            severity="warning" if smaller > 0.5 else "note",
            code="input-size",
            message=f"the median image has {median}, and three of four have a shorter side of at least {quarter:.0f} "
            f"px, {_enough(quarter, suggested)}; {_smaller(smaller, usual)}; {why}",
            fix=advice,
            evidence={
                "images": len(short),
                "suggested": suggested,
                "resize": resize,
                "smaller_than_usual": round(smaller, 4),
                "usual": usual,
                "width": _quantiles(width),
                "height": _quantiles(height),
                "short_side": _quantiles(short),
                "histogram": _histogram(short),
                "sizes": {
                    f"{w:.0f} × {h:.0f}": count
                    for (w, h), count in Counter(zip(width, height, strict=True)).most_common(_NAMED_SIZES)
                },
                "command": command,
            },
        )
    ]


def _enough(quarter: float, suggested: int) -> str:
    if quarter < suggested:
        return f"less than the smallest usual input of {suggested} px"
    return f"enough for an input of {suggested} px"


def _smaller(share: float, usual: int) -> str:
    if not share:
        return f"none is smaller than the usual {usual} px"
    return f"{percent(share)} are smaller than the usual {usual} px and would be enlarged"


def _resize(width: np.ndarray, height: np.ndarray) -> tuple[str, str]:
    """Return crop, squash or pad, and why that suits these shapes."""
    stretch = float(np.quantile(np.maximum(width, height) / np.minimum(width, height), 0.9))
    if stretch < 1.01:
        return "crop", "nine of ten are square, so a square crop keeps all of them"
    if stretch <= _LONG:
        return "crop", f"nine of ten are at most {stretch:.2f} to 1 long, so a square crop keeps most of them"
    low, high = np.quantile(width / height, [0.05, 0.95])
    if high <= _SAME_SHAPE * low:
        shape = f"{np.median(width / height):.2f} times as wide as high"
        return "squash", f"nearly all are {shape}: squashing distorts all alike and cuts nothing off"
    return (
        "pad",
        f"one in ten is more than {stretch:.2f} to 1 long, of which a square crop keeps {percent(1 / stretch)}",
    )


def _histogram(short: np.ndarray) -> dict[str, list[float]]:
    """Count shorter sides between powers of the square root of 2."""
    low, high = math.floor(2 * math.log2(short.min())), math.floor(2 * math.log2(short.max())) + 1
    edges = 2 ** (np.arange(low, high + 1) / 2)
    return {"from_px": _plain(edges[:-1], 1), "images": np.histogram(short, bins=edges)[0].tolist()}


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{100 * q:.0f} %": round(float(np.quantile(values, q)), 1) for q in QUANTILES}


def _training(subject: Subject) -> np.ndarray:
    """Return the row numbers of the training images: all that are in no other split."""
    return np.flatnonzero(np.isin(subject.splits, ("train", "")))


def _plain(values: np.ndarray, digits: int = 5) -> list[float]:
    return [round(float(value), digits) for value in values]


def _three(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
