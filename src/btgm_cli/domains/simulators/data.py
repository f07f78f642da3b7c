"""Observed data from a file: a row for each unit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.domains.simulators.simulator import Simulator

SETTING = "criterion.data"


def read_data(file: str, simulator: Simulator) -> NDArray[np.float64]:
    """Units (N, C) of a `.npy` file of that shape, or of a `.csv` with a column each.

    Args:
        file: its path; the first line of a `.csv` names the columns.
        simulator: whose data they must be like.

    Raises:
        SettingError: no such file, or another kind.
        DataError: no finite numbers, or other columns than the simulator's.
    """
    path = Path(file).expanduser()
    if path.suffix not in {".npy", ".csv"} or not path.is_file():
        raise SettingError(SETTING, file, "must be the path of a .npy or .csv file")
    x, names = _numbers(path)
    if x.ndim != 2 or not len(x):
        raise DataError(path, f"must hold a table with a row a unit, not shape {x.shape}")
    if x.shape[1] != simulator.n_columns:
        fault = f"has {x.shape[1]} columns, and the simulator gives {simulator.n_columns}"
        raise DataError(path, fault)
    if simulator.columns and names and names != simulator.columns:
        wanted = ", ".join(simulator.columns)
        raise DataError(path, f"has the columns {', '.join(names)}, the simulator {wanted}")
    bad = int((~np.isfinite(x)).any(1).sum())
    if bad:
        raise DataError(path, f"has NaN or infinite values in {bad} of {len(x)} rows")
    return x


def _numbers(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """The table of a file, and the names of its columns where it has them."""
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=float), []
        table = pd.read_csv(path)
        names = [str(name) for name in table.columns]
        x = table.to_numpy(dtype=float, copy=True)  # pandas's own is read-only, torch warns of it
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise DataError(path, f"holds no table of numbers ({error})") from error
    for name in names:
        with suppress(ValueError):
            float(name)
            raise DataError(path, f"begins with numbers ({name}); its first line names columns")
    return x, names
