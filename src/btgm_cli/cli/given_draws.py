"""Draws that somebody else made, read from a file that is not trusted."""

from __future__ import annotations

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from btgm_cli.core.errors import DataError, SettingError

Arrays = dict[str, NDArray[np.floating]]

CORRECTED = "log_weight"
"""Where `btgm sample` has written zeros alone, the draws are the tilt's and log_q the density of
what they were chosen from: it is left out."""

NAMES = ("z", "x", "log_q")
"""Arrays that are read; others, such as those of `btgm sample`, are left alone."""

KINDS = (".npz", ".npy", ".parquet")


def given_draws(path: Path, latent_dim: int) -> Arrays:
    """The arrays of a file of draws: z or x, and log_q if it is there.

    A .npz has arrays of these names, Parquet the columns z0, z1, … or x0, x1, …, and log_q. The
    one array of a .npy is z where it is (n, latent_dim), else x. Nothing pickled is read.

    Raises:
        SettingError: no such file, of another kind, or without draws.
        DataError: a damaged file.
    """
    if path.suffix not in KINDS:
        raise SettingError("draws", str(path), f"must end in {', '.join(KINDS)}")
    if not path.is_file():
        raise SettingError("draws", str(path), "there is no such file")
    try:
        arrays = {".npz": _npz, ".npy": _npy, ".parquet": _parquet}[path.suffix](path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        text = "holds pickled objects" if "pickle" in str(error) else "cannot be read"
        raise DataError(path, f"{text} ({type(error).__name__}): give arrays of numbers") from None
    if "draws" in arrays:
        alone = arrays.pop("draws")
        arrays["z" if alone.shape[1:] == (latent_dim,) else "x"] = alone
    if not {"z", "x"} & set(arrays):
        raise SettingError("draws", str(path), "holds neither z nor x")
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise SettingError(name, f"{array.dtype} array", "must be of floats")
    return arrays


def _npz(path: Path) -> Arrays:
    # Numpy leaves a torn file open that it opened itself.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        found = {name: stored[name] for name in NAMES if name in stored.files}
        if CORRECTED in stored.files and not stored[CORRECTED].any():
            found.pop("log_q", None)
        return found


def _npy(path: Path) -> Arrays:
    return {"draws": np.load(path, allow_pickle=False)}


def _parquet(path: Path) -> Arrays:
    if find_spec("pyarrow") is None:
        raise SettingError("draws", str(path), "needs pyarrow: pip install 'btgm[parquet]'")
    frame = pd.read_parquet(path)
    found: Arrays = {}
    for name in ("z", "x"):
        columns = [column for column in map(str, frame) if re.fullmatch(rf"{name}\d+", column)]
        if columns:
            columns.sort(key=lambda column: int(column[1:]))
            found[name] = frame[columns].to_numpy()
    if "log_q" in frame and not (CORRECTED in frame and not frame[CORRECTED].any()):
        found["log_q"] = frame["log_q"].to_numpy()
    return found
