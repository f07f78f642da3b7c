"""`summary.json`: how a run ended, as plain data, and the command that would mend it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from btgm_cli import __version__
from btgm_cli.cli.job import Job
from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Figures, Status
from btgm_cli.core.target import Target
from btgm_cli.store.tables import finite_or_none
from btgm_cli.truth.references import Estimated
from btgm_cli.tuning import TuneResult


def summary(
    job: Job, checkpoints: Mapping[str, str], result: TuneResult, path: Path, seconds: float
) -> dict[str, Any]:
    """How a run ended.

    Args:
        job: what was run.
        checkpoints: SHA-256 of each, by setting.
        result: what came out.
        path: the directory.
        seconds: of wall time.
    """
    problem, figures = job.problem, [point.figures for point in result.points]
    return {
        "model": job.names.model,
        "criterion": job.names.criterion,
        "flow": problem.flow.settings,
        "thresholds": asdict(problem.thresholds),
        "target": _asked(problem.target),
        "gradient": str(result.gradient),
        "status": str(result.status),
        "message": result.message,
        "remedy": command(job, result, path),
        "reached": {name: finite_or_none(value) for name, value in _reached(figures[-1]).items()},
        **{name: finite_or_none(value) for name, value in _extremes(figures).items()},
        "rows_without_reference": sum(not each.reference.reliable for each in figures),
        "f_evals": result.f_evals,
        "smc_gradients": _gradients(result.reference),
        "wall_seconds": round(seconds, 1),
        "seed": problem.seed,
        "device": str(problem.device),
        "threads": torch.get_num_threads(),
        "checkpoint_hash": checkpoints.get("model.checkpoint"),
        "classifier_hash": checkpoints.get("criterion.classifier"),
        "versions": {
            "btgm": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pyro": version("pyro-ppl"),
        },
    }


def command(job: Job, result: TuneResult, path: Path) -> str:
    """The remedy as a line to type, where it is one; empty where none is needed."""
    if result.status is Status.OK_CORRECTED:
        return f"btgm sample {path} {result.remedy}"
    if "=" not in result.remedy:
        return result.remedy
    changed = {item.partition("=")[0] for item in result.remedy.split()}
    kept = [item for item in job.overrides if item.partition("=")[0] not in changed]
    return shlex.join(["btgm", "run", *kept, *result.remedy.split()])


def _gradients(reference: ReferenceSource) -> int | None:
    """Gradients of f behind the SMC, 0 where its moves follow none; None where none has run."""
    if isinstance(reference, Estimated) and reference.has_climbed:
        return reference.smc.gradients
    return None


def _reached(last: Figures) -> dict[str, float]:
    """The figures of the last β."""
    return {
        "beta": last.moments.beta,
        "beta_own": last.beta_own,
        "beta_normalized": last.beta_normalized,
        "mean_f": last.moments.mean,
        "kl": last.moments.kl,
        "kl_gap": last.kl_gap,
        "ess_fraction": last.ess_fraction,
        "pareto_k": last.pareto_k,
        "coverage": last.coverage,
        "precision": last.precision,
        "forward_kl": last.forward_kl,
    }


def _extremes(points: list[Figures]) -> dict[str, float]:
    """The worst figures of all β."""
    return {
        "kl_gap_max": max(point.kl_gap for point in points),
        "ess_fraction_min": min(point.ess_fraction for point in points),
        "coverage_min": min(point.coverage for point in points),
    }


def _asked(target: Target) -> dict[str, Any]:
    """The target as JSON has it."""
    given = {name: _plain(value) for name, value in vars(target).items() if value is not None}
    return given or {"betas": list(target.path or ())}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: float(item) for name, item in value.items()}
    if isinstance(value, int | float):
        return value
    return [item if isinstance(item, str) else float(item) for item in value]
