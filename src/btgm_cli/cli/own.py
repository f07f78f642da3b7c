"""Where a user's own YAMLs and modules are found: in the working directory, then or now."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from btgm_cli.cli.targets import TARGET_KEY
from btgm_cli.cli.tree import conf_dir, own_folders, text_of
from btgm_cli.core.blame import is_installed
from btgm_cli.core.errors import SettingError
from btgm_cli.store.checkpoints import is_run, texts

SCHEME = "own"
FILES = (".safetensors", ".pt", ".npy", ".csv")
"""Of checkpoints and data, by the ends of their names."""
PRIMARY = ("run.yaml", "rank.yaml", "train/config.yaml")


class OwnFiles(FileConfigSource):  # Hydra has no public one
    """A folder of a user's, whose `samples/` or `seed/` is no group of options."""

    @staticmethod
    def scheme() -> str:
        """How the search path names it."""
        return SCHEME

    def is_group(self, config_path: str) -> bool:
        """Is there such a folder, and no setting of that name?"""
        return config_path not in _plain() and bool(super().is_group(config_path))


@cache
def _plain() -> frozenset[str]:
    """The settings at the top level that are values, those that a training puts there too."""
    files = [conf_dir() / name for name in PRIMARY]
    trainings = sorted(conf_dir().glob("train/model/*.yaml"))
    files += [file for file in trainings if text_of(file).startswith("# @package _global_")]
    keys = (str(key) for file in files for key in OmegaConf.load(file))
    return frozenset(keys) - {"defaults", "hydra", "model"} | {"out", "resume"}


def search_path() -> list[str]:
    """The override that makes a user's YAMLs in the working directory, or its `conf/`, found.

    By relative paths, for the working directory's own may have quotes and dollars in it.
    """
    Plugins.instance().register(OwnFiles)
    listed = ",".join(f"{SCHEME}://{folder}" for folder in own_folders())
    return [f"hydra.searchpath=[{listed}]"]


def with_search_path(overrides: Sequence[str]) -> list[str]:
    """`overrides`, with the working directory searched unless they say where to search.

    Also lets a `_target_` name a module in the working directory.

    Raises:
        SettingError: a working directory that is no more, or with `${` in its name, which Hydra
            would resolve.
    """
    try:
        here = str(Path.cwd())
    except FileNotFoundError as error:
        raise SettingError("working directory", ".", "is no more: go to another") from error
    if "${" in here:
        raise SettingError("working directory", here, "must have no ${ in its name")
    importable(here)
    if any(override.lstrip("+").startswith("hydra.searchpath") for override in overrides):
        return list(overrides)
    return [*overrides, *search_path()]


def importable(folder: str) -> None:
    """Let modules in a folder be imported.

    It is the last place to look, so that a file there called `scipy.py` is nobody's scipy.
    """
    if folder not in sys.path:
        sys.path.append(folder)


def found_again(settings: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """The settings of an earlier run, with its own modules and checkpoints where they were.

    Args:
        settings: plain data.
        folder: the run's working directory; empty where an older version kept none.

    Returns:
        The settings, each path of a checkpoint or of data in that folder as an absolute one.

    Raises:
        SettingError: a module that is not there, or of which another one is loaded already.
    """
    for place in (folder, str(Path.cwd())):
        importable(place or str(Path.cwd()))
    for name, text in texts(settings):
        if name.rpartition(".")[2] == TARGET_KEY:
            _require_module(name, text, folder)
    rooted: dict[str, Any] = _rooted(settings, Path(folder))
    return rooted


def _require_module(setting: str, target: str, folder: str) -> None:
    """Refuse a target whose module is nowhere, or elsewhere than the run had it."""
    top, spec = target.partition(".")[0], None
    with suppress(ImportError, ValueError, AttributeError):
        spec = find_spec(top)
    if spec is None:
        gone = "" if not folder or Path(folder).is_dir() else ", which is no more,"
        there = f"in {folder}{gone}, where the run was started, nor " if folder else ""
        text = f"there is no module {top} {there}in the working directory {Path.cwd()}"
        raise SettingError(setting, target, text)
    own = [place for place in (f"{top}.py", f"{top}/__init__.py") if Path(folder, place).is_file()]
    if not folder or not own or not spec.origin or is_installed(spec.origin):
        return
    meant = Path(folder, own[0])
    if not Path(spec.origin).exists() or not meant.samefile(spec.origin):
        text = f"the run had {meant}, and {spec.origin} comes first here: go to another folder"
        raise SettingError(setting, target, text)


def _rooted(node: Any, folder: Path) -> Any:
    """The same, with relative paths of checkpoints, data and runs in `folder` as absolute ones."""
    if isinstance(node, Mapping):
        return {key: _rooted(value, folder) for key, value in node.items()}
    if isinstance(node, list):
        return [_rooted(value, folder) for value in node]
    if isinstance(node, str):
        with suppress(OSError, ValueError):  # any text may stand there
            kept = node.endswith(FILES) and (folder / node).is_file()
            return str(folder / node) if kept or is_run(folder / node) else node
    return node
