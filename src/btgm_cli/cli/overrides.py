"""What is wrong with overrides that Hydra refuses, found by looking at the configuration tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from btgm_cli.cli.settings import unknown
from btgm_cli.core.errors import SettingError

HYDRAS = "hydra."
ONE_VALUE = "must be one value"
REFUSALS = (
    *(HydraException, OmegaConfBaseException, ValueError, OSError, YAMLError),
    RecursionError,  # of options that name each other
)
"""What composing a configuration raises."""


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Each override as Hydra reads it; Hydra must be initialized.

    Raises:
        SettingError: one that Hydra cannot read.
    """
    parser = OverridesParser.create(config_loader=_loader())
    found = []
    for item in overrides:
        try:
            found.append(parser.parse_override(item))
        except HydraException as error:
            raise SettingError("override", item, line_of(error)) from error
        found[-1].config_loader = parser.config_loader  # which a glob looks into
    return found


def each_job(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of each job of a sweep, in the order of Hydra's basic sweeper.

    Raises:
        SettingError: an override that cannot be read or swept over.
    """
    swept: dict[str, list[str]] = {}
    for override in parsed(overrides):
        key = override.get_key_element()
        if not override.is_sweep_override():
            values = [override.get_value_element_as_str()]
        elif override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
        else:
            expected = "must be a list of values to sweep over, such as 0.5,1,2"
            raise SettingError(key, _text(override), expected)
        if not values:
            expected = "is a sweep of no jobs: nothing there has such a name or value"
            raise SettingError(key, _text(override), expected)
        swept[key] = [f"{key}={value}" for value in values]
    for job in product(*swept.values()):
        yield list(job)


def refuse_hydras(overrides: Sequence[str]) -> None:
    """Refuse settings of Hydra itself, for a command that leaves their work to nobody.

    Raises:
        SettingError: names the first one.
    """
    for item in overrides:
        key, _, value = item.lstrip("+~").partition("=")
        if key.startswith((HYDRAS, "hydra/")):
            raise SettingError(key, value, "unknown setting: only btgm run takes Hydra's own")


def refuse_removed(overrides: Sequence[str]) -> None:
    """Refuse to take away, or to make a list of, what a configuration is made of.

    Hydra must be initialized.

    Raises:
        SettingError: names the first one.
    """
    for item in parsed(overrides):
        if item.is_delete() and item.key_or_group.count(".") < 2 and not item.package:
            raise SettingError(item.key_or_group, "~", "cannot be taken away: give it a value")
        if item.key_or_group == "hydra.searchpath":
            _check_folders(item)
        if item.key_or_group == "hydra.mode":
            raise _refused(item, "cannot be set: add -m for a sweep, and nothing for one run")
        if isinstance(item.value(), list) and item.key_or_group in _loader().list_groups(""):
            raise _refused(item, "must be one option, and no list")


def fault(name: str, overrides: Sequence[str], error: Exception) -> SettingError:
    """Which override made `compose` raise `error`, its value and the choices; Hydra as above.

    Args:
        name: of the primary configuration.
        overrides: all of them, the search path among them.
        error: what Hydra raised, for what looking does not tell.
    """
    searched = [item for item in overrides if item.startswith(f"{HYDRAS}searchpath=")]
    tree, typed = _Tree(name, searched), [item for item in overrides if item not in searched]
    try:
        items = parsed(overrides)
        groups = [item for item in items if tree.chooses(item)]
        values = [item for item in items if item not in groups]
        for item in groups:
            _check_option(item, tree)
        cfg, stray = tree.composed(groups)
        known = tree.settings(cfg)
        if stray:
            return _refused(stray, tree.stray(stray, known))
        for item in values:
            _check_place(item, cfg, known, tree)
    except SettingError as found:
        return found
    except REFUSALS as other:  # of the tree itself: of where it is searched for, or its files
        return SettingError("settings", " ".join(typed), line_of(other))
    return tree.refused(groups, values) or SettingError("settings", name, line_of(error))


class _Tree:
    """The configuration tree, with the folders that `searched` names.

    Args:
        name: of the primary configuration.
        searched: Hydra's own overrides, which say where to search.
    """

    def __init__(self, name: str, searched: list[str]) -> None:
        self.name, self.searched = name, searched

    @property
    def one_value(self) -> str:
        """What to tell of several values."""
        return "must be one value; add -m for a sweep" if self.name == "run" else ONE_VALUE

    def stray(self, item: Override, known: list[str]) -> str:
        """What to tell of a chosen option that cannot be composed."""
        if item.get_key_element() not in known:
            return unknown(item.get_key_element(), known)
        return line_of(self.refusal([*self.searched, str(item.input_line)]) or Exception())

    def options(self, group: str, kind: ObjectType = ObjectType.CONFIG) -> list[str]:
        """The options of a group, or with another kind the groups within it."""
        return _loader().get_group_options(
            group, kind, config_name=self.name, overrides=self.searched
        )

    def chooses(self, item: Override) -> bool:
        """Does this override choose an option of a group?"""
        parent, _, leaf = item.key_or_group.rpartition("/")
        is_group = leaf in self.options(parent, ObjectType.GROUP)
        return is_group and not isinstance(item.value(), dict)

    def composed(self, groups: Sequence[Override]) -> tuple[DictConfig, Override | None]:
        """The configuration under the chosen groups, and the first that has no place in it."""
        taken, left = list(self.searched), list(groups)
        with suppress(*REFUSALS):  # most often all have one
            together = [*taken, *(str(item.input_line) for item in left)]
            return compose(self.name, together, return_hydra_config=True), None
        while left:
            lines = {str(item.input_line): item for item in left}
            fitting = next((line for line in lines if not self.refusal([*taken, line])), None)
            if fitting is None:
                break
            taken.append(fitting)
            left.remove(lines[fitting])
        cfg = compose(self.name, taken, return_hydra_config=True)
        return cfg, left[0] if left else None

    def settings(self, cfg: DictConfig) -> list[str]:
        """What can be set at the top level."""
        chosen = [str(group) for group in cfg.hydra.runtime.choices]
        groups = [group for group in chosen if "/" not in group and "@" not in group]
        own = [str(key) for key in cfg if key != "hydra"]
        return list(dict.fromkeys([*own, *groups, *(["out"] if self.name == "run" else [])]))

    def refused(
        self, groups: Sequence[Override], values: Sequence[Override]
    ) -> SettingError | None:
        """The first override of a value that Hydra refuses after those before it."""
        taken = [*self.searched, *(str(item.input_line) for item in groups)]
        for item in values:
            taken.append(str(item.input_line))
            if error := self.refusal(taken):
                return SettingError("override", item.input_line, line_of(error))
        return None

    def refusal(self, overrides: list[str]) -> Exception | None:
        """What Hydra raises under these overrides, if it does."""
        try:
            compose(self.name, overrides)
        except REFUSALS as error:
            return error
        return None


def _check_option(item: Override, tree: _Tree) -> None:
    """Refuse an override that names no option of its group."""
    options = tree.options(item.key_or_group)
    if item.is_sweep_override():
        raise _refused(item, tree.one_value)
    value = "null" if item.value() is None else str(item.value())
    if not item.is_delete() and value not in options:
        raise SettingError(item.get_key_element(), value, unknown(value, options, "unknown"))


def _check_folders(item: Override) -> None:
    """Refuse a search path with a folder that is none."""
    value: Any = item.value()
    for place in value if isinstance(value, list) else [value]:
        scheme, _, rest = str(place).rpartition("://")
        if scheme in ("", "file") and not Path(rest).is_dir():
            raise _refused(item, f"must be a list of folders; there is no {rest}")


def _check_place(item: Override, cfg: DictConfig, top: list[str], tree: _Tree) -> None:
    """Refuse an override of a value that has no place in `cfg`."""
    if item.is_sweep_override():
        raise _refused(item, tree.one_value)
    node: Any = cfg
    for depth, part in enumerate(item.key_or_group.split(".")):
        known = [str(key) for key in node] if OmegaConf.is_dict(node) else []
        if part not in known:
            beside = top if depth == 0 else [key for key in known if not key.startswith("_")]
            if item.is_add() or item.is_force_add():
                return
            expected = unknown(part, beside) if beside else "there is no such setting"
            for choice in cfg.hydra.runtime.choices:  # of a criterion within one, perhaps
                if depth == 0 and "@" in choice and choice.rpartition(".")[2] == part:
                    expected = f"unknown setting (did you mean {choice}=NAME?)"
            raise _refused(item, expected)
        node = OmegaConf.select(node, part, throw_on_resolution_failure=False)
    value: Any = item.value()
    for key in value if isinstance(value, dict) and OmegaConf.is_dict(node) else ():
        if key not in node:
            expected = unknown(str(key), [str(each) for each in node])
            raise SettingError(f"{item.key_or_group}.{key}", value[key], expected)
    if item.is_add() and node is not None:
        raise _refused(item, "is a setting already: leave out the +")


def _refused(item: Override, expected: str) -> SettingError:
    key = item.key_or_group if item.is_add() else item.get_key_element()
    return SettingError(key, _text(item), expected)


def _text(item: Override) -> str:
    """The value as it was typed."""
    return str(item.input_line).partition("=")[2]


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


def line_of(error: Exception) -> str:
    """What a library's exception says first."""
    if isinstance(error, YAMLError):  # its file and place come later
        return " ".join(str(error).split())
    return (str(error) or type(error).__name__).splitlines()[0]
