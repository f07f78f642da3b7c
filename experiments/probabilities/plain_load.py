"""Peaks of weekly load by plain draws of `vae_energy`: what `btgm prob` is held against.

    nice -n 15 python experiments/probabilities/plain_load.py [MILLIONS] [FILE]

Counts of peaks above each of `THRESHOLDS`, kW, one fresh x for each z, one thread. The table is
written after each part of 100,000 draws, each of a generator of its own; a killed call goes on
from the parts that it has.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from btgm_cli import Criterion, GenerativeModel, load_criterion, load_model
from btgm_cli.core.latent_criterion import draw_x
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.tables import read_table, write_table

HERE = Path(__file__).parent
THRESHOLDS = np.arange(15.0, 60.5, 0.5)
PART, BLOCK = 100_000, 1000


def counted(model: GenerativeModel, peak: Criterion, part: int) -> np.ndarray:
    """How many of the part's peaks are above each threshold."""
    generator = derived_generator(0, "plain load", part)
    counts = np.zeros(len(THRESHOLDS), dtype=np.int64)
    for _ in range(PART // BLOCK):
        z = model.sample_prior(BLOCK, generator)
        f = np.sort(peak(draw_x(model, z, generator)).numpy())
        counts += BLOCK - np.searchsorted(f, THRESHOLDS, side="right")
    return counts


def main() -> None:
    """Fill the table."""
    millions = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else HERE / "plain_load.csv"
    torch.set_num_threads(1)
    model, peak = load_model("vae_energy"), load_criterion("peak")
    there = read_table(path)
    done = int(there["draws"].iloc[0]) // PART if len(there) else 0
    counts = there["above"].to_numpy() if len(there) else np.zeros(len(THRESHOLDS), dtype=np.int64)
    for part in range(done, round(millions * 1e6 / PART)):
        counts = counts + counted(model, peak, part)
        rows: list[dict[str, Any]] = [
            {"t": float(t), "above": int(count), "draws": (part + 1) * PART}
            for t, count in zip(THRESHOLDS, counts, strict=True)
        ]
        write_table(path, rows)


if __name__ == "__main__":
    main()
