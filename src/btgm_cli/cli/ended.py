"""A run that others build on, such as a figure: taken as it is, gone on with, or made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from btgm_cli.cli import run
from btgm_cli.cli.loading import load_run
from btgm_cli.core.errors import BtgmError
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import MANIFEST
from btgm_cli.store.runs import SUMMARY
from btgm_cli.store.sweeps import note_failure


def ended_run(path: Path, asked: Sequence[str]) -> LoadedRun:
    """The run in a directory: as it is if it is finished, else made as asked, or gone on with.

    Args:
        path: its directory.
        asked: settings of `btgm run`, but for the directory.

    Raises:
        BtgmError: it could not be finished.
    """
    if not (path / SUMMARY).is_file():
        begun = (path / MANIFEST).is_file()
        code = run.main([f"resume={path}"] if begun else [*asked, f"out={path}"])
        # 3 is a verdict, and part of what is built.
        if code not in (0, 3):
            raise BtgmError(f"the run in {path} did not end: see {path / 'run.log'}")
        note_failure(path, None)  # that of a launcher before
    return load_run(path)
