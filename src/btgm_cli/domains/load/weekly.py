"""Weekly electricity load of households, and aggregates of several drawn from it.

`btgm data build load` writes the file that is read here. A week starts on Monday at 00:00 local
time; power is in kW, energy in kWh.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.store.data_dir import DATA_DIR_VARIABLE, resolve_data_dir

FOLDER = "energy"
FILE_NAME = "weekly_load.npz"
ATTRIBUTION_NAME = "ATTRIBUTION.txt"
HELD_OUT_EVERY = 5
HOURS_PER_WEEK = 168

Array = NDArray[Any]


@dataclass(frozen=True)
class WeeklyLoad:
    """Weeks of single households, in any order.

    Attributes:
        load_kw: Mean power of each step of the week, kW, shape (n, points).
        household: Whose week it is: whole numbers, shape (n,).
        week: Rank of the week among all weeks present, shape (n,).
    """

    load_kw: Tensor
    household: Tensor
    week: Tensor

    def __post_init__(self) -> None:
        assert len(self.load_kw) == len(self.household) == len(self.week)

    @property
    def points(self) -> int:
        """Points of a week: 336 where they are half-hours."""
        return self.load_kw.shape[1]

    def where(self, rows: Tensor) -> WeeklyLoad:
        """The rows of a mask of shape (n,)."""
        return WeeklyLoad(self.load_kw[rows], self.household[rows], self.week[rows])

    def training(self) -> WeeklyLoad:
        """All weeks but every fifth."""
        return self.where(self.week % HELD_OUT_EVERY != 0)

    def held_out(self) -> WeeklyLoad:
        """Every fifth week, the first one among them."""
        return self.where(self.week % HELD_OUT_EVERY == 0)


class Aggregates:
    """Sums of several households within one week, drawn without replacement.

    Weeks are drawn alike. Those of fewer households than asked for are left out. Which households
    of which week make a curve is a row of 1 + households whole numbers: the week, then whose loads
    are added.

    Args:
        load: What to draw from.
        households: How many to sum.

    Raises:
        SettingError: No week has so many households.
    """

    def __init__(self, load: WeeklyLoad, households: int) -> None:
        weeks, week = load.week.unique(return_inverse=True)
        people, household = load.household.unique(return_inverse=True)
        rows = torch.full((len(weeks), len(people)), -1)
        rows[week, household] = torch.arange(len(week))
        present = (rows >= 0).sum(1)
        largest = max(present.tolist(), default=0)
        if not 1 <= households <= largest:
            expected = f"must be from 1 to {largest}, the most households that one week has"
            raise SettingError("model.households", households, expected)
        self.load_kw = load.load_kw
        self.households = households
        self.rows = rows[present >= households]
        """Where in `load_kw` a household's week is, −1 for nowhere: shape (weeks, people)."""

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Choose the week and the households of n curves, shape (n, 1 + households)."""
        weeks = torch.randint(len(self.rows), (n,), generator=generator)
        keys = torch.rand((n, self.rows.shape[1]), generator=generator)
        keys = keys.masked_fill(self.rows[weeks] < 0, -1.0)
        return torch.cat([weeks[:, None], keys.topk(self.households, 1).indices], 1)

    def curves(self, chosen: Tensor) -> Tensor:
        """Power of the aggregates chosen (n, 1 + households), kW, shape (n, points)."""
        return self.load_kw[self.rows[chosen[:, :1], chosen[:, 1:]]].sum(1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Power of n aggregates, kW, shape (n, points)."""
        return self.curves(self.sample_prior(n, generator))

    def largest_kw(self) -> float:
        """The largest power that any aggregate has, kW: the largest loads at one time, summed."""
        weeks = (self.load_kw[row[row >= 0]] for row in self.rows)
        return max(week.topk(self.households, 0).values.sum(0).max().item() for week in weeks)


def aggregates_at_hand(households: int) -> Aggregates | None:
    """Real aggregates of all weeks, where the data are present and have enough households."""
    try:
        return Aggregates(load_weekly(), households)
    except (DataError, SettingError):
        return None


def load_file(data_dir: str | Path | None = None) -> Path:
    """Where the weekly load is read: `<data_dir>/energy/weekly_load.npz`."""
    return resolve_data_dir(data_dir) / FOLDER / FILE_NAME


def read_attribution(path: Path) -> str | None:
    """Whom to credit for the weekly load at `path`, where a file beside it tells."""
    beside = path.with_name(ATTRIBUTION_NAME)
    return beside.read_text(encoding="utf-8").strip() if beside.is_file() else None


def load_weekly(data_dir: str | Path | None = None) -> WeeklyLoad:
    """Read `<data_dir>/energy/weekly_load.npz`.

    Raises:
        DataError: The file is missing (with the command that makes it) or not what it should be.
    """
    path = load_file(data_dir)
    if not path.is_file():
        raise DataError(
            path,
            "not found; make it with `btgm data build load --input FILES`, or set data_dir (or "
            f"{DATA_DIR_VARIABLE}) to the folder that holds energy/",
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = [stored[key] for key in ("load_kw", "household", "week_start")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(path, f"cannot be read ({error}); make it again") from error
    return _checked(path, *arrays)


def _checked(path: Path, load_kw: Array, household: Array, week_start: Array) -> WeeklyLoad:
    if load_kw.ndim != 2 or {load_kw.shape[0]} != {*household.shape, *week_start.shape}:
        raise DataError(path, f"mislabelled: load_kw of shape {load_kw.shape}")
    if not len(load_kw) or load_kw.shape[1] % HOURS_PER_WEEK:
        raise DataError(path, f"load_kw of shape {load_kw.shape} holds no whole hours of a week")
    if not (np.isfinite(load_kw) & (load_kw >= 0)).all():
        raise DataError(path, "load_kw holds values that are negative or not finite")
    week = np.unique(week_start, return_inverse=True)[1]
    if not week.any():
        raise DataError(path, "holds a single week; every fifth is held out, so bring more")
    return WeeklyLoad(
        torch.from_numpy(load_kw.astype(np.float32)),
        torch.from_numpy(household.astype(np.int64)),
        torch.from_numpy(week.astype(np.int64)),
    )
