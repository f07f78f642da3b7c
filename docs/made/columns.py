"""The columns of `pareto.csv`, by the docstrings of what stands in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from docs.made.docstrings import meanings, table

from btgm_cli.core.results import PathPoint

HEADS = {
    "Moments": "What the tuned model has reached",
    "Reference": "The exact tilt at the same β",
    "Figures": "How far the two are apart",
    "Effort": "What it cost",
    "Verdict": "The verdict",
    "PathPoint": "A sum whose weights were solved for",
}
"""Of the dataclasses that a row is made of; another one has its name for a heading."""


def columns() -> str:
    """A section for each dataclass of a row, with a table of its columns."""
    return "\n\n".join(
        f"## {HEADS.get(kind.__name__, kind.__name__)}\n\n"
        + table(("column", "what it has"), [(f"`{name}`", what) for name, what in found])
        for kind, found in explained(PathPoint)
        if found
    )


def explained(kind: type) -> Iterator[tuple[type, list[tuple[str, str]]]]:
    """Each dataclass within `kind`, itself the last, with its columns and what they mean."""
    said, own = meanings(kind), []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        plain, column = _plain(hint, name)
        if is_dataclass(plain):
            yield from explained(plain)  # type: ignore[arg-type]
        elif get_origin(plain) is not dict:
            own.append((column, said.get(name) or _error_of(column)))
    yield kind, own


def _plain(hint: Any, name: str) -> tuple[Any, str]:
    """A field's type without its annotation, and its column."""
    return get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, name)


def _error_of(column: str) -> str:
    """What a column of an error has; empty for another, which a docstring has to explain."""
    of, is_error, _ = column.rpartition("_se")
    return f"standard error of `{of}`" if is_error else ""
