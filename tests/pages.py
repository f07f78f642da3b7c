"""What every page must be, by its text alone: whole, self-contained, and open to all readers."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Elements in order, the text of each page, and tags that were not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.words, self.open, self.faults = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def checked(text: str, beside: Path | None = None) -> Page:
    """The page, once it is known to be well-formed, self-contained and accessible.

    Args:
        text: of the page.
        beside: the folder whose files it may link to.
    """
    page = Page(text)
    assert not page.faults
    assert not page.open
    assert page.all("html")[0]["lang"] == "en"
    headings = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip([0, *headings], headings, strict=False)), headings
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.elements:
        for name in {"src", "href", "srcset", "action"} & set(attrs):
            kept = attrs[name].startswith(("data:", "#"))
            assert kept or (beside and (beside / attrs[name]).is_file()), attrs[name][:80]
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    assert all(image["alt"].strip() for image in page.all("img"))
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert "default-src 'none'" in page.all("meta")[2]["content"]
    return page


def embedded(uri: str) -> bytes | ElementTree.Element:
    """What a data URI holds: a PNG's bytes, or the root of an SVG."""
    kind, _, content = uri.partition(";base64,")
    data = base64.b64decode(content, validate=True)
    if kind == "data:image/svg+xml":
        return ElementTree.fromstring(data)
    assert kind == "data:image/png"
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return data
