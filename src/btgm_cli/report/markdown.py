"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and none before zero."""
    return f"{value:z.{digits}f}".replace("-", "−")
