"""The page: self-contained, escaped, accessible; the drawings in it cannot run or fetch anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from fovea.core import svg
from fovea.core.findings import Finding
from fovea.core.html import render
from fovea.core.report import (
    Code,
    Column,
    Detail,
    Fact,
    Facts,
    Figure,
    FindingList,
    Gallery,
    Link,
    Picture,
    Prose,
    Report,
    Section,
    Table,
)

NASTY = "<script>alert('1')</script> & \"é\" </title>"
JPEG = b"\xff\xd8\xff\xe0 not really a photo"
DRAWING = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt"
     viewBox="0 0 72 36">
 <metadata>who made it</metadata><defs><style>*{fill:red}</style><path id="mark" d="M 0 0
L 1 1"/><clipPath id="clip"><rect width="9" height="9"/></clipPath></defs>
 <g id="unused" clip-path="url(#clip)"><use xlink:href="#mark" style="stroke: #2f6fb3; font-family: 'X'"/></g>
 <text>a &lt; b</text>
</svg>"""


class Outline(HTMLParser):
    """Collects tags and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"


def parse(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    return outline


def everything(text: str) -> Report:
    """A report with every kind of block, all its words being `text`."""
    finding = Finding(severity="warning", code="x", message=text, fix=text, files=(text,), groups=((text, text),))
    blocks = [
        Prose(text),
        Facts([Fact(text, text, text)]),
        Facts([Fact(text, text)], headline=True),
        Table([Column(text, help=text), Column("n", kind="share")], [(text, 0.5)], caption=text, sortable=True),
        Figure(DRAWING, text, text),
        Figure(b"\x89PNG\r\n\x1a\n", text, text, half=True),
        Gallery([Picture(JPEG, text, text, file=text, alt=text, tone="bad")], title=text, note=text, strip=True),
        FindingList([finding, Detail(finding, [Prose(text)], title=text, anchor="here", more=text)]),
        Table([Column(text, kind="severity"), Column(text)], [("error", Link(text, "here"))]),
        Gallery([Picture(None, text, text, file=text, alt=text)]),
        Code(text),
        Code(text, summary=text),
    ]
    return Report(text, text, [Section(text, blocks, lead=text)], footer=text)


def test_whatever_the_words_are_they_stay_words() -> None:
    page = render(everything(NASTY))
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") > 20
    outline = parse(page)
    scripts = [attributes for tag, attributes in outline.tags if tag == "script"]
    assert len(scripts) == 1


def test_the_page_asks_the_network_for_nothing_and_forbids_it() -> None:
    outline = parse(render(everything("plain")))
    for tag, attributes in outline.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href"):
            if value := attributes.get(name):
                assert value.startswith(("#", "data:image/")), f"{tag} {name}={value[:50]}"
    policy = next(a["content"] for t, a in outline.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_lets_the_one_script_run() -> None:
    import base64
    import hashlib

    page = render(everything("plain"))
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    expected = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"'sha256-{expected}'" in page


def test_it_can_be_read_without_seeing_and_without_a_mouse() -> None:
    outline = parse(render(everything("plain")))
    tags = [tag for tag, _ in outline.tags]
    assert all(attributes.get("alt") for tag, attributes in outline.tags if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in outline.tags if tag == "svg")
    heads = [attributes for tag, attributes in outline.tags if tag == "th"]
    assert all(attributes.get("scope") in ("col", "row") for attributes in heads)
    sorts = [attributes.get("aria-sort") for attributes in heads if attributes["scope"] == "col"]
    assert sorts == ["none", "none", None, None]  # the second table does not sort
    assert tags.count("button") == 2
    regions = [attributes for tag, attributes in outline.tags if attributes.get("role") == "region"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in regions)
    assert tags.count("h1") == 1


def test_the_contents_lead_to_sections_even_when_titles_repeat_or_are_not_latin() -> None:
    titles = ["Result", "Result", "Résumé & more", "画像", "画像"]
    outline = parse(render(Report("t", "s", [Section(title, []) for title in titles])))
    targets = [attributes["href"] for tag, attributes in outline.tags if tag == "a"][1:]
    anchors = [f"#{attributes['id']}" for tag, attributes in outline.tags if tag == "section"]
    assert targets == anchors == ["#result", "#result-2", "#resume-more", "#section", "#section-2"]


def test_cells_are_aligned_formatted_and_keep_their_value_for_sorting() -> None:
    columns = [
        Column("name"),
        Column("images", kind="count"),
        Column("recall", kind="share"),
        Column("f1", kind="number", digits=3),
    ]
    page = render(Report("t", "s", [Section("S", [Table(columns, [("é", 12345, 2 / 3, None)], sortable=True)])]))
    assert '<th scope="row" data-key="é">é</th>' in page
    assert '<td class="n" data-key="12345">12,345</td>' in page
    assert f'<td class="n bar" data-key="{2 / 3!r}" style="--share:66.7%">66.7</td>' in page
    assert '<td class="n" data-key="">–</td>' in page


def test_a_row_of_the_wrong_length_and_a_figure_without_alt_are_refused() -> None:
    with pytest.raises(ValueError, match="row 2 has 1 cells, expected 2"):
        Table([Column("a"), Column("b")], [(1, 2), (1,)])
    with pytest.raises(ValueError, match="figure 'c' has no alt text"):
        Figure(DRAWING, "c", "")
    with pytest.raises(ValueError, match="expected JPEG, PNG or WebP"):
        render(Report("t", "s", [Section("S", [Gallery([Picture(b"GIF89a", "c")])])]))


def test_findings_come_worst_first_and_long_lists_of_files_are_cut() -> None:
    note = Finding(severity="note", code="n", message="first", fix="")
    error = Finding(severity="error", code="e", message="second", fix="", files=tuple(f"f{i}.jpg" for i in range(205)))
    page = render(Report("t", "s", [Section("S", [FindingList([note, error]), FindingList([], empty="all well")])]))
    assert page.index("second") < page.index("first")
    assert "205 files" in page
    assert "f199.jpg" in page
    assert "f200.jpg" not in page
    assert "and 5 more" in page
    assert "all well" in page


def test_a_finding_at_length_holds_blocks_and_can_be_linked_to() -> None:
    groups = (*((f"a{n}.jpg", f"b{n}.jpg") for n in range(61)), tuple(f"c{n}.jpg" for n in range(20)))
    finding = Finding(severity="error", code="e", message="copied", fix="", groups=groups)
    strip = Gallery([Picture(JPEG, "cat"), Picture(None, "", alt="the file is gone")], title="1", strip=True)
    detail = Detail(finding, [strip, Figure(DRAWING, "c", "c")], title="Copies", anchor="f1", more="and 59 more groups")
    table = Table([Column("s", kind="severity"), Column("what")], [("error", Link("Copies", "f1"))], sortable=True)
    page = render(Report("t", "s", [Section("F1", [table, FindingList([detail])])]))
    parse(page)
    assert '<li class="error" id="f1">' in page
    assert '<a href="#f1">Copies</a>' in page
    assert '<th scope="row" data-key="0 error"><span class="badge error">error</span></th>' in page
    assert '<section id="f1-2"' in page  # the finding's anchor is taken
    assert '<span class="gone">the file is gone</span>' in page
    assert page.index("<h3>Copies</h3>") < page.index("copied") < page.index("<svg") < page.index("and 59 more groups")
    assert "62 groups" in page
    assert "a59.jpg = b59.jpg" in page
    assert "a60.jpg" not in page
    many = Finding(severity="note", code="n", message="m", fix="", groups=groups[-1:])
    assert "= c11.jpg and 8 more<" in render(Report("t", "s", [Section("S", [FindingList([many])])]))
    assert "and 2 more" in page


def test_links_that_lead_nowhere_and_anchors_that_repeat_are_refused() -> None:
    finding = Finding(severity="note", code="n", message="m", fix="")
    table = Table([Column("what")], [(Link("x", "lost"),)])
    with pytest.raises(ValueError, match=r"links lead to \['lost'\], which no finding has"):
        render(Report("t", "s", [Section("S", [table, FindingList([finding])])]))
    twice = [Detail(finding, anchor="a"), Detail(finding, anchor="a")]
    with pytest.raises(ValueError, match="two findings have the same anchor"):
        render(Report("t", "s", [Section("S", [FindingList(twice)])]))


def test_severities_sort_by_how_bad_they_are() -> None:
    rows = [("note",), ("error",), ("warning",)]
    page = render(Report("t", "s", [Section("S", [Table([Column("s", kind="severity")], rows, sortable=True)])]))
    assert re.findall(r'data-key="(\d \w+)"', page) == ["2 note", "0 error", "1 warning"]
    with pytest.raises(ValueError, match=r"severity is 'fatal'; expected one of \('error', 'warning', 'note'\)"):
        render(Report("t", "s", [Section("S", [Table([Column("s", kind="severity")], [("fatal",)])])]))


def test_a_drawing_becomes_part_of_the_page_in_its_colours() -> None:
    drawing = svg.inline(DRAWING, prefix="a-", label="a chart")
    assert "var(--blue)" in drawing
    assert 'id="a-mark"' in drawing
    assert 'href="#a-mark"' in drawing
    assert "url(#a-clip)" in drawing
    assert "a &lt; b" in drawing
    for dropped in ("unused", "metadata", "<style", "font-family", "xlink", "\n"):
        assert dropped not in drawing.replace("\n</svg>", "")
    assert svg.width_px(drawing) == 96


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<script>1</script>", "<script>"),
        ("<foreignObject/>", "<foreignObject>"),
        ('<rect onclick="x()"/>', "event handler onclick"),
        ('<image href="https://example.org/x.png"/>', "must bring everything with it"),
        ('<image href="data:text/html;base64,AA"/>', "must bring everything with it"),
        ('<rect style="fill: url(https://example.org/x)"/>', "must bring everything with it"),
        ("<a href='javascript:1'/>", "<a>"),
        ("<rect", "not SVG"),
    ],
)
def test_a_drawing_that_could_run_or_fetch_something_is_refused(inside: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        svg.inline(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{inside}</svg>', prefix="", label="x")


def test_entities_are_refused_before_they_are_expanded() -> None:
    bomb = '<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    with pytest.raises(ValueError, match="entities"):
        svg.inline(bomb, prefix="", label="x")
