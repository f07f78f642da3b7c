"""What a sweep consists of, how far its jobs are, and all their rows in one table.

`sweep.json` is its first file: the jobs in order, each with what its directory is to belong to.
The two tables are made anew from the jobs' directories, so that any process can make them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from btgm_cli.core.errors import BtgmError, DataError, SettingError, in_one_line
from btgm_cli.store.files import write_text
from btgm_cli.store.manifest import PARETO, Manifest, read_manifest
from btgm_cli.store.runs import read_rows, read_summary
from btgm_cli.store.sealed import read_sealed_json, write_sealed_json
from btgm_cli.store.tables import write_table

SWEEP, INDEX, FAILED = "sweep.json", "index.csv", "failed.txt"

FORMAT = 1


class State(StrEnum):
    """How far a job is; `failed` may be tried again."""

    WAITING = "waiting"
    BEGUN = "begun"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class Planned:
    """A job of a sweep.

    Args:
        folder: its directory, in that of the sweep.
        manifest: what the directory is to belong to.
    """

    folder: str
    manifest: Manifest


def write_plan(path: Path, jobs: Sequence[Planned]) -> None:
    """Make `path` the folder of these jobs."""
    content = {"format": FORMAT, "jobs": [asdict(job) for job in jobs]}
    write_sealed_json(path / SWEEP, content)


def holds_sweep(path: Path) -> bool:
    """Has a sweep begun there?"""
    return (path / SWEEP).is_file()


def read_plan(path: Path) -> list[Planned]:
    """The jobs of the sweep in `path`.

    Raises:
        SettingError: no sweep has begun there.
        DataError: a damaged plan, or one of another format.
    """
    file = path / SWEEP
    if not holds_sweep(path):
        raise SettingError("sweep directory", str(path), f"holds no {SWEEP}, so no sweep")
    try:
        return [_planned(**job) for job in read_sealed_json(file, FORMAT)["jobs"]]
    except (KeyError, TypeError) as error:
        raise DataError(file, f"is damaged ({type(error).__name__})") from error


def _planned(folder: str, manifest: dict[str, Any]) -> Planned:
    return Planned(folder, Manifest(**manifest | {"rows": tuple(manifest["rows"])}))


def state_of(folder: Path) -> State:
    """How far the job in this directory is.

    Raises:
        DataError: a damaged manifest.
    """
    if (folder / FAILED).is_file():
        return State.FAILED
    manifest = read_manifest(folder)
    if manifest is not None and manifest.files and read_summary(folder, manifest):
        return State.FINISHED
    return State.WAITING if manifest is None else State.BEGUN


def note_failure(folder: Path, reason: str | None) -> None:
    """Keep why a job failed, in one line; None where it has not, or no more."""
    if reason is None:
        (folder / FAILED).unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FAILED, f"{reason}\n")


Found = tuple[dict[str, Any], pd.DataFrame]
"""What `index.csv` tells of one job, and its finished rows."""


def collect(
    path: Path, jobs: Sequence[Planned], finished: dict[str, Found] | None = None
) -> pd.DataFrame:
    """Write `pareto.csv`, the finished rows of all jobs, and `index.csv`, a row a job; the latter.

    Args:
        path: of the sweep.
        jobs: its jobs.
        finished: what was found of finished jobs before, by their folders; filled here, lest a
            sweep of hundreds reads them all after each.
    """
    index, rows = table_of(path, jobs, finished)
    if len(rows):
        write_table(path / PARETO, _records(rows))
    write_table(path / INDEX, _records(index))
    return index


def table_of(
    path: Path, jobs: Sequence[Planned], finished: dict[str, Found] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a job, and the finished rows of all jobs; arguments as of `collect`."""
    index, rows = list[dict[str, Any]](), list[pd.DataFrame]()
    for number, job in enumerate(jobs):
        about = {
            "job": number,
            "folder": job.folder,
            "model": job.manifest.model,
            "criterion": job.manifest.criterion,
            "seed": job.manifest.settings["seed"],
        }
        known = {} if finished is None else finished
        told, pareto = known.get(job.folder) or _found(path / job.folder)
        if told["state"] is State.FINISHED:
            known[job.folder] = told, pareto
        index.append(about | {"overrides": " ".join(job.manifest.overrides)} | told)
        if len(pareto):
            rows.append(pd.concat([pd.DataFrame([about] * len(pareto)), pareto], axis=1))
    return pd.DataFrame(index), pd.concat(rows) if rows else pd.DataFrame()


def line_of(row: dict[Any, Any]) -> str:
    """A row of `index.csv` as the terminal tells it."""
    told = [row["folder"], row["status"] or row["state"], row["message"]]
    return "  " + ": ".join(str(word) for word in told if word)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _found(folder: Path) -> Found:
    """See `Found`."""
    told = dict.fromkeys(("status", "message", "f_evals", "wall_seconds"), "")
    told |= dict.fromkeys(("kl_gap_max", "ess_fraction_min"), "")
    try:
        manifest, state = read_manifest(folder), state_of(folder)
        pareto = read_rows(folder, manifest) if manifest else pd.DataFrame()
        if state is State.FINISHED:
            summary = read_summary(folder, manifest)
            told |= {name: summary[name] for name in told}
        elif state is State.FAILED:
            told["message"] = (folder / FAILED).read_text(encoding="utf-8").strip()
    except BtgmError as error:
        return {"state": State.FAILED, **told, "message": in_one_line(error)}, pd.DataFrame()
    return {"state": state, **told}, pareto
