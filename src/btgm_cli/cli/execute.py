"""One run, left to right: configuration, objects, Algorithm 1, files, pictures."""

from __future__ import annotations

import logging
import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from btgm_cli import __version__
from btgm_cli.checkpoints import checkpoint_hash
from btgm_cli.cli.progress import ProgressBar
from btgm_cli.config import Objects, build
from btgm_cli.core import State, Status
from btgm_cli.files import write_json
from btgm_cli.journal import RunJournal
from btgm_cli.references import ReferenceSource, reference_for
from btgm_cli.report import draw_all
from btgm_cli.runs import SUMMARY, THEORY, TRACE, finite_or_none, read_run, write_table
from btgm_cli.sampling import TunedModel
from btgm_cli.seeds import derived_generator
from btgm_cli.tuning import TuneResult, tune

log = logging.getLogger(__name__)

EXIT_CODES = {Status.OK: 0}
MISSED = 3


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
    reference = reference_for(
        objects.model,
        objects.criterion,
        objects.tuning.n_reference,
        derived_generator(cfg.seed, "reference", device=objects.device),
    )
    with ProgressBar(f"{names.model} / {names.criterion}", objects, journal.points()) as bar:
        journal.watch(bar.finish_point)
        result = tune(
            objects.model,
            objects.criterion,
            target=objects.target,
            flow=objects.flow,
            settings=objects.tuning,
            seed=cfg.seed,
            device=objects.device,
            reference=reference,
            journal=journal,
            observe=bar.advance,
        )
    write_table(path / TRACE, result.trace)
    write_table(path / THEORY, _theory(reference, result))
    seconds = time.perf_counter() - started
    write_json(path / SUMMARY, _summary(cfg, names, objects, result, reference, seconds))
    draw_all(read_run(path))
    _tell(result, path)
    return EXIT_CODES.get(result.status, MISSED)


def _draws(objects: Objects, cfg: DictConfig) -> Any:
    """How to draw the samples shown: the same noise for each β, so that rows can be compared."""

    def draw(state: State) -> np.ndarray:
        flow = objects.flow
        current = flow.snapshot()
        flow.load_state_dict(state)
        generator = derived_generator(cfg.seed, "pictures", device=objects.device)
        x = TunedModel(objects.model, flow).sample(cfg.samples, generator)
        flow.load_state_dict(current)
        return x.float().cpu().numpy()

    return draw


def _theory(reference: ReferenceSource, result: TuneResult) -> list[dict[str, Any]]:
    """The reference on a dense grid of β that spans the run."""
    top = max(point.moments.beta for point in result.points) or 1.0
    tilts = [reference.at(float(beta)) for beta in np.linspace(0.0, 1.1 * top, 45)]
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


def _summary(
    cfg: DictConfig,
    names: Names,
    objects: Objects,
    result: TuneResult,
    reference: ReferenceSource,
    seconds: float,
) -> dict[str, Any]:
    """How the run ended, as plain data."""
    last = result.points[-1]
    reached = {
        "beta": last.moments.beta,
        "mean_f": last.moments.mean,
        "kl": last.moments.kl,
        "kl_gap": last.kl_gap,
        "ess_fraction": last.ess_fraction,
    }
    target = {name: value for name, value in vars(objects.target).items() if value is not None}
    return {
        "model": names.model,
        "criterion": names.criterion,
        "flow": objects.flow.settings,
        "target": {name: _listed(value) for name, value in target.items()}
        or {"betas": list(objects.target.path or ())},
        "status": str(result.status),
        "message": result.message,
        "remedy": result.remedy,
        "reached": {name: finite_or_none(value) for name, value in reached.items()},
        "kl_gap_max": finite_or_none(max(point.kl_gap for point in result.points)),
        "ess_fraction_min": finite_or_none(min(point.ess_fraction for point in result.points)),
        "rows_without_reference": sum(not point.reference.reliable for point in result.points),
        "f_evals": sum(point.f_evals for point in result.points) + reference.f_evals,
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
    return [float(item) for item in value] if not isinstance(value, int | float) else value


def _tell(result: TuneResult, path: Path) -> None:
    """The last lines on the terminal, and in the log."""
    log.info("%s: %s", result.status, result.message)
    print(f"{result.status}: {result.message}")
    if result.remedy:
        log.warning("remedy: %s", result.remedy)
        print(f"remedy: {result.remedy}")
    print(path)
    sys.stdout.flush()
