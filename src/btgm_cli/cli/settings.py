"""From a configuration node, or `KEY=VALUE` arguments, to a checked settings object.

OmegaConf's structured configurations would turn "10" into 10, 1 into true and 3 into "3", and know
an enum by its name alone. Here a value is of the type that the dataclass declares, or is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from btgm_cli.core.errors import SettingError

KindT = TypeVar("KindT")

WORDS: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path", "paths"),
}
"""What messages call a value of each type, and several of them."""

LARGEST = 2**63 - 1
"""Of whole numbers: what a tensor can hold."""

CONSTANTS = {"true": True, "false": False, "null": None}


def checked(kind: type[KindT], values: Mapping[str, Any], prefix: str = "") -> KindT:
    """`values` as a `kind`, a dataclass: each of the type that its field declares.

    An int serves as a float, a list as a tuple, the value of an enum as its member and text as a
    path; nothing else is converted, and no NaN is taken.

    Args:
        kind: the dataclass; what it checks itself comes after the types.
        values: by the names of its fields.
        prefix: of the settings' names in messages, such as `tuning.`.

    Raises:
        SettingError: an unknown setting, one that is missing, or a value of another type.
    """
    types = get_type_hints(kind)
    declared = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    for name, field in declared.items():
        if name not in values and field.default is field.default_factory is MISSING:
            raise SettingError(f"{prefix}{name}", None, "must be given")
    fitting = {}
    for name, value in values.items():
        if name not in declared:
            raise SettingError(f"{prefix}{name}", value, unknown(name, declared))
        if isinstance(value, int) and abs(value) > LARGEST:
            raise SettingError(f"{prefix}{name}", value, f"must be at most {LARGEST} in size")
        try:
            fitting[name] = _fit(value, types[name])
        except ValueError:
            raise SettingError(f"{prefix}{name}", value, _expected(types[name])) from None
    return kind(**fitting)


def apart(typed: Sequence[str], kind: type) -> tuple[list[str], list[str]]:
    """`KEY=VALUE` arguments that name a field of a dataclass, and the rest."""
    own = {field.name for field in fields(kind)}
    parts: tuple[list[str], list[str]] = ([], [])
    for item in typed:
        parts[item.partition("=")[0] not in own].append(item)
    return parts


def require_none_of(typed: Sequence[str], groups: Sequence[str], expected: str) -> None:
    """Refuse arguments of these groups.

    Raises:
        SettingError: the first of them, with what is expected instead.
    """
    for item in typed:
        name, _, value = item.partition("=")
        if name.partition(".")[0] in groups:
            raise SettingError(name, value, expected)


def arguments(argv: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` arguments by their keys; the last one counts.

    Values are read as in a configuration file: numbers, true, false, null, [lists] of these, and
    else text.

    Raises:
        SettingError: an argument without a key or a value.
    """
    values: dict[str, Any] = {}
    for argument in argv:
        key, equals, text = argument.partition("=")
        if not (key and equals):
            raise SettingError(argument, "", "must be given as SETTING=VALUE")
        values[key] = _literal(text)
    return values


def require_least(settings: object, **least: float) -> None:
    """Refuse the first of these settings that is given and below its least.

    Raises:
        SettingError: names it.
    """
    for name, smallest in least.items():
        value = getattr(settings, name)
        if value is not None and value < smallest:
            raise SettingError(name, value, f"must be {smallest} or more")


def path_of(text: str | Path) -> Path:
    """The path, a `~` at its start as the home directory where there is one."""
    with suppress(RuntimeError):
        return Path(text).expanduser()
    return Path(text)


def unknown(name: str, known: Iterable[str], text: str = "unknown setting") -> str:
    """What to tell of a name that is none of `known`: the closest one, and all."""
    close = get_close_matches(name, list(known), n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{text}{hint}; choose from {', '.join(known)}"


def misfit(value: Any, kind: Any) -> str:
    """What a value must be, where it is not of this declared type; empty where it is, or may be.

    Types that no configuration can spell, such as a criterion, are let pass.
    """
    try:
        if _is_plain(kind):
            _fit(value, kind)
    except ValueError:
        return _expected(kind)
    return ""


def _is_plain(kind: Any) -> bool:
    """Is a type one of text, numbers and lists and mappings of these?"""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return all(_is_plain(part) for part in inner)
    if isinstance(origin, type) and issubclass(origin, Mapping | Sequence) and inner:
        return inner[issubclass(origin, Mapping)] in WORDS
    return origin in (*WORDS, NoneType)


def _fit(value: Any, kind: Any) -> Any:
    """The value as `kind`; a ValueError where it is none."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        for part in inner:
            with suppress(ValueError):
                return _fit(value, part)
    elif origin in (int, float):  # a bool is an int to Python
        if type(value) in (int, origin) and not math.isnan(value):
            return value
    elif issubclass(origin, Enum):
        return origin(value)
    elif inner:
        return _fit_each(value, origin, inner)
    elif origin is Path:
        if isinstance(value, str | Path) and value != "":
            return path_of(value)
    elif isinstance(value, origin):
        return value
    raise ValueError


def _fit_each(value: Any, origin: Any, inner: Sequence[Any]) -> Any:
    """The same of what a mapping, a list or a tuple holds."""
    if issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {_fit(key, inner[0]): _fit(item, inner[1]) for key, item in value.items()}
    if issubclass(origin, Sequence) and isinstance(value, list | tuple):
        items = [_fit(item, inner[0]) for item in value]
        return tuple(items) if origin is tuple else items
    raise ValueError


def _expected(kind: Any) -> str:
    """What a value of this type must be, in plain words."""
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_expected(part) for part in inner if part is not NoneType)
    if issubclass(origin, Enum):
        return f"choose one of {', '.join(str(member.value) for member in origin)}"
    if issubclass(origin, Mapping):
        return f"must be {{NAME: {WORDS[inner[1]][0].split()[-1].upper()}, …}}"
    if inner:
        return f"must be a list of {WORDS[inner[0]][1]}"
    return f"must be {WORDS[origin][0]}"


def _literal(text: str) -> Any:
    if text in CONSTANTS:
        return CONSTANTS[text]
    if text.startswith("[") and text.endswith("]"):
        return [_literal(part.strip()) for part in text[1:-1].split(",") if part.strip()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
