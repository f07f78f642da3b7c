"""`btgm report DIR`: redraw the pictures from the files of a run, without its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from btgm_cli.cli.config import exports_in, exports_of
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.own import found_again
from btgm_cli.cli.settings import arguments, checked, path_of
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import SettingError
from btgm_cli.report import draw_all
from btgm_cli.store.manifest import MANIFEST, require_run
from btgm_cli.store.runs import read_run

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
        for name in folders:
            for picture in _redraw(path_of(name)):
                print(picture)
    return 0


def _redraw(path: Path) -> list[Path]:
    """Draw what every run has, then what this one's configuration added."""
    pictures = draw_all(read_run(path))
    if (path / MANIFEST).is_file():
        there = require_run(path)
        cfg = OmegaConf.create(there.settings)
        found_again({name: there.settings[name] for name in exports_in(cfg)}, there.folder)
        for export in exports_of(cfg):
            pictures += export.draw(path)
    return pictures
