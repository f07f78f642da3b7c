"""Part `sweeps`: one sweep by one process and by two, in turn, as whole commands."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from experiments.bench.settings import Settings
from experiments.bench.table import Table

COLUMNS = (
    *("workers", "round", "jobs", "wall_seconds", "cpu_seconds", "job_seconds", "outside_seconds"),
)
JOB = ("model=gaussian", "criterion=linear", "target.betas=[0.5]", "threads=1", "samples=4")
ENGINES = {1: (), 2: ("hydra/launcher=btgm_joblib", "hydra.launcher.n_jobs=2")}
PLUGIN = "hydra_plugins.hydra_joblib_launcher"


@dataclass(frozen=True)
class Size:
    """How much is measured: jobs of a sweep, their steps, and rounds of both engines in turn."""

    jobs: int
    steps: int
    rounds: int


FULL, QUICK = Size(jobs=8, steps=1500, rounds=3), Size(jobs=2, steps=5, rounds=1)


def run(settings: Settings) -> None:
    """The table of all rounds, where the launcher of two processes is installed."""
    if find_spec(PLUGIN) is None:
        print("sweeps: left out, for it takes pip install 'btgm[joblib]'")
        return
    size = QUICK if settings.quick else FULL
    table = Table(settings.folder / "sweeps.csv", COLUMNS, key=2)
    for turn in range(size.rounds):
        for workers in ENGINES:
            if not table.has(workers, turn):
                table.add({"workers": workers, "round": turn, **_measured(workers, size)})
    table.show()


def _measured(workers: int, size: Size) -> dict[str, float]:
    """What a sweep took: of the wall clock, of the processors, and within its jobs.

    `outside_seconds`, a job, is what the workers' time has beside the jobs: starts, checks.
    """
    with tempfile.TemporaryDirectory() as name:
        out, before = Path(name, "sweep"), _processor_seconds()
        wall = _seconds(out, workers, size)
        index = pd.read_csv(out / "index.csv")
        shutil.rmtree(out)
    inside = float(index["wall_seconds"].sum())
    return {
        "jobs": size.jobs,
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(_processor_seconds() - before, 2),
        "job_seconds": round(inside, 2),
        "outside_seconds": round((wall * workers - inside) / size.jobs, 2),
    }


def _seconds(out: Path, workers: int, size: Size) -> float:
    seeds = f"seed={','.join(map(str, range(size.jobs)))}"
    steps = [f"tuning.first_steps={size.steps}", "tuning.min_acceptance_rate=1"]
    command = [sys.executable, "-m", "btgm_cli", "run", *JOB, *steps, "-m", seeds, f"out={out}"]
    started = time.perf_counter()
    subprocess.run(
        [*command, *ENGINES[workers]],
        check=False,  # a missed target is exit code 3
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - started


def _processor_seconds() -> float:
    """Of all processes that this one has waited for, and those that they have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
