"""What the `_target_` of a configuration's node names: found, its arguments checked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.settings import misfit, unknown
from btgm_cli.core.blame import name_of, told
from btgm_cli.core.errors import SettingError

TARGET_KEY = "_target_"


def parts(node: Any, setting: str) -> Iterator[tuple[DictConfig, str]]:
    """A node and all within it that have a `_target_`, with their names."""
    if isinstance(node, DictConfig):
        if TARGET_KEY in node:
            yield node, setting
        for key in node:
            yield from parts(node[key], f"{setting}.{key!s}")


def named(node: DictConfig, setting: str) -> Any:
    """The class or function that a node names.

    Raises:
        SettingError: there is none, or its module cannot be imported.
    """
    try:
        return resolve_name(str(node[TARGET_KEY]))
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SettingError(f"{setting}.{TARGET_KEY}", node[TARGET_KEY], told(error)) from error


def takes_of(target: Any) -> list[str] | None:
    """The names of the arguments of a class or function; None where it takes or tells any."""
    parameters = _parameters(target)
    if parameters is None or any(item.kind is item.VAR_KEYWORD for item in parameters):
        return None
    unnamed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return [item.name for item in parameters if item.kind not in unnamed]


def check_arguments(node: DictConfig, setting: str) -> None:
    """Refuse settings that what a node names does not take, or declares to be of another type.

    Raises:
        SettingError: names the first one.
    """
    target = named(node, setting)
    takes, types = takes_of(target), _types(target)
    for key in map(str, node):
        if takes is not None and key not in takes and not _is_special(key):
            text = f"{node[TARGET_KEY]} takes no such setting"
            raise SettingError(f"{setting}.{key}", node[key], unknown(key, takes, text))
        value = OmegaConf.to_container(node[key]) if OmegaConf.is_config(node[key]) else node[key]
        if key in types and (expected := misfit(value, types[key])):
            raise SettingError(f"{setting}.{key}", value, expected)


def unbuilt(node: DictConfig, setting: str, error: BaseException) -> SettingError:
    """Why what a node names could not be made, which raised `error`."""
    target = named(node, setting)
    given = {str(key): node[key] for key in node if not _is_special(str(key))}
    missing = [item.name for item in _parameters(target) or () if _is_needed(item, given)]
    if missing and not node.get("_partial_"):
        expected = f"needs {', '.join(missing)}"
        if inspect.isroutine(target):
            expected += "; a function of x needs _partial_: true in its YAML"
    else:
        made = ", ".join(f"{key}={value!r}" for key, value in given.items())
        expected = f"cannot be made{' with ' if made else ''}{made} ({told(error)})"
    return SettingError(setting, name_of(target), expected)


def _types(target: Any) -> dict[str, Any]:
    """The declared types of the arguments, as far as they can be told."""
    try:
        return get_type_hints(
            getattr(target, "__init__", target) if inspect.isclass(target) else target
        )
    except Exception:  # a user's annotations may name anything
        return {}


def _parameters(target: Any) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None


def _is_needed(item: inspect.Parameter, given: dict[str, Any]) -> bool:
    named_ones = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return item.default is item.empty and item.kind in named_ones and item.name not in given


def _is_special(key: str) -> bool:
    """Is it Hydra's, such as `_partial_`?"""
    return key.startswith("_") and key.endswith("_")
