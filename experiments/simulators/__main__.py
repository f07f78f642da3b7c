"""Fits of the simulators that ship, held against quadrature.

    python -m experiments.simulators [FOLDER] [NAME …] [data=SEED] [SETTING=VALUE …]

Makes data at the published truths, runs `btgm run experiment=NAME SETTING=VALUE …` and measures
its draws of the exact tilt beside the exact posterior. A finished run is not made again. Writes
`fits.csv`; other data or settings need another folder.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from experiments.simulators.truths import EXACT, Exact, Floats, by_brute_force

from btgm_cli.cli import main
from btgm_cli.cli.loading import load_run
from btgm_cli.domains.simulators import shipped
from btgm_cli.domains.simulators.fitted import FittedCritic, FittedDensity, FittedLikelihood
from btgm_cli.report.markdown import Row
from btgm_cli.store.files import replacing
from btgm_cli.store.runs import SUMMARY, read_run
from btgm_cli.store.tables import read_table, write_table

SEED = 1
"""Of the data, where no other is given."""

TRUTHS = {
    "poisson": (shipped.poisson, {"log_rate": np.log(7)}, 20_000),
    "linear5": (shipped.linear, {"alpha": 1.0, "beta": -1.0}, 20_000),
    "muons": (shipped.muons, {"E": 42.0, "G": 0.9}, 50_000),
    "queue": (shipped.queue, {"shortest": 1.0, "spread": 4.0, "arrivals": 0.2}, 1),
}
"""Simulator, θ and units of the data: those of AVO, but for the queue."""


def observed(name: str, seed: int = SEED) -> Floats:
    """The data of a simulator."""
    simulate, theta, n = TRUTHS[name]
    return simulate(theta, n, np.random.default_rng(seed))


def exact(name: str, seed: int) -> Exact | None:
    """The exact posterior given these data, where it is known."""
    return by_brute_force(seed) if name == "queue" else EXACT[name](observed(name, seed))


def run(name: str, seed: int, folder: Path, settings: list[str]) -> float:
    """Run it, unless it is finished; processor time in seconds, NaN where it was."""
    path = folder / name
    if (path / SUMMARY).is_file():
        return float("nan")
    data = folder / f"{name}.npy"
    np.save(data, observed(name, seed))
    before = _used()
    kept = folder / "simulations"
    code = main(
        [
            "run",
            f"experiment={name}",
            f"criterion.data={data}",
            f"criterion.folder={kept}",
            f"out={path}",
            "threads=1",
            *settings,
        ]
    )
    if code not in (0, 3):
        raise SystemExit(code)
    return _used() - before


def rows(name: str, seed: int, folder: Path, seconds: float) -> list[Row]:
    """A row for each parameter: the run's mean and deviation, the exact ones, and those by f.

    Those by f are of 1,000 draws by tempered SMC: what f, without a flow, is off by.
    """
    path = folder / name
    # No draws are handed out of a tilt by an f that is doubted.
    draws = path / "parameters.csv"
    theta = read_table(draws).to_numpy(float) if draws.is_file() else None
    summary, last = read_run(path).summary, load_run(path).pareto.iloc[-1]
    criterion = load_run(path).f().criterion
    assert isinstance(criterion, FittedLikelihood | FittedDensity | FittedCritic)
    found: list[Row] = []
    truth = exact(name, seed)
    for k, parameter in enumerate(criterion.model.simulator.prior.labels):
        nothing = float("nan"), float("nan")
        mean, sd = nothing if theta is None else (theta[:, k].mean(), theta[:, k].std())
        row: Row = {"simulator": name, "data": seed, "parameter": parameter}
        row |= {"mean": mean, "sd": sd}
        by_f = criterion.fitted.theta[:, k]
        row |= {"mean_of_f": by_f.mean().item(), "sd_of_f": by_f.std().item()}
        if truth:
            row |= {"exact_mean": truth.mean[k], "exact_sd": truth.sd[k]}
            row |= {"off": (mean - truth.mean[k]) / truth.sd[k], "ratio": sd / truth.sd[k]}
            row["off_of_f"] = (by_f.mean().item() - truth.mean[k]) / truth.sd[k]
            row["ratio_of_f"] = by_f.std().item() / truth.sd[k]
        row |= {"kl_gap": last["kl_gap"], "kl_gap_se": last["kl_gap_se"]}
        row |= {"ess_fraction": last["ess_fraction"], "units": criterion.fitted.units}
        row |= {"halves": criterion.fitted.agreement.shift, "status": summary["status"]}
        found.append(row | {"processor_seconds": seconds})
    return found


def _used() -> float:
    """Processor time of this process and of those that it has waited for, seconds."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def make(folder: Path, names: list[str], seed: int, settings: list[str]) -> None:
    """Run and measure all, a table for each, so that what is finished stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        table = folder / f"{name}.csv"
        seconds = run(name, seed, folder, settings)
        if not table.is_file():
            write_table(table, rows(name, seed, folder, seconds))
        print(read_table(table).to_string())
    tables = [read_table(folder / f"{name}.csv") for name in names]
    with replacing(folder / "fits.csv") as temporary:
        pd.concat(tables).to_csv(temporary, index=False)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = sys.argv[1:]
    seeds = [int(word.removeprefix("data=")) for word in given[1:] if word.startswith("data=")]
    settings = [word for word in given[1:] if "=" in word and not word.startswith("data=")]
    names = [word for word in given[1:] if "=" not in word] or list(TRUTHS)
    folder = Path(given[0] if given else "outputs/simulators")
    make(folder, names, seeds[-1] if seeds else SEED, settings)
