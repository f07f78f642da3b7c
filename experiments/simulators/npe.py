"""Neural posterior estimation by sbi on the same statistics: needs `pip install 'btgm[sbi]'`.

    python -m experiments.simulators.npe [FOLDER] [NAME …]

One amortized round from the prior, sbi's defaults but for the batches of many data sets, which
have a hundredth of them: a masked autoregressive flow of θ given the mean statistics of as many
units as the data have. `equal` has as many units in all as a fit of ours, and so few data sets
where each is large; `many` has 2,000. Writes `npe_NAME.csv`.
"""

from __future__ import annotations

import sys
import time
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from experiments.simulators.__main__ import SEED, TRUTHS, exact, observed
from torch import Tensor

from btgm_cli import load_model
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.simulator import Simulator, prior_draws
from btgm_cli.report.markdown import Row
from btgm_cli.store.tables import read_table, write_table

UNITS = {"poisson": 899_856, "linear5": 899_856, "muons": 899_856, "queue": 193_920}
"""What a fit of ours simulates, see `fits.csv` and `queue_fits.csv`."""

MANY = 2000
DRAWS = 4000
SEEDS = 3


def simulated(simulator: Simulator, size: int, sets: int, seed: int) -> tuple[Tensor, Tensor]:
    """θ (n, P) of the prior, on scales of order one, and mean statistics (n, S) of each data set.

    A data set is left out where the simulator fails.
    """
    theta = prior_draws(simulator.prior, sets, seed, "npe")
    seeds = [derived_seed(seed, "npe", k) for k in range(sets)]
    means = [None if x is None else x.mean(0) for x in simulator.each(theta, size, seeds)]
    good = [k for k, mean in enumerate(means) if mean is not None]
    x = np.stack([mean for mean in means if mean is not None])
    return simulator.prior.scaled(theta[good]), torch.from_numpy(x)


def drawn(u: Tensor, x: Tensor, at: Tensor, seed: int) -> Tensor:
    """Draws (n, P) of θ, on the same scales, given the statistics `at` (S,)."""
    from sbi.inference import NPE  # noqa: PLC0415 - an extra

    torch.manual_seed(seed)
    with TemporaryDirectory() as folder, chdir(folder):  # it writes logs where it stands
        inference = NPE(show_progress_bars=False)
        inference.append_simulations(u.float(), x.float())
        batch = max(min(200, len(u) // 4), len(u) // 100, 2)
        network = inference.train(training_batch_size=batch)
    with torch.no_grad():
        draws: Tensor = network.sample(torch.Size((DRAWS,)), condition=at.float()[None])
    return draws[:, 0].double()


def rows(name: str, kind: str, seed: int) -> list[Row]:
    """One training, a row for each parameter."""
    model = load_model(name)
    assert isinstance(model, Parameters)
    simulator, data = model.simulator, observed(name)
    size = len(data)
    sets = MANY if kind == "many" else UNITS[name] // size
    began = time.process_time()
    u, x = simulated(simulator, size, sets, seed)
    found = drawn(u, x, torch.from_numpy(simulator.statistics(data)).mean(0), seed)
    seconds = time.process_time() - began
    theta = _of_scaled(simulator, found)
    truth = exact(name, SEED)
    table: list[Row] = []
    for k, parameter in enumerate(simulator.prior.labels):
        mean, sd = theta[:, k].mean().item(), theta[:, k].std().item()
        row: Row = {"simulator": name, "kind": kind, "seed": seed, "parameter": parameter}
        row |= {"mean": mean, "sd": sd, "data_sets": len(x), "units": len(x) * size}
        if truth:
            row |= {"off": (mean - truth.mean[k]) / truth.sd[k], "ratio": sd / truth.sd[k]}
        table.append(row | {"processor_seconds": seconds})
    return table


def _of_scaled(simulator: Simulator, u: Tensor) -> Tensor:
    """θ (n, P) of its scaled values; scales are straight lines for all priors that ship."""
    edges = simulator.prior.of_latent(torch.tensor([[-1.0], [1.0]]).double().expand(2, u.shape[1]))
    low, high = simulator.prior.scaled(edges)
    theta: Tensor = edges[0] + (u - low) * (edges[1] - edges[0]) / (high - low)
    return theta


def make(folder: Path, names: list[str]) -> None:
    """All trainings, a table for each simulator."""
    for name in names:
        table, done = folder / f"npe_{name}.csv", list[Row]()
        for kind in ("equal", "many"):
            for seed in range(SEEDS):
                done += rows(name, kind, seed)
                write_table(table, done)
        print(read_table(table).to_string(), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = sys.argv[1:]
    make(Path(given[0] if given else "outputs/simulators"), given[1:] or list(TRUTHS))
