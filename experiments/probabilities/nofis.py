"""The five synthetic problems of NOFIS (Gao et al., DAC 2024): `btgm prob` at its number of calls.

    python experiments/probabilities/nofis.py [FOLDER] [SEEDS]

Definitions and reference values are those of the authors' repository, zhengqigao/NOFIS-DAC24: p is
N(0, I), and failure is written here as f > 0. Leaf and cube have closed forms; the others' values
are of 5 · 10⁹ plain draws. Where its calls do not suffice for both ways up and a round of draws,
`btgm prob` takes as many as these need. `nofis.csv` is written row by row, and what is there is
not computed again.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import ncx2, norm
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.truth.exceeding import judged
from btgm_cli.tuning.rare import Effort, searched

PRECISE = 1e-3
"""A relative error that no number of calls here reaches, so that all are spent."""


@dataclass(frozen=True)
class Problem:
    """A problem of NOFIS.

    Args:
        dim: of x.
        f: above 0 is failure.
        probability: of it.
        calls: that NOFIS takes.
    """

    dim: int
    f: Callable[[Tensor], Tensor]
    probability: float
    calls: int


def rosenbrock(x: Tensor) -> Tensor:
    """A band: 0.01 times Rosenbrock's function within 0.02 of 3.5."""
    first, second = x[:, :-1], x[:, 1:]
    value = (100 * (first**2 - second) ** 2 + (1 - first) ** 2).sum(1) / 100
    return 0.02 - (value - 3.5).abs()


def levy(x: Tensor) -> Tensor:
    """A ball about Levy's minimum, moved to 2: w is as printed in the repository."""
    w = 1 + (x - 2) / 4
    ends = torch.sin(math.pi * w[:, 0]) ** 2
    ends += (w[:, -1] - 1) ** 2 * (1 + torch.sin(2 * math.pi * w[:, -1]))
    inner = (w[:, :-1] - 1) ** 2 * (1 + 10 * torch.sin(math.pi * w[:, :-1] + 1) ** 2)
    return 6 - ends - inner.sum(1)


def leaf(x: Tensor) -> Tensor:
    """Two discs of radius 1, about (3.8, 3.8) and its negative."""
    return 1 - torch.minimum(((x - 3.8) ** 2).sum(1), ((x + 3.8) ** 2).sum(1))


def cube(x: Tensor) -> Tensor:
    """All coordinates above 1.8."""
    return (x - 1.8).amin(1)


def powell(x: Tensor) -> Tensor:
    """Powell's function, of fours of coordinates, at most 400."""
    a, b, c, d = (x[:, k::4] for k in range(4))
    value = (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4
    return 4 - value.sum(1) / 100


PROBLEMS = {
    "rosenbrock": Problem(10, rosenbrock, 4.688e-4, 7000),
    "levy": Problem(20, levy, 3.656e-6, 48_200),
    "leaf": Problem(2, leaf, 2 * float(ncx2.cdf(1, 2, 2 * 3.8**2)), 32_050),
    "cube": Problem(6, cube, float(norm.sf(1.8)) ** 6, 197_500),
    "powell": Problem(40, powell, 3.149e-5, 7000),
}


def row_of(name: str, seed: int) -> dict[str, object]:
    """One estimate."""
    problem, started = PROBLEMS[name], time.process_time()
    f = LatentCriterion(Normal(problem.dim), problem.f)
    effort = Effort(precision=PRECISE, most=problem.calls)
    search = searched(f, [0.0], [], partial(derived_generator, seed), effort)
    one = judged(search.pooled.whole, 0.0, search.halves(search.pooled))
    return {
        "problem": name,
        "seed": seed,
        "dim": problem.dim,
        "reference": problem.probability,
        "probability": one.found.probability,
        "low": one.found.low,
        "high": one.found.high,
        "calls": search.evaluations,
        "calls_of_nofis": problem.calls,
        "status": str(one.trust),
        "cpu_seconds": time.process_time() - started,
    }


def summary(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Mean and worst |ln| of each problem, those of refused estimates among them."""
    table = pd.DataFrame(rows)
    table["apart"] = np.abs(np.log(table["probability"] / table["reference"]))
    table["covers"] = (table["low"] <= table["reference"]) & (table["reference"] <= table["high"])
    table["refused"] = table["status"] != "ok"
    return table.groupby("problem", sort=False).agg(
        mean_ln=("apart", "mean"),
        worst_ln=("apart", "max"),
        covers=("covers", "sum"),
        refused=("refused", "sum"),
        calls=("calls", "median"),
        nofis=("calls_of_nofis", "first"),
        seeds=("seed", "count"),
    )


def main() -> None:
    """Fill the table, and print what it comes to."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/nofis")
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    torch.set_num_threads(1)
    table = place / "nofis.csv"
    there = read_table(table).to_dict("records")
    rows: list[dict[str, object]] = [{str(k): v for k, v in row.items()} for row in there]
    known = {(row["problem"], row["seed"]) for row in rows}
    for seed in range(seeds):
        for name in PROBLEMS:
            if (name, seed) not in known:
                rows.append(row_of(name, seed))
                write_table(table, rows)
    print(summary(rows).to_string())


if __name__ == "__main__":
    main()
