"""Tables of a run as CSV: which columns they must have, and floats with every digit."""

from __future__ import annotations

import io
import math
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from btgm_cli.core.errors import DataError
from btgm_cli.core.results import Status
from btgm_cli.store.files import replacing
from btgm_cli.store.rows import cell_as

TRACE, THEORY, COST = "trace.csv", "theory.csv", "cost.csv"
VIEWS, MARGINALS = "views.csv", "marginals.csv"
"""Of runs with `target.views` alone."""

_TILT = {"beta": float, "kl": float, "kl_se": float, "mean_f": float, "mean_f_se": float}
COLUMNS: dict[str, dict[str, type]] = {
    TRACE: {"pass": int, **_TILT, "var_f": float, "m3_f": float, "status": Status},
    COST: {"beta": float, "method": str, "fixed": float, "each": float, "pays_from": float},
    THEORY: {**_TILT, "log_z": float, "ess": float, "reliable": bool, "method": str},
}
"""What these tables must have, each column of its type; `pareto.csv` has a `PathPoint`'s."""


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with every float exactly as it was written; empty if there is no such file.

    Raises:
        DataError: it is damaged, or a table of a run that lacks a column or has an odd cell.
    """
    if not path.is_file():
        return pd.DataFrame()
    try:
        table = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, OverflowError, pd.errors.ParserWarning) as error:
        told = str(error).strip().replace("\n", " ")
        raise DataError(path, f"is damaged ({told})") from error
    columns = COLUMNS.get(path.name, {})
    require_columns(path, table, list(columns))
    for name, kind in columns.items():
        for k, cell in enumerate(table[name]):
            try:
                cell_as(kind, cell, name)
            except ValueError as error:
                raise DataError(path, f"row {k}: {error}") from error
    return table


def parsed(text: str) -> pd.DataFrame:
    """A table from CSV, its numbers by Python's own rules: pandas' are not always exact."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        table = pd.read_csv(io.StringIO(text), index_col=False, dtype=object)
    return pd.DataFrame({name: _typed(table[name]) for name in table})


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """Words as whole numbers, numbers or truth values, if all of them are."""
    for kind in (int, float):
        with suppress(ValueError):
            return column.astype(kind)
    return column == "True" if set(column) <= {"True", "False"} else column


def require_columns(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        DataError: names it.
    """
    for name in columns:
        if name not in table:
            raise DataError(path, f"has no column {name}")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, atomically, floats with every digit; no rows leave the known columns."""
    columns = None if rows else list(COLUMNS.get(path.name, {}))
    with replacing(path) as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False)


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
