"""What docstrings in Google style say of arguments and attributes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ ].*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def meanings(kind: object) -> dict[str, str]:
    """Each argument or attribute that the docstring names, in one line; of its bases too."""
    found: dict[str, str] = {}
    for each in reversed(inspect.getmro(kind) if isinstance(kind, type) else [kind]):
        for section in SECTION.findall(inspect.cleandoc(each.__doc__ or "") + "\n"):
            found |= {name: _line(text) for name, text in ENTRY.findall(section)}
    return found


def summary(kind: object) -> str:
    """What the docstring says before its first section."""
    text = inspect.cleandoc(kind.__doc__ or "")
    return re.split(r"^[A-Z]\w+:\n", text, maxsplit=1, flags=re.MULTILINE)[0].strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _line(text: str) -> str:
    """The text in one line, without the full stop of a single sentence."""
    line = " ".join(text.split())
    return line if ". " in line else line.removesuffix(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
