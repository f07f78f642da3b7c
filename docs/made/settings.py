"""All settings of all commands, by the comments of `conf/` and the docstrings of what they set."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

from docs.made.docstrings import meanings, summary, table

from btgm_cli.cli import COMMANDS
from btgm_cli.cli.job import RunOptions
from btgm_cli.cli.tree import choices, conf_dir, text_of
from btgm_cli.core.target import Target
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuning.settings import Tuning

ENTRY = re.compile(r"^(\w+):[ ]*([^#\n]*?)[ ]*(?:#[ ]*(.*))?$", re.MULTILINE)
GROUP = re.compile(r"^  - (\w+): \w+$", re.MULTILINE)
TARGET = re.compile(r"^ *_target_: ([\w.]+)\.(\w+)$", re.MULTILINE)

DATACLASSES: dict[str, type] = {"target": Target, "tuning": Tuning, "verdict": Thresholds}
"""Groups that set one dataclass, whatever the option."""

WITH_A_FILE = ("rank", "audit", "calibrate")
"""Commands with a configuration file of their own, beside `run` and `train`."""

Row = tuple[str, str, str]
"""A setting, its default, and what it does; empty where nothing says."""


def settings() -> str:
    """A section for each command, and within `btgm run` one for each group."""
    parts = [f"## btgm run\n\n{_table(run_settings())}"]
    parts += [f"### {group}\n\n{_group(group)}" for group in groups()]
    for name in WITH_A_FILE:
        parts.append(f"## btgm {name}\n\n{_table(rows(conf_dir() / f'{name}.yaml'))}")
    parts.append(f"## btgm train\n\n{_table(train_settings())}")
    parts += [f"### model={name}\n\n{_network(name)}" for name in choices("train/model")]
    with_help = [name for name in COMMANDS if name not in ("run", "train", "list", *WITH_A_FILE)]
    parts += [f"## btgm {name}\n\n{_help(name)}" for name in with_help]
    parts += [
        f"### {name}\n\n{_plain(conf_dir() / 'data' / f'{name}.yaml')}" for name in choices("data")
    ]
    return "\n\n".join(parts)


def groups() -> list[str]:
    """The groups of `btgm run`, in the order of its defaults."""
    return GROUP.findall(text_of(conf_dir() / "run.yaml"))


def run_settings() -> list[Row]:
    """Those of `btgm run` beside its groups."""
    return rows(conf_dir() / "run.yaml", kind=RunOptions)


def train_settings() -> list[Row]:
    """Those of `btgm train` beside the network's."""
    return rows(conf_dir() / "train" / "config.yaml", kind=RunSettings, docstring_first=True)


def dataclass_settings(group: str) -> list[Row]:
    """Those of a group that sets one dataclass."""
    file, kind = conf_dir() / group / "default.yaml", DATACLASSES[group]
    return rows(file, f"{group}.", kind, docstring_first=True)


def network_settings(name: str) -> list[Row]:
    """Those of a network that `btgm train` makes."""
    file = conf_dir() / "train" / "model" / f"{name}.yaml"
    kind = getattr(_named(text_of(file)), "settings_class", None)
    found = rows(file, "" if _is_global(file) else "model.", kind, docstring_first=True)
    return found + rows(file, "model.", kind, docstring_first=True, indent="  ")


def rows(
    file: Path,
    prefix: str = "",
    kind: object = None,
    *,
    docstring_first: bool = False,
    indent: str = "",
) -> list[Row]:
    """The settings of a file, by its comments and the docstring of what they set.

    Args:
        file: of `conf/`.
        prefix: of the settings' names.
        kind: whose docstring it is; by default that of the file's `_target_`.
        docstring_first: does the docstring say more than a comment?
        indent: of the lines to read.
    """
    text = text_of(file)
    said = meanings(kind or _named(text))
    found = []
    for line in text.splitlines():
        entry = ENTRY.fullmatch(line.removeprefix(indent)) if line.startswith(indent) else None
        if entry and entry[2] and not entry[1].startswith("_"):
            told = (said.get(entry[1], ""), entry[3] or "")
            best = next(filter(None, told if docstring_first else reversed(told)), "")
            found.append((f"{prefix}{entry[1]}", entry[2], best))
    return found


def about(file: Path) -> str:
    """What the first comment of a file says, but for Hydra's own."""
    lines = [line.strip("# ") for line in text_of(file).splitlines() if line.startswith("#")]
    return next(line for line in lines if not line.startswith("@"))


def _group(group: str) -> str:
    files = [conf_dir() / group / f"{name}.yaml" for name in choices(group)]
    if group in DATACLASSES:
        parts = [summary(DATACLASSES[group]), _table(dataclass_settings(group))]
        parts += [_changes(group, file) for file in files if file.stem != "default"]
        return "\n\n".join(parts)
    if len(files) == 1:
        return _plain(files[0], f"{group}.")
    lines = [(f"`{file.stem}`", about(file), _own(group, file)) for file in files]
    return table((f"`{group}=`", "what", "its settings"), lines)


def _changes(group: str, file: Path) -> str:
    """What another option changes of the default one."""
    changed = ", ".join(f"`{name}={value}`" for name, value, _ in rows(file, f"{group}."))
    return f"`{group}={file.stem}`: {about(file)} {changed}."


def _own(group: str, file: Path) -> str:
    """An option's own settings, in one cell."""
    own = [] if _is_global(file) else rows(file, f"{group}.")
    return "<br>".join(f"`{name}={value}` {what}".rstrip() for name, value, what in own)


def _network(name: str) -> str:
    file = conf_dir() / "train" / "model" / f"{name}.yaml"
    return f"{about(file)}\n\n{_table(network_settings(name))}"


def _plain(file: Path, prefix: str = "") -> str:
    """What a file is, and its settings."""
    return f"{about(file)}\n\n{_table(rows(file, prefix))}"


def _table(found: list[Row]) -> str:
    lines: list[tuple[str, ...]] = [
        (f"`{name}`", f"`{value}`", what) for name, value, what in found
    ]
    return table(("setting", "default", "what"), lines)


def _help(command: str) -> str:
    """What `btgm COMMAND --help` prints of a command whose settings are in no file."""
    usage: str = import_module(f"btgm_cli.cli.{command.replace('-', '_')}").USAGE
    return f"```text\n{usage}\n```"


def _is_global(file: Path) -> bool:
    """Does it set what is outside of its group?"""
    return "@package _global_" in text_of(file)


def _named(text: str) -> object:
    """The class or function that a file names; None where it names none."""
    found = TARGET.search(text)
    return getattr(import_module(found[1]), found[2]) if found else None
