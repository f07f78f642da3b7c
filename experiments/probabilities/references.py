"""P of problems whose published value is known too badly: closed forms, and sums over a grid.

    python experiments/probabilities/references.py

Writes `references.csv`. The grid is of 1,501 midpoints in each of two standard normal inputs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import otbenchmark as otb
import torch
from reliability import Failure
from scipy.integrate import quad
from scipy.stats import chi2, gamma, multivariate_normal, norm

from btgm_cli.store.tables import write_table

HERE = Path(__file__).parent
POINTS, REACH, ROWS = 1501, 9.0, 100
GRID = ("RP31", "RP89", "RP110", "RP111")


def by_grid(failure: Failure) -> float:
    """P in two dimensions."""
    step = 2 * REACH / POINTS
    at = -REACH + step * (np.arange(POINTS) + 0.5)
    mass, total = norm.pdf(at) * step, 0.0
    for start in range(0, POINTS, ROWS):
        first, second = np.meshgrid(at[start : start + ROWS], at, indexing="ij")
        x = torch.from_numpy(np.stack([first.ravel(), second.ravel()], -1))
        fails = (failure(x) > 0).numpy().reshape(first.shape)
        total += float(mass[start : start + ROWS] @ (fails @ mass))
    return total


def closed_forms() -> dict[str, float]:
    """RP33 by two planes, 54 by a sum of exponentials, 63 by its one odd input, 77, 107."""
    correlated = [[1, 1 / math.sqrt(3)], [1 / math.sqrt(3), 1]]
    both = multivariate_normal([0, 0], correlated).cdf([-3, -3])
    wide = math.sqrt(1.25)  # of x1 − x2

    def ball(x: float) -> float:
        return float(norm.pdf(x) * chi2.cdf(10 * (x + 4.5), 99))

    near = quad(lambda x: norm.pdf(x - 4) * norm.cdf((x - 10) / wide), -6, 5, epsabs=0)[0]
    far = quad(lambda x: norm.pdf(x - 4) * norm.sf(x), 5, 14, epsabs=0)[0]
    return {
        "RP33": 2 * norm.sf(3) - both,
        "RP54": gamma(20).cdf(8.951),
        "RP63": quad(ball, -4.5, 12, epsabs=0, points=[3.0])[0],
        "RP77": near + far,
        "RP107": norm.sf(5),
    }


def main() -> None:
    """Write the table."""
    known, rows = closed_forms(), []
    for problem in otb.ReliabilityBenchmarkProblemList():
        name = problem.getName()
        row: dict[str, Any] = {"problem": name, "published": problem.getProbability()}
        if name in known:
            rows.append({**row, "reference": float(known[name]), "by": "closed form"})
        elif name in GRID:
            rows.append({**row, "reference": by_grid(Failure(problem)), "by": "grid"})
    write_table(HERE / "references.csv", rows)


if __name__ == "__main__":
    main()
