"""Between plain results and rows of a table: nested dataclasses as flat columns, and back.

A column takes the field's name, or the one that it is annotated with. Several numbers or words
share a cell, a space between them. What is a dictionary, such as a network's weights, has no
column.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

ResultT = TypeVar("ResultT")


def row_of(result: Any) -> dict[str, Any]:
    """The columns of a dataclass, those of the dataclasses in it among them."""
    row: dict[str, Any] = {}
    for name, (column, _) in _columns(type(result)).items():
        value = getattr(result, name)
        if is_dataclass(value):
            row |= row_of(value)
        elif not isinstance(value, dict):
            row[column] = _cell(value)
    return row


def result_of(kind: type[ResultT], row: Mapping[str, Any], **given: Any) -> ResultT:
    """The dataclass that `row_of` flattened, each field of its own type.

    Args:
        kind: of the dataclass.
        row: as read from a table, where whole numbers may have become floats.
        given: fields that have no column.

    Raises:
        KeyError: a column is missing.
        ValueError: a cell that is not of its field's type.
    """
    values = dict(given)
    for name, (column, hint) in _columns(kind).items():
        if name in given:
            continue
        nested = is_dataclass(hint)
        values[name] = result_of(hint, row) if nested else cell_as(hint, row[column], column)
    return kind(**values)


def row_hash(kind: type[ResultT], row: Mapping[str, Any], **given: Any) -> str:
    """SHA-256 of a row's content, the same before it is written and after it is read."""
    content = row_of(result_of(kind, row, **given))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def columns_of(kind: type) -> list[str]:
    """The columns of a dataclass, those of the dataclasses in it among them."""
    names: list[str] = []
    for column, hint in _columns(kind).values():
        if is_dataclass(hint):
            names += columns_of(cast(type, hint))
        elif get_origin(hint) is not dict:
            names.append(column)
    return names


def cell_as(hint: Any, cell: Any, column: str) -> Any:
    """A cell as the type that its column declares.

    Raises:
        ValueError: names the column and the cell.
    """
    try:
        return _parsed(hint, cell)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{column}={cell!r} cannot be used") from error


def numbers_of(cell: object) -> tuple[float, ...]:
    """A cell of several numbers."""
    return tuple(map(float, _words(cell)))


def _columns(kind: type) -> dict[str, tuple[str, Any]]:
    """Each field's column and type."""
    columns = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        annotated = get_origin(hint) is Annotated
        columns[name] = (hint.__metadata__[0], hint.__origin__) if annotated else (name, hint)
    return columns


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(part if isinstance(part, str) else repr(part) for part in value)
    return str(value) if isinstance(value, StrEnum) else value


def _parsed(hint: Any, cell: Any) -> Any:
    """A cell as its field's type."""
    if get_origin(hint) is tuple:
        return tuple(get_args(hint)[0](word) for word in _words(cell))
    if hint is str:
        return "" if _is_empty(cell) else str(cell)
    if hint is bool:
        return _flag(cell)
    return hint(cell)


def _words(cell: object) -> list[str]:
    """What shares a cell; a column of single numbers is read as one of floats."""
    return [] if _is_empty(cell) else str(cell).split()


def _is_empty(cell: object) -> bool:
    """Pandas reads an empty cell as NaN."""
    return isinstance(cell, float) and math.isnan(cell)


def _flag(cell: object) -> bool:
    if str(cell) not in ("True", "False"):
        raise ValueError(f"{cell!r} is neither True nor False")
    return str(cell) == "True"
