"""One run, left to right: a checked job, Algorithm 1, files, pictures."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btgm_cli.cli.forecast import table
from btgm_cli.cli.job import Job, cpu_threads
from btgm_cli.cli.progress import ProgressBar
from btgm_cli.cli.run_log import logged
from btgm_cli.cli.summary import command, summary
from btgm_cli.core.blame import name_of
from btgm_cli.core.blame import told as in_words
from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import PathPoint, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report import draw_all
from btgm_cli.report.html import write_run_page
from btgm_cli.store.decoded import DecodedDraws
from btgm_cli.store.files import npy_bytes, remove_leftovers, write_bytes, write_json
from btgm_cli.store.journal import RunJournal
from btgm_cli.store.lock import locked
from btgm_cli.store.manifest import Manifest, claim, read_manifest
from btgm_cli.store.paid import PAID
from btgm_cli.store.runs import FLOWS, REFERENCE, SAMPLES, SUMMARY, read_run
from btgm_cli.store.tables import COST, MARGINALS, THEORY, TRACE, VIEWS, write_table
from btgm_cli.truth.price import Price, prices
from btgm_cli.truth.trust import TiltDraws
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import Problem, TuneResult, solve
from btgm_cli.tuning.forecast import begun

log = logging.getLogger(__name__)

EXIT_CODES = {Status.OK: 0, Status.OK_CORRECTED: 0}
MISSED = 3

KEPT = 1000
"""Draws of the reference that a run keeps."""


def execute(
    job: Job,
    manifest: Manifest,
    path: Path,
    *,
    resume: bool | None = False,
    told: bool = False,
    decoded: DecodedDraws | None = None,
) -> int:
    """Run, or go on with, one job in its directory.

    Args:
        job: what to run.
        manifest: its configuration, as the directory is to belong to.
        path: the directory.
        resume: go on with the run there; else none may have begun there. None: if there is one.
        told: has somebody said already what draws will cost?
        decoded: x that other jobs of a sweep have decoded.

    Returns:
        0 where the target was met, 3 where it was missed; all files are written in either case.

    Raises:
        SettingError: the directory is in use, or another run's.
        DataError: a damaged file in it.
        WriteError: there is no room, or no permission.
    """
    with cpu_threads(job.options.threads), locked(path):
        if resume is None:
            resume = read_manifest(path) is not None
        there = claim(path, manifest, resume=resume)
        with logged(path):
            for folder in (path, path / FLOWS, path / SAMPLES, path / PAID):
                remove_leftovers(folder)
            with sparing(_counts(job)):
                return _execute(job, there, path, tell=not (resume or told), decoded=decoded)


def _counts(job: Job) -> dict[str, float]:
    """How many draws a run holds at once."""
    names = ("batch_size", "n_eval", "n_reference", "n_particles")
    counts = {f"tuning.{name}": getattr(job.problem.settings, name) for name in names}
    return {"samples": job.options.samples, **counts}


def _execute(
    job: Job, manifest: Manifest, path: Path, *, tell: bool, decoded: DecodedDraws | None
) -> int:
    problem = job.problem
    draw = _draws_of(problem, job.options.samples)
    journal = RunJournal(path, manifest, problem.flow.settings, draw)
    for warning in [*journal.warnings, *journal.paid.damaged]:
        log.warning(warning)
        print(f"btgm run: {warning}", file=sys.stderr)
    try:
        reference = _look_ahead(job, journal, decoded, tell=tell)
        result = _tuned(job, journal, reference)
        journal.begin_tables()
        costs = _write_tables(job, result, path, journal)
    finally:
        journal.paid.flush()
    journal.finish()
    write_json(path / SUMMARY, summary(job, manifest.checkpoints, result, path, journal.seconds))
    _export(job, result, path)
    journal.keep_tables()
    _draw(job, path)
    _track(job, path)
    _tell(result, costs, command(job, result, path), path)
    return EXIT_CODES.get(result.status, MISSED)


def _write_tables(job: Job, result: TuneResult, path: Path, journal: RunJournal) -> list[Price]:
    """Write what the whole run tells, beside its rows; the prices are returned."""
    write_table(path / TRACE, result.trace)
    write_table(path / THEORY, _theory(result))
    _keep_reference(result, path / REFERENCE, _generator(job, "kept"))
    costs = prices(
        result.f.remembering(journal.paid, "price", *result.points[-1].weights),
        result.points,
        result.reference,
        _generator(job, "price"),
    )
    write_table(path / COST, [asdict(price) for price in costs])
    if result.views:
        write_table(path / VIEWS, result.views.rows)
        write_table(path / MARGINALS, result.views.marginals)
    return costs


def _look_ahead(
    job: Job, journal: RunJournal, decoded: DecodedDraws | None, *, tell: bool
) -> ReferenceSource | None:
    """The reference, once it has told what draws will cost; None where it is made later.

    Args:
        job: what to run.
        journal: of its directory.
        decoded: x that other jobs of a sweep have decoded.
        tell: or has it been told before?
    """
    target = job.problem.target
    if not tell or target.at_least is not None or target.views is not None:
        return None
    reference, ahead = begun(job.problem, journal.paid, decoded)
    lines = [table(ahead)] if ahead else []
    if decoded and decoded.saved:
        lines.append(f"{decoded.saved:,} draws of p were decoded by another job of the sweep")
    for line in lines:
        print(line, flush=True)
        log.info("%s", line)
    return reference


def _tuned(job: Job, journal: RunJournal, reference: ReferenceSource | None) -> TuneResult:
    """Algorithm 1, journaled in the run's directory and shown on the terminal."""
    title = f"{job.names.model} / {job.names.criterion}"
    with ProgressBar(title, job.problem, journal.points()) as bar:
        journal.watch(bar.finish_point)
        return solve(job.problem, reference=reference, journal=journal, observe=bar.advance)


def _draws_of(problem: Problem, n: int) -> Callable[[PathPoint], np.ndarray]:
    """How to draw the samples shown: the same noise for each β, so that rows can be compared."""

    def draw(point: PathPoint) -> np.ndarray:
        generator = derived_generator(problem.seed, "pictures", device=problem.device)
        tuned = TunedModel.of(
            problem.f.model,
            problem.flow.settings,
            point.flow_state,
            point.acceptance_state,
            problem.device,
        )
        return tuned.sample(n, generator).float().cpu().numpy()

    return draw


def _theory(result: TuneResult) -> list[dict[str, Any]]:
    """The reference on a dense grid of β that spans the run."""
    top = max(point.beta for point in result.points) or 1.0
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
        write_bytes(path, npy_bytes(z.float().cpu().numpy()))


def _export(job: Job, result: TuneResult, path: Path) -> None:
    """Write what the configuration asks for beside the tables, or tell why not."""
    row = result.points[-1].status
    for name, export in job.exports.items():
        generator = _generator(job, name)
        draws = TiltDraws(result.tuned, result.f, result.beta, result.status, row, generator)
        refused = export.write(path, draws)
        if refused:
            log.warning(refused)
            print(refused)


def _draw(job: Job, path: Path) -> None:
    """Draw all, from the files alone."""
    run = read_run(path)
    draw_all(run)
    further = [picture for export in job.exports.values() for picture in export.draw(path)]
    write_run_page(run, read_manifest(path), further=further)


def _track(job: Job, path: Path) -> None:
    """Send the run; what goes wrong there is no fault of the run's, which is in its files."""
    try:
        place = job.tracker.send(path)
    except Exception as error:  # of a library's or a network's, of any kind
        way_on = f"all is in {path}, and btgm run resume={path} sends it again"
        line = f"not sent by {name_of(job.tracker)} ({in_words(error)}): {way_on}"
        log.warning(line)
        print(f"btgm run: {line}", file=sys.stderr)
        return
    if place:
        print(f"sent: {place}")
        log.info("sent: %s", place)


def _generator(job: Job, purpose: str) -> torch.Generator:
    return derived_generator(job.problem.seed, purpose, device=job.problem.device)


def _tell(result: TuneResult, costs: list[Price], remedy: str, path: Path) -> None:
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
    if remedy:
        log.warning("remedy: %s", remedy)
        print(f"remedy: {remedy}")
    print(path)
    sys.stdout.flush()
