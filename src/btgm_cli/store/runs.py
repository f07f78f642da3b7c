"""A run directory as plain data: what it is called, how it is read and written.

`pareto.csv` is the journal of a run: a β counts as finished once its row is there, and its flow
and samples are written before.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Moments, PathPoint, Reference, State, Status
from btgm_cli.store.files import replacing

PARETO, TRACE, THEORY, COST = "pareto.csv", "trace.csv", "theory.csv", "cost.csv"
SUMMARY = "summary.json"
REFERENCE = "reference.npy"
SCENARIOS, BANDS = "scenarios.csv", "scenarios_bands.csv"
FLOWS, SAMPLES = "flow", "samples"

_MOMENTS = {
    "beta": "beta",
    "mean": "mean_f",
    "mean_se": "mean_f_se",
    "kl": "kl",
    "kl_se": "kl_se",
    "var": "var_f",
    "m3": "m3_f",
    "loss": "loss",
    "loss_se": "loss_se",
    "n": "n_eval",
}
_REFERENCE = {
    "mean": "mean_f_ref",
    "mean_se": "mean_f_ref_se",
    "var": "var_f_ref",
    "m3": "m3_f_ref",
    "kl": "kl_ref",
    "kl_se": "kl_ref_se",
    "log_z": "log_z_ref",
    "log_z_se": "log_z_ref_se",
    "method": "ref_method",
    "ess": "ref_ess",
    "pareto_k": "ref_pareto_k",
    "reliable": "ref_reliable",
}
_FLOATS = (
    "kl_gap",
    "kl_gap_se",
    "ess_fraction",
    "pareto_k",
    "log_z",
    "log_z_se",
    "coverage",
    "coverage_se",
    "precision",
    "forward_kl",
    "acceptance",
    "seconds",
    "beta_own",
    "beta_normalized",
)
_COUNTS = ("steps", "f_evals")
_LISTS = ("class_shares", "class_shares_ref", "weights")


@dataclass(frozen=True)
class Run:
    """What a run directory holds.

    Args:
        path: the directory.
        pareto: one row per finished β (KL in nats).
        trace: one row per pass of Algorithm 1.
        theory: the reference against β, dense; empty if not written yet.
        summary: how the run ended; empty if it has not.
        samples: for each row of `pareto`, draws x of shape (n, *X).
    """

    path: Path
    pareto: pd.DataFrame
    trace: pd.DataFrame
    theory: pd.DataFrame
    summary: dict[str, Any]
    samples: list[np.ndarray]


def read_run(path: Path | str) -> Run:
    """Read a run directory; one whose run was killed gives what was finished.

    Raises:
        SettingError: there is no run at `path`.
    """
    path = Path(path)
    if not (path / PARETO).is_file():
        raise SettingError("run directory", str(path), f"holds no {PARETO}, so no finished β")
    pareto = read_table(path / PARETO)
    summary = path / SUMMARY
    return Run(
        path=path,
        pareto=pareto,
        trace=read_table(path / TRACE),
        theory=read_table(path / THEORY),
        summary=json.loads(summary.read_text()) if summary.is_file() else {},
        samples=[np.load(samples_file(path, k)) for k in range(len(pareto))],
    )


def flow_file(path: Path, index: int) -> Path:
    """The flow of row `index` of `pareto.csv`."""
    return path / FLOWS / f"{index:03d}.safetensors"


def acceptance_file(path: Path, index: int) -> Path:
    """The learned acceptance of row `index` of `pareto.csv`; absent where there is none."""
    return path / FLOWS / f"{index:03d}.acceptance.safetensors"


def samples_file(path: Path, index: int) -> Path:
    """The draws shown for row `index` of `pareto.csv`."""
    return path / SAMPLES / f"{index:03d}.npy"


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with every float exactly as it was written; empty if there is no such file."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, atomically, floats with every digit."""
    with replacing(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def row_of(point: PathPoint) -> dict[str, Any]:
    """One row of `pareto.csv`."""
    row = {column: getattr(point.moments, name) for name, column in _MOMENTS.items()}
    row |= {column: getattr(point.reference, name) for name, column in _REFERENCE.items()}
    row |= {name: getattr(point, name) for name in (*_FLOATS, *_COUNTS, "finite")}
    row |= {name: " ".join(map(repr, getattr(point, name))) for name in _LISTS}
    return row | {"status": str(point.status)}


def point_of(
    row: dict[str, Any], flow_state: State, acceptance_state: State | None = None
) -> PathPoint:
    """The point that `row_of` wrote, with its flow and its acceptance."""
    numbers: dict[str, Any] = {name: float(row[name]) for name in _FLOATS}
    counts: dict[str, Any] = {name: int(row[name]) for name in _COUNTS}
    lists: dict[str, Any] = {name: numbers_of(row[name]) for name in _LISTS}
    return PathPoint(
        moments=Moments(**_typed(Moments, {n: row[column] for n, column in _MOMENTS.items()})),
        reference=Reference(
            beta=float(row["beta"]),
            **_typed(Reference, {name: row[column] for name, column in _REFERENCE.items()}),
        ),
        **numbers,
        **counts,
        **lists,
        finite=bool(row["finite"]),
        status=Status(row["status"]),
        flow_state=flow_state,
        acceptance_state=acceptance_state or {},
    )


def numbers_of(cell: object) -> tuple[float, ...]:
    """A cell of several numbers, which pandas reads as NaN where it is empty."""
    if isinstance(cell, float):  # a column of single numbers is one of floats
        return () if math.isnan(cell) else (cell,)
    return tuple(float(part) for part in str(cell).split())


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _typed(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as pandas read them, back to the dataclass's own types."""
    casts = {"float": float, "int": int, "str": str, "bool": bool}
    types = {field.name: casts[str(field.type)] for field in fields(kind)}
    return {name: types[name](value) for name, value in values.items()}
