"""P(f > t) by plain draws of p: what `btgm prob` is held against.

    nice -n 15 python experiments/probabilities/plain.py CASE [MILLIONS [X_OF_EACH_Z [FILE]]]

A case is `load`, the peaks of `vae_energy` in kW, or `white`, the sum of the pixels of
`gan_mnist`. Counted is how many x are above each threshold, one fresh x for each z or more, by
one thread; `squares` sums the squares of the counts of each z, for their error. The table is
written after each part of 100,000 x, each of a generator of its own; a killed call goes on from
the parts that it has.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btgm_cli import load_criterion, load_model
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.tables import read_table, write_table

HERE = Path(__file__).parent
PART, BLOCK = 100_000, 1000


@dataclass(frozen=True)
class Case:
    """What is drawn, and where it is counted."""

    model: str
    criterion: str
    thresholds: np.ndarray


CASES = {
    "load": Case("vae_energy", "peak", np.arange(15.0, 60.5, 0.5)),
    "white": Case("gan_mnist", "white", np.arange(160.0, 402.0, 2.0)),
}


def counted(
    f: LatentCriterion, thresholds: np.ndarray, x_each: int, name: str, part: int
) -> np.ndarray:
    """Of one part the counts above each threshold, and the sums of their squares by z: (2, t)."""
    generator = derived_generator(0, name, part)
    sums = np.zeros((2, len(thresholds)), dtype=np.int64)
    for _ in range(PART // BLOCK):
        z = f.model.sample_prior(BLOCK // x_each, generator)
        above = f.afresh(z, x_each, generator).numpy()[..., None] > thresholds
        of_z = above.sum(axis=1)
        sums += np.stack([of_z.sum(axis=0), (of_z**2).sum(axis=0)])
    return sums


def main() -> None:
    """Fill the table."""
    name, *more = sys.argv[1:]
    case = CASES[name]
    millions = float(more[0]) if more else 10.0
    x_each = int(more[1]) if len(more) > 1 else 1
    path = Path(more[2]) if len(more) > 2 else HERE / f"plain_{name}.csv"
    torch.set_num_threads(1)
    f = LatentCriterion(load_model(case.model), load_criterion(case.criterion))
    there = read_table(path)
    done = int(there["draws"].iloc[0]) // PART if len(there) else 0
    sums = np.zeros((2, len(case.thresholds)), dtype=np.int64)
    if len(there):
        sums = there[["above", "squares"]].to_numpy().T
    for part in range(done, round(millions * 1e6 / PART)):
        sums = sums + counted(f, case.thresholds, x_each, f"plain {name}", part)
        rows: list[dict[str, Any]] = [
            {
                "t": float(t),
                "above": int(count),
                "squares": int(square),
                "draws": (part + 1) * PART,
            }
            for t, count, square in zip(case.thresholds, *sums, strict=True)
        ]
        write_table(path, rows)


if __name__ == "__main__":
    main()
