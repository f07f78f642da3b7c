"""Part `energy`: weeks of load with a high peak, at the KL of the top 1e-2 and of the top 1e-4.

A decoding is one z with all the draws of x that f̂ is the mean of, and so an evaluation of f̂. The
`mean` and the 99 % quantile `q99` are those of f̂ under the tilt, kW.
"""

from __future__ import annotations

import math

from experiments.bench.gan import COLUMNS as CONTEST
from experiments.bench.gan import QUICK as QUICK_CONTEST
from experiments.bench.gan import Plan, hold
from experiments.bench.rivals import WAYS, Sizes
from experiments.bench.settings import Settings
from experiments.bench.table import Table

from btgm_cli.cli.loading import load_model
from btgm_cli.tuning import Tuning

ERRORS = ("mean", "mean_error", "truth_mean", "q99", "q99_error", "truth_q99")
COLUMNS = (*CONTEST, *ERRORS)

CONTESTED = {methods: way for methods, way in WAYS.items() if "nuts" not in methods}

FULL = Plan(
    kls={"peak": (round(-math.log(1e-2), 2), round(-math.log(1e-4), 2))},
    truth=(100_000, 32_000),
    sizes=Sizes(Tuning(), particles=250, warm_up=0, chain=0, n_draws=10_000),
    ways=CONTESTED,
)
QUICK = Plan(kls={"peak": (0.1,)}, truth=(1000, 200), sizes=QUICK_CONTEST.sizes, ways=CONTESTED)


def run(settings: Settings) -> None:
    """The table for both KLs, all methods and seeds."""
    table = Table(settings.folder / "energy.csv", COLUMNS, key=4)
    hold(QUICK if settings.quick else FULL, load_model("vae_energy"), table, settings.seeds)
    table.show()
