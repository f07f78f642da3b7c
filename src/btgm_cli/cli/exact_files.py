"""Draws of the exact tilt to their file: by rejection from p, or by SMC, with a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from btgm_cli.cli.draw_files import DrawFiles
from btgm_cli.cli.draw_parts import F_EVALS, DrawParts
from btgm_cli.cli.prepare import Prepared
from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Particles, Reference, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.files import write_json
from btgm_cli.store.tables import finite_or_none
from btgm_cli.truth.climbing import Climbed
from btgm_cli.truth.exact_draws import ExactDraws, Found, Part
from btgm_cli.truth.references import Estimated
from btgm_cli.truth.rejection import Rejection
from btgm_cli.truth.trust import off
from btgm_cli.tuning.ways import Method


@dataclass(frozen=True)
class Question:
    """What is to be drawn.

    Args:
        prepared: the settings, as of a run.
        method: rejection or smc.
        beta: the tilt.
        n: draws.
    """

    prepared: Prepared
    method: Method
    beta: float
    n: int

    def generator(self, *purpose: object) -> torch.Generator:
        """For one purpose."""
        problem = self.prepared.job.problem
        return derived_generator(
            problem.seed, "sample", self.method, self.beta, *purpose, device=problem.device
        )


def write_draws(
    question: Question, f: LatentCriterion, reference: ReferenceSource, files: DrawFiles
) -> str:
    """Draw in parts, write the files and tell them; the caller holds the parts.

    Args:
        question: what is to be drawn.
        f: the latent criterion f̂, which remembers what has been paid for.
        reference: the exact tilts; what it has drawn and climbed serves here too.
        files: where to.

    Returns:
        Why the draws cannot be relied on; empty where they can.
    """
    parts, tilt = files.parts, _known(reference, question.beta)
    way, paid = _way(question, f, reference, tilt, len(parts.sizes))
    _draw(way, question, parts)
    abouts = [parts.about(index) for index in range(len(parts.sizes))]
    found = way.found(abouts, parts.f_evals, question.n)
    files.write()
    tally = files.tally()
    error = tally.mean_se * math.sqrt(tally.effective / found.effective)
    trouble = found.trouble
    if not trouble and tilt.reliable:
        trouble = off(tally.mean, error, tilt.mean, tilt.mean_se)
    about = _about(question, tilt, found, trouble) | {
        "files": [path.name for path in files.names],
        "criterion_evaluations": paid + parts.f_evals,
        "mean_f": tally.mean,
        "mean_f_se": error,
        "largest_share": tally.largest_share,
    }
    files.picture(_heading(question, about["verdict"]))
    write_json(files.beside(".json"), about)
    files.tell()
    if not trouble:
        print(f"{about['verdict']}: {found.text}")
    return trouble


def _way(
    question: Question,
    f: LatentCriterion,
    reference: ReferenceSource,
    tilt: Reference,
    parts: int,
) -> tuple[ExactDraws, int]:
    """The way to so many parts, and the evaluations before the first."""
    problem, paid = question.prepared.job.problem, reference.f_evals
    if question.method is Method.SMC:
        begun = None
        if isinstance(reference, Estimated) and reference.has_climbed:
            begun = reference.smc
        most = problem.settings.n_particles
        return Climbed(f, question.beta, most, question.generator, begun), paid
    first = _first(question, f, reference)
    # Each part keeps what it cost, so that nothing else has to remember.
    way = Rejection(problem.f, tilt, first, parts, question.generator)
    return way, max(paid, len(first.f))


def _known(reference: ReferenceSource, beta: float) -> Reference:
    """The tilt without climbing for it; log Z is NaN where it cannot be relied on."""
    if isinstance(reference, Estimated) and not reference.has_climbed:
        tilt = reference.prior.at(beta)
    else:
        tilt = reference.at(beta)
    return tilt if tilt.reliable else replace(tilt, log_z=math.nan)


def _first(question: Question, f: LatentCriterion, reference: ReferenceSource) -> Particles:
    """Draws of p with f: the reference's, or where it has none as many."""
    if isinstance(reference, Estimated):
        return Particles(reference.prior.z, reference.prior.f)
    n = question.prepared.job.problem.settings.n_reference
    z = f.model.sample_prior(n, question.generator("first"))
    return Particles(z, evaluate(f, z))


def _draw(way: ExactDraws, question: Question, parts: DrawParts) -> None:
    """Draw the parts that are not there yet, and again those that have to be."""
    n, device = question.n, question.prepared.job.problem.device
    whole = [index for index in range(len(parts.sizes)) if parts.is_whole(index)]
    there = sum(parts.sizes[index] for index in whole)
    if there:
        print(f"going on: {there:,} of {n:,} draws are there", flush=True)
    way.recall([parts.about(index) for index in whole])
    with tqdm(total=n, initial=there, desc="draws", unit="draw", disable=None) as bar:
        for index, size in enumerate(parts.sizes):
            if index not in whole:
                _keep(parts, index, way.part(index, size))
                bar.update(size)
    abouts = [parts.about(index) for index in range(len(parts.sizes))]
    while (low := way.outdated(abouts)) is not None:
        before = Part(parts.draws(low, device), int(abouts[low][F_EVALS]), abouts[low])
        _keep(parts, low, way.again(before, low))
        abouts[low] = parts.about(low)


def _keep(parts: DrawParts, index: int, part: Part) -> None:
    parts.write(index, [part.draws], part.f_evals, part.about, part.population)


def _about(question: Question, tilt: Reference, found: Found, trouble: str) -> dict[str, Any]:
    """What the JSON says beside the files and the mean of f."""
    names = question.prepared.job.names
    return {
        "model": names.model,
        "criterion": names.criterion,
        "beta": question.beta,
        "method": str(question.method),
        "n": question.n,
        "seed": question.prepared.job.problem.seed,
        "threads": torch.get_num_threads(),
        "log_z": finite_or_none(tilt.log_z),
        "verdict": str(Status.UNRELIABLE_REFERENCE if trouble else Status.OK),
        "reason": trouble or found.text,
        "effective_draws": found.effective,
        **{name: finite_or_none(value) for name, value in found.figures.items()},
    }


def _heading(question: Question, verdict: str) -> str:
    names = question.prepared.job.names
    heading = f"{names.model} / {names.criterion} · β = {question.beta:.4g}"
    return f"{heading} · method={question.method} · verdict: {verdict}"
