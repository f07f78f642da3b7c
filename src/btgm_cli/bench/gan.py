"""Part `gan`: tuned models of `gan_mnist` beside rejection, tempered SMC and NUTS.

All are held against one reference of the exact tilt, larger than what they may spend and with a
seed of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from btgm_cli.bench.rivals import WAYS, Contest, Sizes
from btgm_cli.bench.settings import Settings
from btgm_cli.bench.table import Table
from btgm_cli.core import BtgmError, Reference
from btgm_cli.latent import LatentCriterion
from btgm_cli.loading import load_criterion, load_model
from btgm_cli.references import Estimated, ReferenceSource
from btgm_cli.tuning import Tuning
from btgm_cli.tuning.feasibility import STRONGEST

TRUTH = ("kl", "log_z", "log_z_se", "method")
"""Of the exact tilt, as well as it is known."""

COLUMNS = (
    "criterion",
    "kl",
    "method",
    "seed",
    "beta",
    "log_z_error",
    "kl_gap",
    "ess_fraction",
    "mean_error_sd",
    "evals_per_draw",
    "seconds_per_draw",
    "fixed_evals",
    "fixed_seconds",
    "status",
    *(f"truth_{what}" for what in TRUTH),
)

TRUTH_SEED = -1
"""None of the seeds under test."""

STEP = 1.2
"""Factor of β while a KL is looked for; small, since the truth's SMC has to climb as far."""


@dataclass(frozen=True)
class Plan:
    """What is contested, and how much everyone may spend.

    Args:
        kls: for each criterion, rising; no tilt towards a class goes beyond −log of its share.
        truth: draws of p, and particles, behind the truth.
        sizes: of the methods.
    """

    kls: Mapping[str, Sequence[float]]
    truth: tuple[int, int]
    sizes: Sizes


FULL = Plan(
    kls={"log_class4": (2.2,), "white": (2.3, 4.6, 9.2), "black": (2.3, 4.6, 9.2)},
    truth=(100_000, 16_000),
    sizes=Sizes(Tuning(), particles=1000, warm_up=100, chain=150, n_draws=10_000),
)
QUICK = Plan(
    kls={"log_class4": (1.0,)},
    truth=(2000, 400),
    sizes=Sizes(
        Tuning(
            first_steps=3,
            steps=3,
            batch_size=32,
            acceptance=1,
            n_eval=200,
            n_reference=200,
            n_particles=100,
        ),
        particles=25,
        warm_up=2,
        chain=6,
        n_draws=200,
    ),
)


def run(settings: Settings) -> None:
    """The table for all criteria, KLs, methods and seeds."""
    plan = QUICK if settings.quick else FULL
    table = Table(settings.folder / "gan.csv", COLUMNS, key=4)
    model = load_model("gan_mnist")
    for name, kls in plan.kls.items():
        seeds = [seed for seed in range(settings.seeds) if _missing(table, name, kls, seed)]
        if not seeds:
            continue
        f = LatentCriterion(model, load_criterion(name))
        truth = Estimated(f, *plan.truth, TRUTH_SEED)
        tilts = dict(zip(kls, tilts_at(truth, kls), strict=True))
        for seed in seeds:
            contest = Contest(f, list(tilts.values()), truth, seed, plan.sizes)
            _compete(contest, name, tilts, table)
    table.show()


def tilts_at(truth: ReferenceSource, kls: Sequence[float]) -> list[Reference]:
    """The tilts with these KLs, nats, rising; β by bisection of its logarithm.

    The truth's KL jumps where it passes from importance sampling to SMC, so that what is met may
    be off by its error.
    """
    spread = math.sqrt(truth.at(0.0).var)
    low = high = 0.1 / spread
    found = []
    for kl in kls:
        while truth.at(high).kl < kl:
            if high * spread > STRONGEST:
                raise BtgmError(f"no tilt has a KL of {kl} nats")
            low, high = high, STEP * high
        for _ in range(40):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if truth.at(middle).kl < kl else (low, middle)
        found.append(truth.at(high))
    return found


def _missing(table: Table, name: str, kls: Sequence[float], seed: int) -> bool:
    methods = [method for methods in WAYS for method in methods]
    return not all(table.has(name, kl, method, seed) for kl in kls for method in methods)


def _compete(contest: Contest, name: str, tilts: Mapping[float, Reference], table: Table) -> None:
    """Add the rows of one criterion and seed that the table lacks."""
    for methods, way in WAYS.items():
        missing = {
            exact.beta: (kl, exact)
            for kl, exact in tilts.items()
            if not all(table.has(name, kl, method, contest.seed) for method in methods)
        }
        if not missing:
            continue
        for row in way(contest, [exact for _, exact in missing.values()]):
            kl, exact = missing[row["beta"]]
            if not table.has(name, kl, row["method"], contest.seed):
                truth = {f"truth_{what}": getattr(exact, what) for what in TRUTH}
                table.add(row | truth | {"criterion": name, "kl": kl, "seed": contest.seed})
