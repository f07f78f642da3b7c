"""Which page stands where in the navigation: a new page is there once its file is."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]

PLACES = ("*.md", "docs/*.md", "experiments/*/README.md")
"""Where pages lie, from the root."""

GROUPS = {
    "Begin": ("docs/ten_minutes.md", "docs/method.md", "docs/verdicts.md"),
    "Use": (
        *(
            "docs/commands.md",
            "docs/draws.md",
            "docs/probabilities.md",
            "docs/criteria.md",
            "docs/models.md",
        ),
        "experiments/own_*/*",
    ),
    "Look up": (
        *("docs/run_directory.md", "docs/columns.md", "docs/settings.md", "docs/api.md"),
        "docs/*",
    ),
    "The paper's figures": ("experiments/fig*/*",),
    "Measured": ("docs/measured.md", "experiments/default_run/*", "experiments/*"),
    "The project": ("*.md",),
}
"""Titles with patterns: a page stands where one is its path, else where the first fits."""


def pages() -> list[str]:
    """All pages but the first, by their paths from the root."""
    found = [path for place in PLACES for path in ROOT.glob(place)]
    return sorted((str(path.relative_to(ROOT)) for path in found), key=_by_number)


def groups() -> dict[str, list[str]]:
    """The pages of each title, in the order of its patterns."""
    left = [page for page in pages() if page != "README.md"]
    placed: dict[str, list[tuple[int, str]]] = {title: [] for title in GROUPS}
    for page in left:
        title, place = _place(page)
        placed[title].append((place, page))
    return {
        title: [page for _, page in sorted(found, key=lambda item: (item[0], _by_number(item[1])))]
        for title, found in placed.items()
    }


def navigation() -> str:
    """The tables of contents behind the first page, as MyST has them."""
    return "\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *found, "```", ""])
        for title, found in groups().items()
        if found
    )


def _place(page: str) -> tuple[str, int]:
    """Title and place within it: a pattern that is the page itself counts before one that fits."""
    fits = [
        (pattern != page, title, place)
        for title, patterns in GROUPS.items()
        for place, pattern in enumerate(patterns)
        if fnmatch(page, pattern)
    ]
    _, title, place = min(fits, key=lambda fit: fit[0])
    return title, place


def _by_number(page: str) -> tuple[str, int, str]:
    """Fig. 10 comes after Fig. 9."""
    text, number, rest = re.fullmatch(r"(\D*)(\d*)(.*)", page).groups()  # type: ignore[union-attr]
    return text, int(number or 0), rest
