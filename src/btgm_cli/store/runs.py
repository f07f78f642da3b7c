"""A run directory as plain data: what it is called, how it is read and written.

`pareto.csv` is the journal of a run: a β counts as finished once its row is there, and its flow
and samples are written before.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.store.files import replacing

PARETO, TRACE, THEORY, COST = "pareto.csv", "trace.csv", "theory.csv", "cost.csv"
SUMMARY = "summary.json"
REFERENCE = "reference.npy"
FLOWS, SAMPLES = "flow", "samples"


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
        DataError: draws that are missing or damaged.
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
        summary=json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {},
        samples=[_array(samples_file(path, k)) for k in range(len(pareto))],
    )


def _array(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(file, f"is missing or damaged ({type(error).__name__})") from error
    return array


def flow_file(path: Path, index: int) -> Path:
    """The flow of row `index` of `pareto.csv`."""
    return path / FLOWS / f"{index:03d}.safetensors"


def acceptance_file(path: Path, index: int) -> Path:
    """The learned acceptance of row `index` of `pareto.csv`; absent where there is none."""
    return path / FLOWS / f"{index:03d}.acceptance.safetensors"


def paid_file(path: Path, index: int) -> Path:
    """Draws whose f was asked for at row `index` of `pareto.csv`; absent where nothing learns."""
    return path / FLOWS / f"{index:03d}.paid.safetensors"


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


def finite_or_none(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
