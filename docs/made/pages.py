"""What pages have that is not written but made from the code and the configuration."""

from __future__ import annotations

from docs.made.columns import columns
from docs.made.navigation import navigation
from docs.made.settings import settings

MADE = {"README.md": navigation, "docs/columns.md": columns, "docs/settings.md": settings}


def made(page: str) -> str:
    """Markdown that follows the text of a page; empty for most.

    Args:
        page: its path from the root.
    """
    return f"\n{MADE[page]()}\n" if page in MADE else ""
