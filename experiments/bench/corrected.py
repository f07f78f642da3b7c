"""Part `corrected`: corrected draws of a tuned model that does not know a part of the tilt.

For each planted island (`experiments.bench.islands`), way and seed one file of `N` draws, as
`btgm sample` makes it. "q̂ alone" is the way without a share of p's own draws: what q̂ hardly ever
proposes is then missing, or is one draw that comes hundreds of times, and the weights' k̂ alone
says whether the file may be used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from experiments.bench.islands import Islands, ignorant
from experiments.bench.rivals import Row
from experiments.bench.settings import Settings
from experiments.bench.table import Table

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Reference, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.estimates import importance_reference, systematic
from btgm_cli.truth.tally import Tally
from btgm_cli.truth.trust import ERRORS, amiss, doubt
from btgm_cli.tuned.correction import Correct, Corrector, Draws
from btgm_cli.tuned.model import TunedModel

CASES = {
    "lower": (32, Islands(border=1.0, depth=4.0)),
    "middle": (32, Islands(border=2.0, depth=2.0)),
    "as high": (32, Islands(border=2.3, depth=0.0)),
    "small": (64, Islands(border=2.3, depth=2.0)),
    "rare": (64, Islands(border=3.0, depth=1.0)),
}
"""Dimension and island."""

N, QUICK = 5000, 300
"""Draws of a file."""

N_REFERENCE = 20_000
"""Draws of p behind each file's reference, as in the default tuning."""

FILES = 50
"""Of each seed of the bench."""

BEFORE = "q̂ alone"
WAYS = (BEFORE, *(str(way) for way in (Correct.RESAMPLE, Correct.REJECTION, Correct.MCMC)))

COLUMNS = (
    "case",
    "way",
    "seed",
    "dim",
    "unknown",
    "files",
    "off",
    "passed",
    "passed_off",
    "worst_passed",
    "effective_draws",
    "largest_share",
    "evals_per_draw",
    "weight_bound",
)


@dataclass(frozen=True)
class File:
    """A file of draws; `trouble` is what was said of it. See `truth.tally.Tally`."""

    mean: float
    mean_se: float
    trouble: str
    effective_draws: float
    largest_share: float
    evals_per_draw: float
    weight_bound: float


def run(settings: Settings) -> None:
    """The table for all cases, ways and seeds."""
    table = Table(settings.folder / "corrected.csv", COLUMNS, key=3)
    n, files = (QUICK, 2) if settings.quick else (N, FILES)
    cases = {"middle": CASES["middle"]} if settings.quick else CASES
    for case, (dim, islands) in cases.items():
        f, tuned = ignorant(islands, dim)
        for seed in range(settings.seeds):
            for way in WAYS:
                if not table.has(case, way, seed):
                    made = [file_of(f, tuned, way, n, seed * files + k) for k in range(files)]
                    about = {"case": case, "way": way, "seed": seed, "dim": dim}
                    table.add(about | measure(islands, made))
    table.show()


def measure(islands: Islands, files: Sequence[File]) -> Row:
    """What became of these files, held against the exact tilt.

    Those are off whose mean of f is more than four of their own errors from the exact one.
    """
    mean, _, unknown = islands.exact()
    errors = np.array([abs(file.mean - mean) / file.mean_se for file in files])
    passed = np.array([not file.trouble for file in files])
    return {
        "unknown": unknown,
        "files": len(files),
        "off": int((errors > ERRORS).sum()),
        "passed": int(passed.sum()),
        "passed_off": int((passed & (errors > ERRORS)).sum()),
        "worst_passed": float(errors[passed].max()) if passed.any() else math.nan,
        "effective_draws": median(file.effective_draws for file in files),
        "largest_share": max(file.largest_share for file in files),
        "evals_per_draw": median(file.evals_per_draw for file in files),
        "weight_bound": median(file.weight_bound for file in files),
    }


def file_of(f: LatentCriterion, tuned: TunedModel, way: str, n: int, seed: int) -> File:
    """One file of n draws of the tilt by β = 1, and what is said of it."""
    before = way == BEFORE
    correct = Correct.RESAMPLE if before else Correct(way)
    generator = derived_generator(seed, "bench", "corrected", way)
    corrector = Corrector(tuned, f, 1.0, Correct.NONE if before else correct, generator)
    blocks = _resampled(corrector) if before else corrector.draws(n)
    tally = Tally()
    while tally.n < n:
        block = next(blocks)
        taken = block.at(torch.arange(min(len(block), n - tally.n)))
        tally.add(taken.z.numpy(), taken.f.numpy())
    trouble = doubt(Status.OK_CORRECTED, Status.OK_CORRECTED, correct, corrector.pilot)
    if not before:
        exact = _reference(f, seed)
        trouble = trouble or amiss(tally, exact.mean, exact.mean_se)
    return File(
        tally.mean,
        tally.mean_se,
        trouble,
        tally.effective,
        tally.largest_share,
        corrector.f_evals / n,
        math.exp(corrector.log_weight_bound),
    )


def _reference(f: LatentCriterion, seed: int) -> Reference:
    """The exact tilt, as well as a run would know it."""
    generator = derived_generator(seed, "bench", "corrected", "reference")
    return importance_reference(1.0, evaluate(f, f.model.sample_prior(N_REFERENCE, generator)))


def _resampled(corrector: Corrector) -> Iterator[Draws]:
    """Weighted draws of q̂, resampled block by block, as many as are effective."""
    for block in corrector.draws(N):
        weights = block.log_weight.exp()
        expected = corrector.pilot.ess_fraction * weights.sum().item()
        start = torch.rand((), generator=corrector.generator).item()
        count = math.floor(expected + start)
        yield block.at(systematic(weights, count, corrector.generator)).equally_weighted()
