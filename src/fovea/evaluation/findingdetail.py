"""A finding at length: the files and groups it names as pictures, its evidence as facts and tables.

Which code belongs under which theme, and what it is called, stands in `TOPICS`; a code that is not there is shown just
the same, under a title made of its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fovea.core.evidence import evidence_blocks, heading, in_words
from fovea.core.findings import Finding
from fovea.core.report import Block, Detail, Gallery, Picture, Tone
from fovea.core.wording import counted
from fovea.data.audit.evidence import about_all, per_file
from fovea.evaluation.thumbnails import Thumbnails

THEMES = {
    "Files": "Whether every file is what it seems and can be used.",
    "Pictures": "Images that show too little, or differ in kind from the others.",
    "Copies and leaks": "The same picture more than once. Copies flatter a result where they lie on both sides of a "
    "split, and weigh double elsewhere.",
    "Labels": "Labels that the images themselves speak against.",
    "Shortcuts": "What gives the class away without showing it: a model learns that instead.",
    "Splits and classes": "Whether there is enough of everything to learn from and to judge by.",
    "Channels and sizes": "What the pixels are like as a whole.",
    "Other findings": "",
}
TOPICS = {  # code -> theme, title
    "unreadable": ("Files", "Files that cannot be used"),
    "wrong-extension": ("Files", "Names that promise another format"),
    "no-label": ("Files", "Images without a label"),
    "unknown-split": ("Files", "Images of no known split"),
    "duplicate-path": ("Files", "Files listed more than once"),
    "ignored-folder": ("Files", "Folders that were not read"),
    "ignored-files": ("Files", "Files that were not read"),
    "list-files": ("Files", "Lists beside the data"),
    "bad-line": ("Files", "Lines that could not be read"),
    "left-out": ("Files", "What the table leaves out"),
    "odd-mode": ("Pictures", "Unusual colour modes"),
    "odd-size": ("Pictures", "Unusual sizes and shapes"),
    "dark": ("Pictures", "Dark images"),
    "bright": ("Pictures", "Bright images"),
    "blurry": ("Pictures", "Blurred images"),
    "low-information": ("Pictures", "Images that show next to nothing"),
    "duplicate-exact": ("Copies and leaks", "Exact copies"),
    "duplicate-near": ("Copies and leaks", "Near copies"),
    "split-leakage": ("Copies and leaks", "Copies on both sides of a split"),
    "torn-group": ("Copies and leaks", "Groups torn apart by a split"),
    "label-conflict": ("Labels", "Copies with different labels"),
    "label-suspect": ("Labels", "Doubtful labels"),
    "outlier": ("Labels", "Images unlike the others"),
    "ambiguous-classes": ("Labels", "Classes that can hardly be told apart"),
    "metadata-shortcut": ("Shortcuts", "The class can be read off the file"),
    "background-shortcut": ("Shortcuts", "The class can be read off the background"),
    "imbalance": ("Splits and classes", "Uneven classes"),
    "class-too-small": ("Splits and classes", "Classes with too few images"),
    "no-class": ("Splits and classes", "Images outside every class"),
    "empty-folder": ("Splits and classes", "Folders without images"),
    "class-map": ("Splits and classes", "Classes of the splits"),
    "split-drift": ("Splits and classes", "Splits that differ in kind"),
    "split-made": ("Splits and classes", "The split that was made"),
    "channel-statistics": ("Channels and sizes", "Channel statistics"),
    "input-size": ("Channels and sizes", "Input size"),
}
_RINGED = ("duplicate-exact", "duplicate-near", "split-leakage", "label-conflict", "torn-group")
_GIVEN = ("given", "label", "class", "labelled")
_SUGGESTED = ("suggested", "suggestion", "predicted")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a finding is shown: groups, pictures of one group, pictures of files; the rest is counted."""

    groups: int = 30
    members: int = 8
    pictures: int = 24
    evidence: bool = True


PAGE = Limits()
BRIEF = Limits(groups=3, members=6, pictures=8, evidence=False)


def topic(code: str) -> tuple[str, str]:
    """Return the theme and the title of a code.

    >>> topic("dark"), topic("odd-thing")
    (('Pictures', 'Dark images'), ('Other findings', 'Odd thing'))
    """
    return TOPICS.get(code, ("Other findings", heading(code)))


def shown(
    finding: Finding, thumbnails: Thumbnails, *, limits: Limits = PAGE, anchor: str = "", extra: Sequence[Block] = ()
) -> Detail:
    """Return a finding with the pictures and the evidence that show it.

    Args:
        anchor: a name to link to; with one, the finding gets its title.
        extra: blocks to put before the pictures, such as a drawing.
    """
    groups = [group[: limits.members] for group in finding.groups[: limits.groups]]
    grouped = {path for group in finding.groups for path in group}
    alone = [path for path in finding.files if path not in grouped]
    files = alone[: limits.pictures]
    thumbnails.load([path for group in groups for path in group] + files)
    told = per_file(finding)
    blocks: list[Block] = list(extra)
    if limits.evidence:
        told_already = ("count", "groups", "images", "kind")  # by the message and by what is folded away
        whole = {name: value for name, value in about_all(finding).items() if name not in told_already}
        blocks += evidence_blocks(whole)
    blocks += [
        _strip(number, finding, group, told, thumbnails, titled=limits.evidence)
        for number, group in enumerate(groups, start=1)
    ]
    if files:
        pictures = [_picture(path, told.get(path, {}), thumbnails) for path in files]
        blocks.append(Gallery(pictures, strip=not limits.evidence))
    return Detail(
        finding,
        blocks,
        title=topic(finding.code)[1] if anchor else "",
        anchor=anchor,
        more=_more(len(finding.groups) - len(groups), len(alone) - len(files)),
    )


def _more(groups: int, files: int) -> str:
    left = [counted(groups, "group")] * (groups > 0) + [counted(files, "image")] * (files > 0)
    return f"and {' and '.join(left)} more, named below" if left else ""


def _strip(
    number: int,
    finding: Finding,
    members: Sequence[str],
    told: Mapping[str, Mapping[str, Any]],
    thumbnails: Thumbnails,
    *,
    titled: bool,
) -> Gallery:
    """One line of pictures of a group; of copies, those with another label or on the side of training are ringed."""
    labels = [thumbnails.label(path) for path in members]
    splits = [thumbnails.split(path) for path in members]
    common = Counter(labels).most_common(1)[0][0]
    torn = len(set(splits)) > 1
    pictures = []
    for path, label, split in zip(members, labels, splits, strict=True):
        contradicts = label != common or (torn and split == "train")
        tone: Tone = "bad" if contradicts and finding.code in _RINGED else "plain"
        pictures.append(_picture(path, told.get(path, {}), thumbnails, tone=tone))
    notes = []
    if len(set(labels)) > 1:
        notes.append(f"labelled {' and '.join(name or 'nothing' for name in dict.fromkeys(labels))}")
    if torn:
        notes.append(f"in {' and '.join(name or 'no split' for name in dict.fromkeys(splits))}")
    if any(picture.tone == "bad" for picture in pictures):
        notes.append("ringed: " + ("in train" if torn and len(set(labels)) == 1 else "what differs"))
    total = len(finding.groups[number - 1])
    if more := total - len(members):
        notes.append(f"and {counted(more, 'more', 'more')}")
    title = f"{number} · {counted(total, 'image')}" if titled else ""
    return Gallery(pictures, title=title, note=", ".join(notes), strip=True)


def _picture(path: str, told: Mapping[str, Any], thumbnails: Thumbnails, *, tone: Tone = "plain") -> Picture:
    suggested = next((told[name] for name in _SUGGESTED if told.get(name) not in (None, "")), None)
    given = next((told[name] for name in _GIVEN if told.get(name) not in (None, "")), None)
    caption = thumbnails.label(path) if given is None else in_words("given", given)
    if suggested is not None:
        caption = f"{caption} → {in_words('suggested', suggested)}"
    others = [
        f"{heading(name).lower()} {in_words(name, value)}"
        for name, value in told.items()
        if name not in (*_GIVEN, *_SUGGESTED) and value is not None
    ]
    split = thumbnails.split(path)
    return thumbnails.picture(
        path, caption=caption, detail=" · ".join([*([split] if split else []), *others]), tone=tone
    )
