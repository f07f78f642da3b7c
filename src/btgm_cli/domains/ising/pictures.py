"""The picture of `btgm figure ising`, from its tables alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.domains.ising.exact import CRITICAL, enumerated, mean_field
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import MUTED, REFERENCE, SMALL, TITLE, TUNED, column, in_house_style

PANELS = {
    "energy": "energy of a spin (J)",
    "heat_capacity": "heat capacity of a spin ($k_B$)",
    "magnetization": "$|m|$",
}
GRID = 57
POINTS: dict[str, Any] = {"color": TUNED, "markersize": 5, "linestyle": "none", "mfc": "white"}


def curves(size: int) -> list[Row]:
    """What is exact on a fine grid of couplings, of a torus that can be enumerated."""
    rows: list[Row] = []
    for coupling in np.linspace(0.1, 0.7, GRID):
        exact = enumerated(size, float(coupling))
        row = {name: getattr(exact, name) for name in PANELS}
        gap = exact.log_z - mean_field(size, float(coupling))
        rows.append({"coupling": float(coupling), "mean_field_gap": gap, **row})
    return rows


@in_house_style
def critical_figure(table: pd.DataFrame, exact: pd.DataFrame) -> Figure:
    """Energy, heat capacity, |m| and gaps against K: exact curves, tuned and corrected points.

    Args:
        table: the rows of `ising.csv`.
        exact: the rows of `curves.csv`.
    """
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    panels = list(figure.subplots(2, 2, sharex=True).flat)
    at, line = column(table, "coupling"), column(exact, "coupling")
    for axes, (name, label) in zip(panels, PANELS.items(), strict=False):
        axes.plot(line, column(exact, name), color=REFERENCE, label="exact (enumeration)")
        for way, marker in (("tuned", "o"), ("corrected", "x")):
            values, errors = column(table, f"{name}_{way}"), column(table, f"{name}_se_{way}")
            look = POINTS | {"marker": marker, "label": f"{way}, ±2 s.e."}
            axes.errorbar(at, values, yerr=2 * errors, **look)
        axes.set_ylabel(label)
    _gaps(panels[3], table, exact)
    for axes in panels:
        axes.axvline(CRITICAL, color=MUTED, linewidth=0.8, linestyle=":")
    for axes in panels[2:]:
        axes.set_xlabel("$K = J/kT$")
    panels[0].legend(fontsize=SMALL)
    size = int(table["size"].iloc[0])
    heading = f"Ising model on a {size} × {size} torus · dotted: the infinite lattice's critical K"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _gaps(axes: Axes, table: pd.DataFrame, exact: pd.DataFrame) -> None:
    """KL to the Ising model: of the best independent spins, and of the tuned field."""
    gap, error = column(table, "kl_gap"), column(table, "kl_gap_se")
    line, known = column(exact, "coupling"), column(exact, "mean_field_gap")
    axes.plot(line, known, color=MUTED, label="mean field")
    look = POINTS | {"marker": "o", "label": "tuned field, ±2 s.e."}
    axes.errorbar(column(table, "coupling"), gap, yerr=2 * error, **look)
    axes.set(ylabel="KL to the exact one (nats)", ylim=(0, None))
    axes.legend(fontsize=SMALL)
