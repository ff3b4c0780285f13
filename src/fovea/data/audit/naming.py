"""What file names and folders tell besides the class: the pattern of a name, and the folders above the class folder.

The class itself is taken out first: its folder, its name in the file's name, parts and abbreviations of it. What is
left should not depend on the class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from fovea.data.formats.base import split_of

# What cameras and programs call their files; such a word names a source, not a class.
_SOURCES = frozenset(
    {"img", "image", "pic", "pict", "picture", "photo", "p", "dsc", "dscn", "dscf", "dcim", "pxl", "mvi"}
)
_SOURCES |= {
    "vid",
    "video",
    "screenshot",
    "screen",
    "scan",
    "frame",
    "capture",
    "camera",
    "cam",
    "download",
    "whatsapp",
}
_SOURCES |= {"wa", "snapchat", "fb", "web", "file", "untitled"}
_DIGITS = re.compile(r"\d+")
_WORDS = re.compile(r"[^\W\d_]+")
_PADDED_SHARE = 0.01  # numbers that begin with 0, from which numbering counts as padded: 001, 002 …
_CLOCK_DIGITS = 6  # so many digits are a date, a time or a hash, not a counter


def split_path(path: str) -> tuple[list[str], str, str]:
    """Return folders, stem and extension of a path; the first folder that only names a split is dropped.

    >>> split_path("train/Fruit/Apple/a.b.JPG")
    (['Fruit', 'Apple'], 'a.b', '.JPG')
    """
    *folders, name = path.split("/")
    stem, dot, extension = name.rpartition(".")
    place = next((index for index, folder in enumerate(folders) if split_of(folder)), None)
    if place is not None:
        del folders[place]
    return folders, stem if dot else name, dot + extension if dot else ""


def upper_folder(folders: Sequence[str], own: Sequence[str]) -> str:
    """Return the folders above the class folder, or all of them where none is called like the class.

    Args:
        folders: of one file, without its split.
        own: what its class is called: name, id. A name such as `Fruit/Apple` is two folders.

    >>> upper_folder(["site A", "cat"], ["Cat"]), upper_folder(["Fruit", "Apple"], ["Fruit/Apple"])
    ('site A', '')
    """
    plain = [_plain(folder) for folder in folders]
    spelled = [[_plain(part) for part in name.split("/")] for name in own]
    for words in sorted(spelled, key=len, reverse=True) + [words[-1:] for words in spelled]:
        for end in range(len(plain), len(words) - 1, -1):
            if plain[end - len(words) : end] == words:
                return "/".join(folders[: end - len(words)])
    return "/".join(folders)


def patterns(stems: Sequence[str], owns: Sequence[Sequence[str]]) -> list[str]:
    """Return each stem without what names its class, and with its numbers written as zeros.

    Numbers padded with zeros keep their length; a plain counter becomes `#`, since its length tells only how many
    images a class has.

    >>> patterns(["cat_007", "IMG_0042", "Golden Delicious-12"], [["Cat"], ["cat"], ["golden-delicious"]])
    ['000', 'IMG_0000', '00']
    >>> patterns(["IMG_9", "Image_120"], [["a"], ["a"]])
    ['IMG_#', 'Image_#']
    """
    runs = [run for stem in stems for run in _DIGITS.findall(stem) if 1 < len(run) < _CLOCK_DIGITS]
    padded = sum(run[0] == "0" for run in runs) > _PADDED_SHARE * len(runs)

    def zeros(match: re.Match[str]) -> str:
        length = len(match.group())
        return "0" * length if padded or length >= _CLOCK_DIGITS else "#"

    return [_without_class(_DIGITS.sub(zeros, stem), tuple(own)) for stem, own in zip(stems, owns, strict=True)]


def ends(pattern: str) -> tuple[str, str]:
    """Return the word that a pattern begins with and the one that it ends with, "" where that is no word.

    >>> ends("IMG_0000 copy"), ends("000")
    (('IMG', 'copy'), ('', ''))
    """
    words = list(_WORDS.finditer(pattern))
    if not words:
        return "", ""
    first = words[0].group() if words[0].start() == 0 else ""
    return first, words[-1].group() if words[-1].end() == len(pattern) else ""


def names_a_source(pattern: str) -> bool:
    """Return whether a name has a word that cameras and programs use, or no word at all."""
    words = _WORDS.findall(pattern.casefold())
    return not words or any(word in _SOURCES for word in words)


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


@lru_cache(maxsize=65536)
def _without_class(pattern: str, own: tuple[str, ...]) -> str:
    for name in own:
        words = [re.escape(word) for word in re.findall(r"[^\W_]+", _DIGITS.sub(lambda run: "0" * len(run[0]), name))]
        if words and not all(set(word) <= {"0"} for word in words):
            spelled = r"[\W_]*".join(words)
            pattern = re.sub(rf"(?<![^\W\d_]){spelled}(?![^\W\d_])", "", pattern, flags=re.IGNORECASE)
    words = [word for name in own for word in _WORDS.findall(name.casefold())]
    initials = "".join(word[0] for word in words)

    def drop(match: re.Match[str]) -> str:
        word = match.group().casefold()
        short = any(own_word.startswith(word) for own_word in words) or (len(word) > 1 and word in initials)
        return "" if short or any(len(part) > 2 and word.startswith(part) for part in words) else match.group()

    return re.sub(r"^(?:[^\w#]|_)+|(?:[^\w#]|_)+$", "", _WORDS.sub(drop, pattern))
