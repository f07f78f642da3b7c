"""`calibration.png`: ranks of truths among draws of their posteriors, from the folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import MUTED, SMALL, TUNED, column, in_house_style
from btgm_cli.store.tables import read_table

TRIALS, ABOUT = "calibration.csv", "calibration.json"
BINS = 10


def draw_calibration(path: Path) -> list[Path]:
    """Write `calibration.png` from the files in a folder."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    heads = {
        one["parameter"]: f"{one['parameter']}: {one['inside']} of {one['n']} covered"
        for one in about["coverage"]
    }
    low, high = about["band"]
    figure = calibration_figure(read_table(path / TRIALS), heads, (low, high))
    return [save(figure, path / "calibration.png")]


@in_house_style
def calibration_figure(
    trials: pd.DataFrame, heads: dict[str, str], band: tuple[int, int]
) -> Figure:
    """A histogram of ranks for each parameter, and what uniform ranks keep between.

    Args:
        trials: rows of `calibration.csv`.
        heads: title of each parameter's panel.
        band: data sets that a bin has where all is right, from and to.
    """
    figure = Figure(figsize=(2.4 * len(heads) + 0.4, 2.3), layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    for axes, (name, head) in zip(panels, heads.items(), strict=True):
        ranks = column(trials[trials["parameter"] == name], "rank")
        for edge in band:
            axes.axhline(edge, color=MUTED, linestyle="--", linewidth=1)
        axes.hist(ranks, np.linspace(0, 1, BINS + 1).tolist(), color=TUNED, alpha=0.6)
        axes.set(xlabel="rank of the truth", xlim=(0, 1))
        axes.set_title(head, loc="left", fontsize=SMALL)
        axes.grid(visible=False)
    panels[0].set_ylabel("data sets")
    return figure
