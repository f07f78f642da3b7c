"""Dated load curves of a tuned model, kW, for what reads a table: `scenarios.csv`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from torch import Tensor

from btgm_cli.core.contracts import DrawSource, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import shape_of_x
from btgm_cli.core.memory import require_memory
from btgm_cli.domains.load.scenario_pictures import BANDS, SCENARIOS, draw_scenarios
from btgm_cli.domains.load.weekly import HOURS_PER_WEEK
from btgm_cli.store.files import replacing


@dataclass(frozen=True)
class Scenarios:
    """An export: how many dated curves, and of which week.

    Args:
        n: curves; 0 for none.
        week: the Monday that they begin on, at 00:00 local time.

    Raises:
        SettingError: a negative number, or no Monday.
    """

    n: int = 0
    week: str = "2026-01-05"

    def __post_init__(self) -> None:
        if self.n < 0 or self.n == 1:
            raise SettingError("scenarios.n", self.n, "must be 0, or 2 or more")
        try:
            monday = date.fromisoformat(self.week).weekday() == 0
        except (TypeError, ValueError):
            monday = False
        if not monday:
            raise SettingError("scenarios.week", self.week, "must be a Monday, as 2026-01-05")

    def check(self, model: GenerativeModel) -> None:
        """Refuse a model whose x are no weeks.

        Raises:
            SettingError: x is no vector of a whole number of points an hour.
        """
        if not self.n:
            return
        shape = shape_of_x(model)
        if len(shape) != 1 or shape[0] % HOURS_PER_WEEK:
            expected = f"needs a model of weekly load curves; x here is {shape}"
            raise SettingError("scenarios.n", self.n, expected)
        require_memory("scenarios.n", self.n, 2 * self.n * shape[0])

    def write(self, path: Path, draws: DrawSource) -> str:
        """Write `scenarios.csv` and the bands of p and of the curves into a run directory, kW.

        Returns:
            Why nothing was written; empty where it was, or nothing is asked for.
        """
        if not self.n:
            return ""
        if draws.doubt:
            return f"{SCENARIOS} not written: {draws.doubt}"
        x, prior = draws.tilted(self.n), draws.prior(self.n)
        times = timestamps(self.week, x.shape[1]).strftime("%Y-%m-%dT%H:%M:%S")
        at = pd.Series(times, name="timestamp")
        names = [f"s{k:04d}" for k in range(1, len(x) + 1)]
        curves = pd.DataFrame(x.T.cpu().numpy().round(4), columns=names)
        bands = pd.DataFrame(band(prior, "p_") | band(x, "tuned_"))
        for name, table in ((SCENARIOS, curves), (BANDS, bands)):
            with replacing(path / name) as temporary:
                pd.concat([at, table], axis=1).to_csv(temporary, index=False)
        return ""

    def draw(self, path: Path) -> list[Path]:
        """Draw `scenarios.png` from the files, where there are scenarios."""
        return draw_scenarios(path)


def timestamps(week: str, points: int) -> pd.DatetimeIndex:
    """When each point of the week begins: local time without an offset."""
    return pd.date_range(week, periods=points, freq=pd.Timedelta(days=7) / points)


def band(x: Tensor, prefix: str = "") -> dict[str, list[float]]:
    """Mean and standard deviation over curves x (n, points), as columns of `points` rows."""
    wide = x.double()
    return {f"{prefix}mean": wide.mean(0).tolist(), f"{prefix}sd": wide.std(0).tolist()}
