"""A run directory as plain data: what it is called, how it is read and written.

`pareto.csv` is the journal of a run: a β counts as finished once its row is there, and its flow
and samples are written before.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from btgm_cli.core.errors import BtgmError, DataError, SettingError
from btgm_cli.core.results import PathPoint, Status
from btgm_cli.store.manifest import PARETO, Manifest, read_manifest
from btgm_cli.store.rows import cell_as, columns_of, row_hash
from btgm_cli.store.tables import COST, THEORY, TRACE, parsed, read_table, require_columns

SUMMARY = "summary.json"
REFERENCE = "reference.npy"
FLOWS, SAMPLES = "flow", "samples"
READ = (TRACE, THEORY, COST, SUMMARY)
"""What the end of a run made and `salvage` reads; it only checks the rest."""

SUMMED = {"model": str, "criterion": str, "status": Status}
"""What `summary.json` must have."""

WEIGHTS: dict[str, Any] = {"flow_state": {}, "acceptance_state": {}, "paid": {}}
"""What a `PathPoint` has and its row has not."""

PartT = TypeVar("PartT")


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
        cost: evaluations of f for an effective draw, by β and way; empty if not written yet.
    """

    path: Path
    pareto: pd.DataFrame
    trace: pd.DataFrame
    theory: pd.DataFrame
    summary: dict[str, Any]
    samples: list[np.ndarray]
    cost: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_run(path: Path | str) -> Run:
    """Read a run directory; one whose run was killed gives what was finished.

    Raises:
        SettingError: there is no run at `path`.
        DataError: a file that is missing, damaged or not as the run left it.
    """
    run, faults = salvage(Path(path))
    if faults:
        raise faults[0]
    return run


def salvage(path: Path) -> tuple[Run, list[BtgmError]]:
    """Read what is whole of a run directory.

    Returns:
        The run without the rows, tables and samples that are not whole, and all that is wrong.

    Raises:
        SettingError: there is no run at `path`.
        DataError: no row is whole.
    """
    faults: list[BtgmError] = []

    def tried(read: Callable[..., PartT], otherwise: PartT, *arguments: Any) -> PartT:
        try:
            return read(*arguments)
        except BtgmError as error:
            faults.append(error)
            return otherwise

    # Rows first: a run that is going on adds to the manifest before it adds a row.
    table = read_table(path / PARETO)
    manifest = tried(read_manifest, None, path)
    pareto, kept, damaged = _whole_rows(path, table, manifest)
    faults += damaged
    if not kept:
        raise faults[0] if faults else no_rows(path)
    run = Run(
        path=path,
        pareto=pareto,
        trace=tried(_made_table, pd.DataFrame(), path / TRACE, manifest),
        theory=tried(_made_table, pd.DataFrame(), path / THEORY, manifest),
        summary=tried(read_summary, dict.fromkeys(SUMMED, "?"), path, manifest),
        samples=[tried(_samples, np.empty((0, 0)), path, manifest, k) for k in kept],
        cost=tried(_made_table, pd.DataFrame(), path / COST, manifest),
    )
    for check, *arguments in _other_checks(path, manifest, kept):
        tried(check, None, *arguments)
    return run, faults


def _other_checks(path: Path, manifest: Manifest | None, rows: list[int]) -> list[tuple[Any, ...]]:
    """The checks of what stands in a directory and is not read here."""
    if not manifest:
        return []
    made = [path / name for name in manifest.files if name not in READ]
    checks: list[tuple[Any, ...]] = [(manifest.require_file, file) for file in made]
    for k in rows:
        files = [file for file in manifest.row_files(path, k) if file != samples_file(path, k)]
        checks += [(manifest.require_row_file, path, k, file) for file in files]
    return checks


def read_rows(path: Path, manifest: Manifest) -> pd.DataFrame:
    """The finished rows, all as they were made; empty where there is none yet.

    Raises:
        DataError: a row that is missing, damaged or not as it was made.
    """
    pareto, _, faults = _whole_rows(path, read_table(path / PARETO), manifest)
    if faults:
        raise faults[0]
    return pareto


def no_rows(path: Path) -> SettingError:
    """What to tell of a directory without a row."""
    return SettingError("run directory", str(path), f"holds no {PARETO}, so no finished β")


def _whole_rows(
    path: Path, table: pd.DataFrame, manifest: Manifest | None
) -> tuple[pd.DataFrame, list[int], list[DataError]]:
    """The rows that are as they were made, their numbers, and what is wrong with the others."""
    file, faults, kept = path / PARETO, list[DataError](), list[int]()
    if len(table.columns):
        require_columns(file, table, columns_of(PathPoint))
    for k, row in enumerate(table.to_dict("records")):
        try:
            if k + 1 == len(table) and not file.read_bytes().endswith(b"\n"):
                raise DataError(file, f"row {k} is cut")
            content = row_hash(PathPoint, {str(key): cell for key, cell in row.items()}, **WEIGHTS)
            if manifest:
                manifest.require_row(path, k, content)
        except ValueError as error:
            faults.append(DataError(file, f"row {k}: {error}"))
        except DataError as error:
            faults.append(error)
        else:
            kept.append(k)
    if manifest and not faults:
        try:
            manifest.require_rows(path, len(table))
        except DataError as error:
            faults.append(error)
    if len(kept) == len(table):
        return table, kept, faults
    # Types anew: a word among numbers made the whole column words.
    return parsed(table.iloc[kept].to_csv(index=False)), kept, faults


def read_summary(path: Path, manifest: Manifest | None = None) -> dict[str, Any]:
    """How a run ended; empty if it has not.

    Raises:
        DataError: a file that is missing, damaged or not as the run left it.
    """
    file = path / SUMMARY
    if manifest:
        manifest.require_file(file)
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        for name, kind in SUMMED.items():
            cell_as(kind, found[name], name)
    except KeyError as error:
        raise DataError(file, f"has no {error}") from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(file, f"is damaged ({error})") from error
    summary: dict[str, Any] = found
    return summary


def _made_table(file: Path, manifest: Manifest | None) -> pd.DataFrame:
    """A table that the end of the run made."""
    if manifest:
        manifest.require_file(file)
    return read_table(file)


def _samples(path: Path, manifest: Manifest | None, index: int) -> np.ndarray:
    """The draws shown for row `index`, of shape (n, *X)."""
    file = samples_file(path, index)
    if manifest:
        manifest.require_row_file(path, index, file)
    return read_array(file)


def read_array(file: Path) -> np.ndarray:
    """A `.npy` file.

    Raises:
        DataError: it is missing or damaged.
    """
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
