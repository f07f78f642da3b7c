"""`btgm report DIR`: redraw the pictures from the files of a run, without its model."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from btgm_cli.cli.config import exports_of, with_search_path
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.report import draw_all
from btgm_cli.store.manifest import require_run
from btgm_cli.store.runs import salvage


def main(argv: list[str]) -> int:
    """Redraw one or more run directories.

    Returns:
        0, or 2 where something is damaged: each fault is told, and what is whole is drawn.

    Raises:
        SettingError: no run directory, or a setting.
    """
    if argv in (["-h"], ["--help"]):
        print("usage: btgm report DIR [DIR ...]")
        return 0
    if not argv:
        raise SettingError("report", "", "name a run directory")
    for name in argv:
        key, equals, value = name.partition("=")
        if equals and not Path(name).exists():
            raise SettingError(key, value, "unknown setting: report takes run directories alone")
    return max([_reported(Path(name)) for name in argv])


def _reported(path: Path) -> int:
    """Draw what is whole of one directory, and tell what is not; the exit code."""
    pictures, faults = list[Path](), list[BtgmError]()
    try:
        run, faults = salvage(path)
        pictures += draw_all(run)
        pictures += _draw_exports(path)
    except BtgmError as error:
        faults.append(error)
    for picture in pictures:
        print(picture)
    how = "; left out of the pictures" if pictures else ""
    for text in dict.fromkeys(map(in_one_line, faults)):
        print(f"btgm report: {text}{how}", file=sys.stderr)
    return 2 if faults else 0


def _draw_exports(path: Path) -> list[Path]:
    """Draw what the run's configuration added."""
    with_search_path([])
    exports = exports_of(OmegaConf.create(require_run(path).settings))
    return [picture for export in exports for picture in export.draw(path)]
