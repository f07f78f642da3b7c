"""`btgm report DIR`: redraw the pictures from the files of a run, without its model."""

from __future__ import annotations

from pathlib import Path

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.scenario_pictures import draw_scenarios
from btgm_cli.report import draw_all
from btgm_cli.store.runs import read_run


def main(argv: list[str]) -> int:
    """Redraw one or more run directories."""
    if argv in (["-h"], ["--help"]):
        print("usage: btgm report DIR [DIR ...]")
        return 0
    if not argv:
        raise SettingError("report", "", "name a run directory")
    for name in argv:
        run = read_run(Path(name))
        for picture in [*draw_all(run), *draw_scenarios(run)]:
            print(picture)
    return 0
