"""`btgm report DIR`: redraw the pictures from the files of a run, without its model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from btgm_cli.cli.config import exports_in, exports_of
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.own import found_again
from btgm_cli.cli.settings import arguments, checked, path_of
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.report import draw_all
from btgm_cli.store.manifest import require_run
from btgm_cli.store.runs import salvage

USAGE = """usage: btgm report DIR [DIR ...] [threads=N]"""


@dataclass(frozen=True)
class Request:
    """What can be set; see `USAGE`.

    Raises:
        SettingError: a value out of range.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        require_threads(self.threads)


def main(argv: list[str]) -> int:
    """Redraw one or more run directories.

    Returns:
        0, or 2 where something is damaged: each fault is told, and what is whole is drawn.

    Raises:
        SettingError: no run directory, or a setting that cannot be used.
    """
    if argv in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    folders = [item for item in argv if "=" not in item or path_of(item).exists()]
    request = checked(Request, arguments([item for item in argv if item not in folders]))
    if not folders:
        raise SettingError("report", "", "name a run directory")
    with cpu_threads(request.threads):
        return max([_reported(path_of(name)) for name in folders])


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
    there = require_run(path)
    cfg = OmegaConf.create(there.settings)
    found_again({name: there.settings[name] for name in exports_in(cfg)}, there.folder)
    return [picture for export in exports_of(cfg) for picture in export.draw(path)]
