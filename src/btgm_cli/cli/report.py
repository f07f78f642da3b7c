"""`btgm report DIR`: a run or a sweep as one page, and its pictures, without its model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
from btgm_cli.report.html import write_run_page, write_sweep_page
from btgm_cli.store.manifest import Manifest, read_manifest, require_run
from btgm_cli.store.runs import salvage
from btgm_cli.store.sweeps import holds_sweep

USAGE = """usage: btgm report DIR [DIR ...] [threads=N]

Writes report.html, one page with everything, into the folder of a run or of a sweep, and the
pictures of a run beside it: from the files alone."""


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
    """Redraw one or more run directories, or sweeps.

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
        raise SettingError("report", "", "name the directory of a run or a sweep")
    with cpu_threads(request.threads):
        return max([_reported(path_of(name)) for name in folders])


def _reported(path: Path) -> int:
    """Draw what is whole of one directory, and tell what is not; the exit code."""
    drawn, faults = _sweep(path) if holds_sweep(path) else _run(path)
    for picture in drawn:
        print(picture)
    how = "; left out of the pictures" if drawn else ""
    for text in faults:
        print(f"btgm report: {text}{how}", file=sys.stderr)
    return 2 if faults else 0


def _sweep(path: Path) -> tuple[list[Path], list[str]]:
    """What was drawn of a sweep, and what is not whole."""
    try:
        page, faults = write_sweep_page(path)
    except BtgmError as error:
        return [], [in_one_line(error)]
    return [page], faults


def _run(path: Path) -> tuple[list[Path], list[str]]:
    """What was drawn of a run, and what is not whole."""
    drawn, faults = list[Path](), list[BtgmError]()
    try:
        run, faults = salvage(path)
        drawn += draw_all(run)
        exported = _draw_exports(path, faults)
        drawn += exported
        told = _lines(faults)
        drawn.append(write_run_page(run, _manifest(path), told, exported))
    except BtgmError as error:
        faults.append(error)
    return drawn, _lines(faults)


def _lines(faults: Sequence[BtgmError]) -> list[str]:
    return list(dict.fromkeys(map(in_one_line, faults)))


def _manifest(path: Path) -> Manifest | None:
    """What the directory belongs to; None where that is damaged, which `salvage` has told."""
    try:
        return read_manifest(path)
    except BtgmError:
        return None


def _draw_exports(path: Path, faults: list[BtgmError]) -> list[Path]:
    """Draw what the run's configuration added; what goes wrong is added to `faults`."""
    try:
        there = require_run(path)
        cfg = OmegaConf.create(there.settings)
        found_again({name: there.settings[name] for name in exports_in(cfg)}, there.folder)
        return [picture for export in exports_of(cfg) for picture in export.draw(path)]
    except BtgmError as error:
        faults.append(error)
        return []
