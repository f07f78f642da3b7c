"""One run, left to right: configuration, objects, Algorithm 1, files, pictures."""

from __future__ import annotations

import logging
import math
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from btgm_cli import __version__
from btgm_cli.cli.config import Objects, build, build_scenarios
from btgm_cli.cli.progress import ProgressBar
from btgm_cli.core.results import PathPoint, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.load.scenario_pictures import draw_scenarios
from btgm_cli.domains.load.scenarios import write_scenarios
from btgm_cli.report import draw_all
from btgm_cli.store.checkpoints import checkpoint_hash
from btgm_cli.store.files import replacing, write_json
from btgm_cli.store.journal import RunJournal
from btgm_cli.store.runs import (
    COST,
    REFERENCE,
    SUMMARY,
    THEORY,
    TRACE,
    finite_or_none,
    read_run,
    write_table,
)
from btgm_cli.truth.price import Price, prices
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import TuneResult, tune

log = logging.getLogger(__name__)

EXIT_CODES = {Status.OK: 0, Status.OK_CORRECTED: 0}
MISSED = 3

KEPT = 1000
"""Draws of the reference that a run keeps."""


@dataclass(frozen=True)
class Names:
    """What the run directory and its pictures call the pair."""

    model: str
    criterion: str


def execute(cfg: DictConfig, path: Path, names: Names) -> int:
    """Run, or go on with, one configuration in its directory.

    Returns:
        0 where the target was met, 3 where it was missed; all files are written in either case.
    """
    started = time.perf_counter()
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    objects = build(cfg)
    journal = RunJournal(path, objects.flow.settings, _draws(objects, cfg))
    with ProgressBar(f"{names.model} / {names.criterion}", objects, journal.points()) as bar:
        journal.watch(bar.finish_point)
        result = tune(
            objects.model,
            objects.criterion,
            target=objects.target,
            flow=objects.flow,
            settings=objects.tuning,
            thresholds=objects.thresholds,
            seed=cfg.seed,
            device=objects.device,
            journal=journal,
            observe=bar.advance,
        )
    write_table(path / TRACE, result.trace)
    write_table(path / THEORY, _theory(result))
    kept = derived_generator(cfg.seed, "kept", device=objects.device)
    _keep_reference(result, path / REFERENCE, kept)
    costs = prices(
        result.f,
        result.points,
        objects.tuning.batch_size,
        result.reference,
        derived_generator(cfg.seed, "price", device=objects.device),
    )
    write_table(path / COST, [asdict(price) for price in costs])
    seconds = time.perf_counter() - started
    write_json(path / SUMMARY, _summary(cfg, names, objects, result, seconds, path))
    scenarios = build_scenarios(cfg)
    if scenarios.n:
        generator = derived_generator(cfg.seed, "scenarios", device=objects.device)
        last = result.points[-1]
        refused = write_scenarios(path, scenarios, result.tuned, result.f, last, generator)
        if refused:
            log.warning(refused)
            print(refused)
    run = read_run(path)
    draw_all(run)
    draw_scenarios(run)
    _tell(result, costs, path)
    return EXIT_CODES.get(result.status, MISSED)


def _draws(objects: Objects, cfg: DictConfig) -> Any:
    """How to draw the samples shown: the same noise for each β, so that rows can be compared."""

    def draw(point: PathPoint) -> np.ndarray:
        # The point is the one just tuned: its weights are those in the flow.
        acceptance = Acceptance.of(point.acceptance_state) if point.acceptance_state else None
        if acceptance:
            acceptance.to(objects.device)
        generator = derived_generator(cfg.seed, "pictures", device=objects.device)
        tuned = TunedModel(objects.model, objects.flow, acceptance)
        return tuned.sample(cfg.samples, generator).float().cpu().numpy()

    return draw


def _theory(result: TuneResult) -> list[dict[str, Any]]:
    """The reference on a dense grid of β that spans the run."""
    top = max(point.figures.moments.beta for point in result.points) or 1.0
    tilts = [result.reference.at(float(beta)) for beta in np.linspace(0.0, 1.1 * top, 45)]
    return [
        {
            "beta": tilt.beta,
            "mean_f": tilt.mean,
            "mean_f_se": tilt.mean_se,
            "kl": tilt.kl,
            "kl_se": tilt.kl_se,
            "log_z": tilt.log_z,
            "ess": tilt.ess,
            "pareto_k": tilt.pareto_k,
            "reliable": tilt.reliable,
            "method": tilt.method,
        }
        for tilt in tilts
    ]


def _keep_reference(result: TuneResult, path: Path, generator: torch.Generator) -> None:
    """Write draws z of the exact tilt at the last β, as well as it is known, where it is."""
    if math.isfinite(result.points[-1].figures.reference.log_z):
        z = result.reference.particles(result.beta, KEPT, generator).z
        with replacing(path) as temporary:
            np.save(temporary, z.float().cpu().numpy())


def _summary(
    cfg: DictConfig,
    names: Names,
    objects: Objects,
    result: TuneResult,
    seconds: float,
    path: Path,
) -> dict[str, Any]:
    """How the run ended, as plain data."""
    figures = [point.figures for point in result.points]
    last = result.points[-1]
    reached = {
        "beta": last.beta,
        "beta_own": last.figures.beta_own,
        "beta_normalized": last.figures.beta_normalized,
        "mean_f": last.figures.moments.mean,
        "kl": last.figures.moments.kl,
        "kl_gap": last.figures.kl_gap,
        "ess_fraction": last.figures.ess_fraction,
        "pareto_k": last.figures.pareto_k,
        "coverage": last.figures.coverage,
        "precision": last.figures.precision,
        "forward_kl": last.figures.forward_kl,
    }
    target = {name: value for name, value in vars(objects.target).items() if value is not None}
    return {
        "model": names.model,
        "criterion": names.criterion,
        "flow": objects.flow.settings,
        "thresholds": asdict(objects.thresholds),
        "target": {name: _listed(value) for name, value in target.items()}
        or {"betas": list(objects.target.path or ())},
        "gradient": str(result.gradient),
        "status": str(result.status),
        "message": result.message,
        "remedy": _command(result, path) if result.remedy else "",
        "reached": {name: finite_or_none(value) for name, value in reached.items()},
        "kl_gap_max": finite_or_none(max(each.kl_gap for each in figures)),
        "ess_fraction_min": finite_or_none(min(each.ess_fraction for each in figures)),
        "coverage_min": finite_or_none(min(each.coverage for each in figures)),
        "rows_without_reference": sum(not each.reference.reliable for each in figures),
        "f_evals": result.f_evals,
        "wall_seconds": round(seconds, 1),
        "seed": cfg.seed,
        "device": str(objects.device),
        "threads": torch.get_num_threads(),
        "checkpoint_hash": _hash(cfg.model, "checkpoint"),
        "classifier_hash": _hash(cfg.criterion, "classifier"),
        "versions": {
            "btgm": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pyro": version("pyro-ppl"),
        },
    }


def _hash(node: DictConfig, key: str) -> str | None:
    """SHA-256 of the checkpoint that a configuration node names, if it names one."""
    return checkpoint_hash(node[key], key) if key in node else None


def _listed(value: Any) -> Any:
    """A target's value as JSON has it."""
    if isinstance(value, Mapping):
        return {name: float(item) for name, item in value.items()}
    return [float(item) for item in value] if not isinstance(value, int | float) else value


def _tell(result: TuneResult, costs: list[Price], path: Path) -> None:
    """The last lines on the terminal, and in the log: prices, verdict, remedy, directory."""
    last = [price for price in costs if price.beta == result.beta]
    if last:
        print(f"evaluations of f for an effective draw at β = {result.beta:.4g}:")
    for price in last:
        pays = f"from {price.pays_from:,.0f} draws" if math.isfinite(price.pays_from) else "never"
        text = f"  {price.method:18} {price.each:8.4g}"
        if price.method != "rejection":
            text += f"   + {price.fixed:,.0f} once; cheaper than rejection {pays}"
        print(text)
    log.info("%s: %s", result.status, result.message)
    print(f"{result.status}: {result.message}")
    if result.remedy:
        remedy = _command(result, path)
        log.warning("remedy: %s", remedy)
        print(f"remedy: {remedy}")
    print(path)
    sys.stdout.flush()


def _command(result: TuneResult, path: Path) -> str:
    """The remedy as a line to type, where it is one."""
    if result.status is Status.OK_CORRECTED:
        return f"btgm sample {path} {result.remedy}"
    if "=" not in result.remedy:
        return result.remedy
    file = path / ".hydra" / "overrides.yaml"
    given = [str(item) for item in OmegaConf.load(file)] if file.is_file() else []
    changed = {item.partition("=")[0] for item in result.remedy.split()}
    kept = [item for item in given if item.partition("=")[0] not in {*changed, "hydra.run.dir"}]
    return shlex.join(["btgm", "run", *kept, *result.remedy.split()])
