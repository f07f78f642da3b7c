"""The 26 reliability problems of otbenchmark: `btgm prob` beside subset simulation.

    pip install -e '.[reliability]'
    python experiments/probabilities/reliability.py [FOLDER] [SEEDS]

Each problem is `model=normal` in standard space, and as criterion minus its limit state function
of the inputs that OpenTURNS transforms from there: f > 0 is failure. Seeds are the outer loop.
`reliability.csv` is written row by row, and what is there is not computed again.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator, derived_seed
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.truth.exceeding import judged
from btgm_cli.tuning.rare import searched

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import openturns as ot
    import otbenchmark as otb


LEVEL_CALLS = 10_000
"""Of one level of subset simulation, as otbenchmark's own comparison has it."""

BLOCK = 1000


class Failure:
    """f of a problem: how far beyond its threshold it fails, in standard space."""

    def __init__(self, problem: Any) -> None:
        self.event = problem.getEvent()
        inputs = self.event.getAntecedent().getDistribution()
        self._to_inputs = inputs.getInverseIsoProbabilisticTransformation()
        self._g, self._threshold = self.event.getFunction(), self.event.getThreshold()
        self._sign = 1.0 if self.event.getOperator().compare(1.0, 0.0) else -1.0
        self.dim = int(inputs.getDimension())
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,), for x of shape (n, D)."""
        self.calls += len(x)
        values = np.asarray(self._g(self._to_inputs(ot.Sample(x.double().numpy()))))[:, 0]
        return torch.from_numpy(self._sign * (values - self._threshold))


def by_btgm(problem: Any, seed: int) -> dict[str, Any]:
    """P by two ways up and fresh draws."""
    failure = Failure(problem)
    f = LatentCriterion(Normal(failure.dim), failure)
    generators: Callable[..., torch.Generator] = partial(derived_generator, seed)
    search = searched(f, [0.0], [], generators)
    one = judged(search.pooled.whole, 0.0, search.halves(search.pooled))
    assert failure.calls == search.evaluations
    found = one.found
    return {
        "probability": found.probability,
        "low": found.low,
        "high": found.high,
        "relative_se": found.relative_se,
        "calls": failure.calls,
        "pareto_k": found.pareto_k,
        "status": str(one.trust),
        "reason": one.reason,
    }


def by_subset_simulation(problem: Any, seed: int) -> dict[str, Any]:
    """P by OpenTURNS' subset sampling, with its own interval."""
    failure = Failure(problem)
    event = failure.event
    before = event.getFunction().getEvaluationCallsNumber()
    ot.RandomGenerator.SetSeed(derived_seed(seed, "subset simulation") % 2**31)
    way = ot.SubsetSampling(event)
    way.setMaximumOuterSampling(LEVEL_CALLS // BLOCK)
    way.setBlockSize(BLOCK)
    way.run()
    result = way.getResult()
    p, width = result.getProbabilityEstimate(), result.getConfidenceLength(0.95)
    return {
        "probability": p,
        "low": p - width / 2,
        "high": p + width / 2,
        "relative_se": result.getCoefficientOfVariation(),
        "calls": event.getFunction().getEvaluationCallsNumber() - before,
        "status": "ok" if p > 0 else "zero",
    }


WAYS: dict[str, Callable[[Any, int], dict[str, Any]]] = {
    "btgm": by_btgm,
    "subset simulation": by_subset_simulation,
}


def rows(seeds: int, known: set[tuple[str, str, int]]) -> Iterator[dict[str, Any]]:
    """A row for each problem, way and seed that is not known yet."""
    for seed in range(seeds):
        for problem in otb.ReliabilityBenchmarkProblemList():
            for name, way in WAYS.items():
                if (problem.getName(), name, seed) in known:
                    continue
                started = time.process_time()
                found = way(problem, seed)
                yield {
                    "problem": problem.getName(),
                    "way": name,
                    "seed": seed,
                    "dim": int(
                        problem.getEvent().getAntecedent().getDistribution().getDimension()
                    ),
                    "published": problem.getProbability(),
                    **found,
                    "cpu_seconds": time.process_time() - started,
                }


def main() -> None:
    """Fill the table."""
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/reliability")
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    ot.Log.Show(ot.Log.NONE)
    torch.set_num_threads(1)
    ot.TBB.SetThreadsNumber(1)
    table = place / "reliability.csv"
    there = read_table(table)
    done = [{str(key): cell for key, cell in row.items()} for row in there.to_dict("records")]
    known = {(str(row["problem"]), str(row["way"]), int(row["seed"])) for row in done}
    for row in rows(seeds, known):
        done.append(row)
        write_table(table, done)
        apart = (
            math.log(row["probability"] / row["published"]) if row["probability"] else -math.inf
        )
        print(f"{row['problem']:26} {row['way']:18} {row['seed']:2} {apart:+.3f} {row['calls']:6}")


if __name__ == "__main__":
    main()
