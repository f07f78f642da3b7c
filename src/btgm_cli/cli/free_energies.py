"""The free energy between two runs, and what both ways of `btgm free-energy` share."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btgm_cli import __version__
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.settings import checked, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report.free_energy import BETWEEN, ESTIMATES, WORKS, draw_between
from btgm_cli.store.files import replacing, require_free_of, require_writable, write_json
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import finite_or_none, write_table
from btgm_cli.truth.free_energy import Works, works
from btgm_cli.truth.trust import ERRORS, doubt
from btgm_cli.tuned.correction import Correct, Corrector

TRAIN = "train longer, by tuning.first_steps and tuning.steps"


@dataclass(frozen=True)
class Pair:
    """What was asked of two runs; see `cli.free_energy.USAGE`.

    Raises:
        SettingError: a value out of range.
    """

    n: int = 100_000
    seed: int = 0
    threads: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        require_least(self, n=1000, seed=0)
        require_threads(self.threads)


@dataclass(frozen=True)
class Told:
    """Whose free energies these are."""

    run: LoadedRun
    beta: float
    status: Status
    corrector: Corrector

    def about(self) -> dict[str, Any]:
        """As JSON has it."""
        pilot, summary = self.corrector.pilot, self.run.summary
        return {
            "run": str(self.run.path),
            "model": summary.get("model", "?"),
            "criterion": summary.get("criterion", "?"),
            "beta": self.beta,
            "verdict": str(self.status),
            "ess_fraction": pilot.ess_fraction,
            "pareto_k": finite_or_none(pilot.pareto_k),
            "log_weight_bound": self.corrector.log_weight_bound,
        }


def refused(run: LoadedRun, trouble: str) -> int:
    """Tell why no free energy is told of a run, and what would mend it; the exit code."""
    print(f"btgm free-energy: {run.path}: {trouble}", file=sys.stderr)
    print(f"remedy: {run.summary.get('remedy') or TRAIN}", file=sys.stderr)
    return 3


@dataclass(frozen=True)
class State:
    """One of the two runs: its last β."""

    told: Told
    works: Works
    log_z: float
    log_z_se: float
    row: dict[str, Any]


def between(paths: Sequence[Path], settings: dict[str, Any]) -> int:
    """F₂ − F₁ of two runs; the exit code.

    Raises:
        SettingError: no such run, one without draws of its exact tilt, a setting out of range, or
            files in the way.
    """
    request = checked(Pair, settings)
    with cpu_threads(request.threads), sparing({"n": request.n}):
        runs = [load_run(path) for path in paths]
        out = request.out or paths[0] / "free_energy" / f"to_{paths[1].resolve().name}"
        require_writable("out", out)
        require_free_of(out, (BETWEEN, ESTIMATES, WORKS))
        states = []
        for number, run in enumerate(runs):
            state, trouble = _state(request, run, number)
            if trouble:
                return refused(run, trouble)
            states.append(state)
        rows = _estimates(*states)
        _write(out, request, states, rows)
    for row in rows:
        print(f"F2 - F1 = {row['delta_f_kt']:.4f} ± {row['delta_f_kt_se']:.2g} kT  {row['by']}")
    first, second = (float(state.row["kl_gap"]) for state in states)
    print(f"the losses' difference is off by that of their kl_gap, {second - first:.4f} kT: what")
    print("each tuned model lacks; it is no free energy unless both lack as much")
    print(out)
    return 0


def _state(request: Pair, run: LoadedRun, number: int) -> tuple[State, str]:
    """One run's log Z by Bennett's ratio, and why not to believe it; empty where one may."""
    index = run.index()
    row: dict[str, Any] = {str(key): cell for key, cell in run.pareto.iloc[index].items()}
    beta, status = float(row["beta"]), Status(row["status"])
    kept = run.reference(index)
    if kept is None:
        expected = "keeps no draws of the exact tilt at its last β"
        raise SettingError("run directory", str(run.path), expected)
    tuned, f = run.tuned(beta), run.f(beta)
    generator = derived_generator(request.seed, "free energy", number, beta)
    corrector = Corrector(tuned, f, beta, Correct.RESAMPLE, generator)
    found = works(tuned, f, beta, torch.from_numpy(kept.z), request.n, generator)
    constant = tuned.acceptance.log_mean_se.item() if tuned.acceptance else 0.0
    log_z, error = found.log_z(kept.independent, constant)
    state = State(Told(run, beta, status, corrector), found, log_z, error, row)
    whole = Status(run.summary.get("status", status))
    trouble = doubt(whole, status, Correct.RESAMPLE, corrector.pilot)
    reference, reference_se = float(row["log_z_ref"]), float(row["log_z_ref_se"])
    if not trouble and not abs(log_z - reference) <= ERRORS * math.hypot(error, reference_se):
        trouble = f"log Z is {log_z:.4g} ± {error:.2g} by Bennett's ratio, "
        trouble += f"{reference:.4g} ± {reference_se:.2g} by the reference"
    return state, trouble


def _estimates(first: State, second: State) -> list[dict[str, Any]]:
    """F₂ − F₁ by each way, with its error, kT."""

    def row(by: str, value: float, *errors: float) -> dict[str, Any]:
        return {"by": by, "delta_f_kt": value, "delta_f_kt_se": math.hypot(*errors)}

    one, two = first.row, second.row
    return [
        row(
            "Bennett's acceptance ratio",
            first.log_z - second.log_z,
            first.log_z_se,
            second.log_z_se,
        ),
        row(
            "log Z of the references",
            one["log_z_ref"] - two["log_z_ref"],
            one["log_z_ref_se"],
            two["log_z_ref_se"],
        ),
        row("difference of the losses", two["loss"] - one["loss"], one["loss_se"], two["loss_se"]),
    ]


def _write(
    out: Path, request: Pair, states: Sequence[State], rows: Sequence[dict[str, Any]]
) -> None:
    """The estimates, the works, what they are, and their picture from these files alone."""
    write_table(out / ESTIMATES, list(rows))
    with replacing(out / WORKS) as temporary:
        arrays = {
            f"{name}_{number}": getattr(state.works, f"of_{name}").numpy()
            for number, state in enumerate(states, 1)
            for name in ("tuned", "tilt")
        }
        np.savez(temporary, allow_pickle=False, **arrays)
    about = {
        "runs": [
            state.told.about()
            | {
                "log_z": state.log_z,
                "log_z_se": state.log_z_se,
                "kl_gap": float(state.row["kl_gap"]),
                "kl_gap_se": float(state.row["kl_gap_se"]),
            }
            for state in states
        ],
        "n": request.n,
        "seed": request.seed,
        "threads": torch.get_num_threads(),
        "version": __version__,
    }
    write_json(out / BETWEEN, about)
    draw_between(out)
