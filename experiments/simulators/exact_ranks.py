"""How the exact posteriors cover the truths of a calibration of `model=linear5`, seed 0.

    python -m experiments.simulators.exact_ranks [CALIBRATION.csv]

The data sets of `btgm calibrate model=linear5 … seed=0` are simulated again; their posteriors are
normal. Tells what the luck of the data is, and how far the fits are from exact.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from experiments.simulators.truths import linear5
from scipy.special import ndtr

from btgm_cli import load_model
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.simulator import prior_draws
from btgm_cli.report.markdown import Row
from btgm_cli.store.tables import read_table
from btgm_cli.truth.coverage import covered

UNITS = 2000
SEED = 0


def rows(table: pd.DataFrame) -> Iterator[Row]:
    """Rank of each truth under the exact posterior, and the fit's distance from it."""
    model = load_model("linear5")
    assert isinstance(model, Parameters)
    simulator = model.simulator
    for number, fits in table.groupby("data_set"):
        truth = prior_draws(simulator.prior, 1, SEED, "calibrate", number)
        x = simulator.one(truth, UNITS, derived_seed(SEED, "calibrate", number, "data"))
        exact = linear5(x)
        for k, fit in enumerate(fits.to_dict("records")):
            away = (truth[0, k].item() - exact.mean[k]) / exact.sd[k]
            off = (fit["mean"] - exact.mean[k]) / exact.sd[k]
            row: Row = {"parameter": fit["parameter"], "rank": float(ndtr(away))}
            yield row | {"off": off, "ratio": fit["sd"] / exact.sd[k]}


if __name__ == "__main__":
    here = Path(__file__).with_name("linear5_calibration.csv")
    found = pd.DataFrame(rows(read_table(Path(sys.argv[1]) if sys.argv[1:] else here)))
    for name, part in found.groupby("parameter"):
        print(covered(str(name), part["rank"].to_list(), [""] * len(part)))
    off = found.groupby("parameter")["off"].agg(["mean", "sem", "std"])
    print(off.join(found.groupby("parameter")["ratio"].agg(["min", "max"])).to_string())
