"""The sweeps that a command is asked about, by their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from btgm_cli.cli.settings import path_of
from btgm_cli.core.errors import SettingError
from btgm_cli.store.sweeps import Planned, read_plan


def sweeps_named(command: str, names: Sequence[str]) -> dict[Path, list[Planned]]:
    """The jobs of each sweep, by its folder.

    Raises:
        SettingError: no folder, or one without a sweep.
        DataError: a damaged plan of a sweep.
    """
    if not names:
        raise SettingError(command, "", "name the folder of a sweep")
    return {path_of(name): read_plan(path_of(name)) for name in names}
