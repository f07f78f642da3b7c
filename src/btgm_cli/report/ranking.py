"""`ranking.png`: how steep each criterion is, and how much of p lies flat."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import REFERENCE, SMALL, TITLE, TUNED, Array, in_house_style
from btgm_cli.store.tables import read_table

RANKING, NORMS, ABOUT = "ranking.csv", "norms.npz", "ranking.json"
PICTURES = ("ranking.png", "ranking.pdf")
"""What the picture is drawn from."""

MOST_COLUMNS = 4
PANEL_HEIGHT = 1.35
"""Inches."""

SHOWN = 0.99
"""Share of all criteria's draws that the common axis spans."""

BINS = 40
MARGIN = 1.02
"""So that slopes that are all the same do not end up on the very edge."""

HEADROOM = 0.6
"""Of the height of the histograms, on their log scale: room for the text above them."""

CORNER: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "top"}

NORM_LABEL = r"slope of the normalized criterion under $p$: $\|\nabla_z \tilde f\,\|$"


@in_house_style
def draw_ranking(path: Path) -> list[Path]:
    """Write `ranking.png` and `ranking.pdf` from the files in the folder `path`."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    with np.load(path / NORMS) as stored:
        norms = {name: stored[name].astype(np.float64) for name in stored.files}
    heading = f"{about['model']} · {about['n']:,} draws of p · the easiest first"
    heading += ", its outline in blue in the others" if len(norms) > 1 else ""
    figure = ranking_figure(read_table(path / RANKING), norms, heading)
    return [save(figure, path / name) for name in PICTURES]


@in_house_style
def ranking_figure(table: pd.DataFrame, norms: Mapping[str, Array], heading: str) -> Figure:
    """Histograms of the slope |∇_z f̃| under p, one panel per criterion, all on the same axes.

    Args:
        table: the rows of `ranking.csv`, in order.
        norms: for each criterion, the norms on draws of p, shape (n,); NaN without a gradient.
        heading: of the figure.
    """
    lines = math.ceil(len(table) / MOST_COLUMNS)
    columns = math.ceil(len(table) / lines)
    width = min(7.2, 0.6 + 3.0 * columns)
    figure = Figure(figsize=(width, 0.75 + PANEL_HEIGHT * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    panels, edges = list(grid.flat), _edges(norms)
    best = norms[table["criterion"].iloc[0]]
    for axes, (_, row) in zip(panels, table.iterrows(), strict=False):
        slopes = norms[row["criterion"]]
        colour = REFERENCE if slopes is best else TUNED
        axes.stairs(_density(slopes, edges), edges, fill=True, color=colour, alpha=0.75)
        if slopes is not best:
            axes.stairs(_density(best, edges), edges, color=REFERENCE, linewidth=0.9)
        axes.set_title(str(row["criterion"]), loc="left")
        axes.annotate(_about(row, slopes), (0.98, 0.96), fontsize=SMALL, **CORNER)
    for spare, above in zip(panels[len(table) :], panels[len(table) - columns :], strict=False):
        spare.remove()
        above.tick_params(labelbottom=True)
    panels[0].set(yscale="log", xlim=(0, edges[-1]), ylim=_heights(norms, edges))
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    figure.supxlabel(NORM_LABEL, fontsize=TITLE)
    figure.supylabel("density", fontsize=TITLE)
    return figure


def _edges(norms: Mapping[str, Array]) -> Array:
    """Bins from 0 that span `SHOWN` of all draws, shape (BINS + 1,)."""
    finite = np.concatenate([slopes[np.isfinite(slopes)] for slopes in norms.values()])
    top = float(np.quantile(finite, SHOWN)) if len(finite) else 0.0
    return np.linspace(0.0, MARGIN * top or 1.0, BINS + 1)


def _density(slopes: Array, edges: Array) -> Array:
    """Share of the draws per unit of the norm, shape (BINS,); what lies beyond is left out."""
    return np.histogram(slopes, edges)[0] / (len(slopes) * np.diff(edges))


def _heights(norms: Mapping[str, Array], edges: Array) -> tuple[float, float]:
    """The range of densities, from half a draw to the highest bin, with room for the text."""
    bottom = 0.5 / (max(map(len, norms.values())) * edges[1])
    peak = max(float(_density(slopes, edges).max()) for slopes in norms.values())
    peak = max(peak, 10 * bottom)
    return bottom, peak * (peak / bottom) ** HEADROOM


def _about(row: pd.Series[Any], slopes: Array) -> str:
    """What the histogram does not show."""
    if not np.isfinite(slopes).any():
        return "no gradient in z"
    lines = [
        f"difficulty {_short(row['difficulty'])} ± {_short(row['difficulty_se'])}",
        f"{row['plateau']:.0%} on a plateau",
        f"largest {_short(row['norm_max'])}",
    ]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
