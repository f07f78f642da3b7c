"""Part `gan`: tuned models of `gan_mnist` beside rejection, tempered SMC, NUTS, nautilus, pocoMC.

Part `energy` is held in the same way.

All are held against one reference of the exact tilt, larger than what they may spend and with a
seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from experiments.bench.foreign import is_installed
from experiments.bench.rivals import FOREIGN, WAYS, Contest, Row, Sizes, Way, weighted_quantile
from experiments.bench.settings import Settings
from experiments.bench.table import Table

from btgm_cli.cli.loading import load_criterion, load_model
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Reference
from btgm_cli.truth.price import N_BEST
from btgm_cli.truth.references import Estimated, tilts_at
from btgm_cli.tuning import Tuning

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


@dataclass(frozen=True)
class Plan:
    """What is contested, and how much everyone may spend.

    Args:
        kls: for each criterion, rising; no tilt towards a class goes beyond −log of its share.
        truth: draws of p, and particles, behind the truth.
        sizes: of the methods.
        ways: the methods.
    """

    kls: Mapping[str, Sequence[float]]
    truth: tuple[int, int]
    sizes: Sizes
    ways: Mapping[tuple[str, ...], Way] = field(default_factory=lambda: WAYS)


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
            min_acceptance_rate=1,
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
    plan = QUICK if settings.quick else replace(FULL, ways=WAYS | installed())
    table = Table(settings.folder / "gan.csv", COLUMNS, key=4)
    hold(plan, load_model("gan_mnist"), table, settings.seeds)
    table.show()


def installed() -> dict[tuple[str, ...], Way]:
    """Samplers of other people's that are there; of the others it says that they are left out."""
    missing = [name for (name,) in FOREIGN if not is_installed(name)]
    for name in missing:
        print(f"gan: {name} is left out; pip install 'btgm[bench]' brings it", flush=True)
    return {names: way for names, way in FOREIGN.items() if names[0] not in missing}


def hold(plan: Plan, model: GenerativeModel, table: Table, seeds: int) -> None:
    """Fill a table with the contests of a plan that it lacks."""
    for name, kls in plan.kls.items():
        missing = [seed for seed in range(seeds) if _missing(table, plan, name, seed)]
        if not missing:
            continue
        for seed in missing:
            # f̂ of a random decoder has the seed's noises, and so a truth of its own.
            f = LatentCriterion(model, load_criterion(name), seed=seed)
            if f.is_stochastic or seed == missing[0]:
                truth = Estimated(f, *plan.truth, TRUTH_SEED)
                tilts = dict(zip(kls, tilts_at(truth, kls), strict=True))
            contest = Contest(f, list(tilts.values()), truth, seed, plan.sizes)
            _compete(contest, plan, name, tilts, table)


def _missing(table: Table, plan: Plan, name: str, seed: int) -> bool:
    methods = [method for methods in plan.ways for method in methods]
    kls = plan.kls[name]
    return not all(table.has(name, kl, method, seed) for kl in kls for method in methods)


def _compete(
    contest: Contest, plan: Plan, name: str, tilts: Mapping[float, Reference], table: Table
) -> None:
    """Add the rows of one criterion and seed that the table lacks."""
    for methods, way in plan.ways.items():
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
                truth = {f"truth_{what}": getattr(exact, what) for what in (*TRUTH, "mean")}
                full = row | truth | {"criterion": name, "kl": kl, "seed": contest.seed}
                full |= _errors(contest, full)
                table.add({key: value for key, value in full.items() if key in table.columns})


def _errors(contest: Contest, row: Row) -> Row:
    """How far the mean and the 99 % quantile of f are off, relative to the truth's."""
    generator = contest.generator("truth", row["beta"])
    f = contest.truth.particles(row["beta"], N_BEST, generator).f
    truth = weighted_quantile(f, torch.ones_like(f), 0.99)
    errors = {"truth_q99": truth}
    if "mean" in row:
        errors["mean_error"] = row["mean"] / row["truth_mean"] - 1
        errors["q99_error"] = row["q99"] / truth - 1
    return errors
