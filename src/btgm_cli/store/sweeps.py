"""What a sweep consists of, how far its jobs are, and all their rows in one table.

`sweep.json` is its first file: the jobs in order, each with what its directory is to belong to.
The two tables are made anew from the jobs' directories, so that any process can make them again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd

from btgm_cli.core.errors import BtgmError, DataError, SettingError, in_one_line
from btgm_cli.store.files import write_json, write_text
from btgm_cli.store.manifest import PARETO, RESTORE, SEAL, Manifest, read_manifest, seal_of
from btgm_cli.store.runs import read_rows, read_summary
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
    write_json(path / SWEEP, content | {SEAL: seal_of(content)})


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
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise DataError(file, f"has format {found['format']}; this btgm reads {FORMAT}")
        seal = found.pop(SEAL)
        if seal_of(found) != seal:
            raise DataError(file, f"is not as it was written; {RESTORE}")
        return [_planned(**job) for job in found["jobs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(file, f"is damaged ({type(error).__name__})") from error


def _planned(folder: str, manifest: dict[str, Any]) -> Planned:
    return Planned(folder, Manifest(**manifest | {"rows": tuple(manifest["rows"])}))


def state_of(folder: Path) -> State:
    """How far the job in this directory is.

    Raises:
        DataError: a damaged manifest.
    """
    manifest = read_manifest(folder)
    if manifest is not None and read_summary(folder, manifest) and manifest.files:
        return State.FINISHED
    if (folder / FAILED).is_file():
        return State.FAILED
    return State.WAITING if manifest is None else State.BEGUN


def note_failure(folder: Path, reason: str | None) -> None:
    """Keep why a job failed, in one line; None where it has not, or no more."""
    if reason is None:
        (folder / FAILED).unlink(missing_ok=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FAILED, f"{reason}\n")


def collect(path: Path, jobs: Sequence[Planned]) -> pd.DataFrame:
    """Write `pareto.csv`, the finished rows of all jobs, and `index.csv`, a row a job; the latter.

    Args:
        path: of the sweep.
        jobs: its jobs.
    """
    index, rows = table_of(path, jobs)
    if len(rows):
        write_table(path / PARETO, _records(rows))
    write_table(path / INDEX, _records(index))
    return index


def table_of(path: Path, jobs: Sequence[Planned]) -> tuple[pd.DataFrame, pd.DataFrame]:
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
        told, pareto = _found(path / job.folder)
        index.append(about | {"overrides": " ".join(job.manifest.overrides)} | told)
        if len(pareto):
            rows.append(pd.concat([pd.DataFrame([about] * len(pareto)), pareto], axis=1))
    return pd.DataFrame(index), pd.concat(rows) if rows else pd.DataFrame()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]


def _found(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `index.csv` tells of one job, and its finished rows."""
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
