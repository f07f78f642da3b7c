"""From raw meter readings to the weekly load that training reads.

A week starts on Monday at 00:00 local time. It is kept where every reading is there: nothing is
filled in, and a bad row is never used, so that its week falls out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.domains.load.meter_files import Piece, read_pieces
from btgm_cli.domains.load.weekly import ATTRIBUTION_NAME, FILE_NAME
from btgm_cli.store.files import replacing, write_text

STEPS_MIN = (15, 20, 30, 60)
WEEK_MIN = 7 * 24 * 60
FIRST_MONDAY = datetime(1970, 1, 5)
FATES = ("kept", "with_gaps", "absent", "zero")
SHOWN = 10
HOUSEHOLDS_NAME = "households.csv"
PUBLISHED_ATTRIBUTION = (
    "Contains data from UK Power Networks' Low Carbon London project: SmartMeter Energy "
    "Consumption Data in London Households, London Datastore, Creative Commons Attribution "
    "(CC BY; its page there has the wording). Changed: cut into weeks of mean power in kW."
)
PUBLISHED_DECIMALS = 3


@dataclass
class BadRows:
    """Rows that were refused: how many for each reason, and the first ones.

    Attributes:
        counts: Rows by reason.
        first: `FILE:LINE: what is wrong`, at most `SHOWN` of them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, piece: Piece, rows: pd.DataFrame, reason: str, column: str) -> None:
        """Refuse `rows` of `piece`, naming the text in `column`."""
        self.counts[reason] += len(rows)
        for line, text in rows[column].head(max(0, SHOWN - len(self.first))).items():
            self.first.append(f"{piece.path}:{line}: {reason}: {text!r}")

    @property
    def total(self) -> int:
        """All rows refused."""
        return sum(self.counts.values())

    def summary(self) -> list[str]:
        """Each reason with its number of rows."""
        return [f"{rows} rows refused: {reason}" for reason, rows in self.counts.items() if rows]


@dataclass(frozen=True)
class Built:
    """Whole weeks of single households, and what became of the others.

    Attributes:
        load_kw: Mean power of each step, kW, float32, shape (n, points).
        household: Whose week it is, int32, shape (n,).
        week_start: Its Monday, days since 1970-01-01, int32, shape (n,).
        step_min: Length of a step, minutes.
        rows: Rows read.
        bad: Rows refused.
        clock_change_weeks: Weeks in which the clock changes, left out.
        weeks: Whole weeks between the first reading and the last, those left out.
        fates: For each household its number, name, and weeks `kept`, `with_gaps`, `absent`
            (without a reading) and `zero` (no power at all).
        published: Whether any of it is the London data, which must be credited.
    """

    load_kw: np.ndarray[Any, Any]
    household: np.ndarray[Any, Any]
    week_start: np.ndarray[Any, Any]
    step_min: int
    rows: int
    bad: BadRows
    clock_change_weeks: int
    weeks: int
    fates: pd.DataFrame
    published: bool


def build_weekly(files: Sequence[Path], timezone: str) -> Built:
    """Cut the readings of `files` into weeks.

    Args:
        files: CSV or Parquet files, see `meter_files`.
        timezone: Where the households live, such as Europe/London.

    Raises:
        DataError: A file cannot be used, or no whole week is left.
        SettingError: No such time zone.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        expected = "no such time zone; choose one such as Europe/London"
        raise SettingError("timezone", timezone, expected) from error
    table = _Table(zone)
    for piece in read_pieces(files):
        table.add(piece)
    return table.finish(files)


def write_weekly(built: Built, files: Sequence[Path], folder: Path) -> tuple[Path, str]:
    """Write the weekly load, its households and whom to credit; the load comes last.

    Returns:
        The file of the weekly load, and whom to credit.
    """
    source = PUBLISHED_ATTRIBUTION if built.published else "Your own readings."
    attribution = f"{source}\nFiles: {', '.join(file.name for file in files)}\n"
    write_text(folder / ATTRIBUTION_NAME, attribution)
    with replacing(folder / HOUSEHOLDS_NAME) as temporary:
        built.fates.to_csv(temporary, index=False)
    path = folder / FILE_NAME
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            load_kw=built.load_kw,
            household=built.household,
            week_start=built.week_start,
        )
    return path, attribution.rstrip()


class _Table:
    """Readings by household and week, filled piece by piece."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self.step_min = 0
        self.rows = 0
        self.published = False
        self.bad = BadRows()
        self.weeks: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self.changes: dict[int, bool] = {}
        self.span: list[int] = []

    def add(self, piece: Piece) -> None:
        """Sort the readings of `piece` into weeks; refuse the bad ones."""
        self.rows += len(piece.rows)
        self.published |= piece.form.published
        rows = piece.rows.assign(time=piece.local(self.zone.key))
        rows = self._sound(piece, rows)
        if rows.empty:
            return
        minutes = ((rows["time"] - FIRST_MONDAY) // pd.Timedelta(minutes=1)).to_numpy(np.int64)
        if not self.step_min:
            self.step_min = _step(piece.path, rows["household"], minutes)
        off = (rows["time"].dt.floor(f"{self.step_min}min") != rows["time"]).to_numpy()
        self.bad.add(piece, rows[off], f"off the grid of {self.step_min} minutes", "stamp")
        rows, minutes = rows[~off], minutes[~off]
        rows = rows.assign(week=minutes // WEEK_MIN, slot=minutes % WEEK_MIN // self.step_min)
        self._note_span(minutes)
        rows = rows[~rows["week"].map(self._clock_changes).to_numpy(bool)]
        for (household, week), readings in rows.groupby(["household", "week"], sort=False):
            self._fill(piece, (household, week), readings)

    def _sound(self, piece: Piece, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with a name, a time stamp and a reading that is a number, not negative."""
        faults = {
            "household has no name": (rows["household"] == "", "household"),
            "time stamp cannot be read": (rows["time"].isna(), "stamp"),
            "reading is no number": (~np.isfinite(rows["value"]), "text"),
            "reading is negative": (rows["value"] < 0, "text"),
        }
        bad = np.zeros(len(rows), bool)
        for reason, (mask, column) in faults.items():
            self.bad.add(piece, rows[mask & ~bad], reason, column)
            bad |= mask.to_numpy()
        return rows[~bad]

    def _fill(self, piece: Piece, key: tuple[str, int], readings: pd.DataFrame) -> None:
        """Put readings in their week; a second one for a step spoils both."""
        if key not in self.weeks:
            self.weeks[key] = np.full(WEEK_MIN // self.step_min, np.nan, np.float32)
        values, slots = readings["value"].to_numpy(), readings["slot"].to_numpy()
        again = readings["slot"].duplicated().to_numpy() | ~np.isnan(self.weeks[key][slots])
        self.bad.add(piece, readings[again], "second reading of a household for a time", "stamp")
        if piece.form.published:
            values = values.round(PUBLISHED_DECIMALS)
        hours = self.step_min / 60
        self.weeks[key][slots] = values / hours if piece.form.is_energy else values
        self.weeks[key][slots[again]] = np.inf

    def _note_span(self, minutes: np.ndarray[Any, Any]) -> None:
        ends = [*self.span, int(minutes.min()), int(minutes.max())] if len(minutes) else self.span
        self.span = [min(ends), max(ends)] if ends else []

    def _clock_changes(self, week: int) -> bool:
        """Whether the clock changes between this Monday and the next."""
        if week not in self.changes:
            mondays = [FIRST_MONDAY + timedelta(weeks=week + k) for k in (0, 1)]
            before, after = (day.replace(tzinfo=self.zone).utcoffset() for day in mondays)
            self.changes[week] = before != after
        return self.changes[week]

    def finish(self, files: Sequence[Path]) -> Built:
        """The whole weeks, sorted by household, then week."""
        span = self._whole_weeks()
        weeks = [week for week in span if not self._clock_changes(week)]
        numbers = _numbers(sorted({household for household, _ in self.weeks}))
        kept, fates = [], []
        for household, number in sorted(numbers.items(), key=lambda item: item[1]):
            fate = {week: self._fate(household, week) for week in weeks}
            kept += [(number, week, household) for week in weeks if fate[week] == "kept"]
            counts = Counter(fate.values())
            fates.append([number, household, *(counts[name] for name in FATES)])
        if not kept:
            listed = "; ".join([f"{self.rows} rows", *self.bad.summary()])
            raise DataError(", ".join(map(str, files)), f"no whole week is in there ({listed})")
        return Built(
            load_kw=np.array([self.weeks[who, week] for _, week, who in kept], np.float32),
            household=np.array([number for number, _, _ in kept], np.int32),
            week_start=np.array([_days(week) for _, week, _ in kept], np.int32),
            step_min=self.step_min,
            rows=self.rows,
            bad=self.bad,
            clock_change_weeks=len(span) - len(weeks),
            weeks=len(weeks),
            fates=pd.DataFrame(fates, columns=["household", "name", *FATES]),
            published=self.published,
        )

    def _whole_weeks(self) -> range:
        """The weeks wholly between the first reading and the end of the last."""
        if not self.span:
            return range(0)
        first, last = self.span
        return range(-(-first // WEEK_MIN), (last + self.step_min) // WEEK_MIN)

    def _fate(self, household: str, week: int) -> str:
        load = self.weeks.get((household, week))
        if load is None:
            return "absent"
        if not np.isfinite(load).all():
            return "with_gaps"
        return "kept" if load.any() else "zero"


def _numbers(names: Sequence[str]) -> dict[str, int]:
    """A number for each household: that of its name (MAC000002 is 2), else its place."""
    found = [re.fullmatch(r"\D*(\d{1,9})", name) for name in names]
    own = [int(match[1]) for match in found if match]
    unlike = len(set(own)) == len(names)
    return dict(zip(names, own if unlike else range(1, len(names) + 1), strict=True))


def _days(week: int) -> int:
    """Days from 1970-01-01 to the Monday of a week."""
    return (FIRST_MONDAY - datetime(1970, 1, 1)).days + 7 * week


def _step(path: Path, household: pd.Series[str], minutes: np.ndarray[Any, Any]) -> int:
    """Minutes between two readings: the most frequent difference within a household."""
    same = household.to_numpy()[1:] == household.to_numpy()[:-1]
    steps = Counter(np.diff(minutes)[same].tolist()).most_common(1)
    if not steps or steps[0][0] not in STEPS_MIN:
        found = f"{steps[0][0]} minutes" if steps else "not to be told"
        choices = ", ".join(map(str, STEPS_MIN))
        raise DataError(path, f"the step of its readings is {found}; must be one of {choices} min")
    return int(steps[0][0])
