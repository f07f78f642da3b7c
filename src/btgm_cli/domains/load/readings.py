"""`btgm data build load`: which readings to cut into weeks, where to, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from btgm_cli.domains.load.build import HOUSEHOLDS_NAME, SHOWN, Built, build_weekly, write_weekly
from btgm_cli.domains.load.weekly import ATTRIBUTION_NAME, FILE_NAME, load_file
from btgm_cli.store.files import require_free_of, require_writable


@dataclass(frozen=True)
class MeterReadings:
    """Meter readings to be cut into weeks.

    Args:
        timezone: where the households live, such as Europe/London.
        out: output folder; None is where training looks for the weekly load.
        data_dir: the data folder, see `resolve_data_dir`.
    """

    timezone: str = "Europe/London"
    out: str | None = None
    data_dir: str | None = None

    def build(self, files: Sequence[Path]) -> list[str]:
        """Cut the readings of `files` into weeks and write them; what was kept and what was not.

        Raises:
            DataError: a file cannot be used, or no whole week is left.
            SettingError: no such time zone, or weekly load in the folder already.
        """
        folder = Path(self.out) if self.out else load_file(self.data_dir).parent
        require_free_of(folder, (FILE_NAME, HOUSEHOLDS_NAME, ATTRIBUTION_NAME))
        require_writable("out" if self.out else "data_dir", folder)
        built = build_weekly(files, self.timezone)
        path, attribution = write_weekly(built, files, folder)
        return [*_told(built), f"written: {path}", attribution]


def _told(built: Built) -> list[str]:
    """What was kept and what was not."""
    lines = [f"{built.rows} rows read, a reading every {built.step_min} minutes"]
    lines += built.bad.summary() + [f"  {row}" for row in built.bad.first]
    hidden = built.bad.total - len(built.bad.first)
    lines += [f"  and {hidden} more"] * (hidden > 0)
    fates = built.fates
    lines += [
        f"{built.weeks} weeks, beside {built.clock_change_weeks} left out: the clock changes",
        f"{len(fates)} households, {fates['kept'].sum()} household-weeks kept; left out:",
        f"  {fates['absent'].sum()} without a reading",
        f"  {fates['zero'].sum()} without any power",
        f"  {fates['with_gaps'].sum()} with gaps",
    ]
    gaps = fates[fates["with_gaps"] > 0]
    shown = zip(gaps["name"][:SHOWN], gaps["with_gaps"][:SHOWN], strict=True)
    lines += [f"    {name}: {weeks}" for name, weeks in shown]
    return lines + [f"    and {len(gaps) - SHOWN} more, in {HOUSEHOLDS_NAME}"] * (
        len(gaps) > SHOWN
    )
