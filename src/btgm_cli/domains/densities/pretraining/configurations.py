"""Configurations from a file: what a density is fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from btgm_cli.core.errors import DataError, SettingError

FEWEST = 100
"""Configurations, below which a tenth held out tells nothing."""


def read_configurations(file: str) -> Tensor:
    """x of shape (n, D) from a `.npy` of that shape, or a `.csv` with a column a coordinate.

    Args:
        file: its path; the first line of a `.csv` names the coordinates.

    Raises:
        SettingError: no such file, or another kind.
        DataError: it holds anything but finite numbers of shape (n, D), D at least 2.
    """
    path = Path(file).expanduser()
    if path.suffix not in {".npy", ".csv"} or not path.is_file():
        expected = "must be the path of a .npy or .csv file of configurations"
        raise SettingError("data", file, expected)
    x = _numbers(path)
    if x.ndim != 2 or x.shape[1] < 2 or len(x) < FEWEST:
        fault = f"must hold numbers of shape (n, D), n at least {FEWEST} and D at least 2, not"
        raise DataError(path, f"{fault} {x.shape}")
    bad = int((~np.isfinite(x)).any(1).sum())
    if bad:
        raise DataError(path, f"holds {bad} configurations that are not finite")
    return torch.from_numpy(x)


def _numbers(path: Path) -> np.ndarray:
    """The numbers of a file, in single precision."""
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else pd.read_csv(path)
        return np.ascontiguousarray(np.asarray(found), dtype=np.float32)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise DataError(path, f"holds no table of numbers ({error})") from error
