"""`btgm report DIR`: redraw the pictures from the files of a run, without its model."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from btgm_cli.cli.config import exports_of, with_search_path
from btgm_cli.core.errors import SettingError
from btgm_cli.report import draw_all
from btgm_cli.store.manifest import MANIFEST, require_run
from btgm_cli.store.runs import read_run


def main(argv: list[str]) -> int:
    """Redraw one or more run directories.

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
    for name in argv:
        for picture in _redraw(Path(name)):
            print(picture)
    return 0


def _redraw(path: Path) -> list[Path]:
    """Draw what every run has, then what this one's configuration added."""
    pictures = draw_all(read_run(path))
    if (path / MANIFEST).is_file():
        with_search_path([])
        for export in exports_of(OmegaConf.create(require_run(path).settings)):
            pictures += export.draw(path)
    return pictures
