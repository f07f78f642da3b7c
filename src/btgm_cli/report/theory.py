"""`theory_vs_empirical.png`: what was reached at each β beside what the theory says."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.marks import (
    Series,
    draw_reference_band,
    draw_reference_curve,
    draw_reference_points,
    draw_tuned,
    left_out,
    legend_handles,
)
from btgm_cli.report.style import (
    BETA_LABEL,
    KL_LABEL,
    MEAN_LABEL,
    TITLE,
    column,
    flags,
    in_house_style,
    title,
)
from btgm_cli.store.runs import Run


@in_house_style
def theory_figure(run: Run) -> Figure:
    """E_q f and KL(q‖p) in nats against β, one panel each."""
    figure = Figure(figsize=(7.0, 3.3), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, name, label in zip(panels, ("mean_f", "kl"), (MEAN_LABEL, KL_LABEL), strict=True):
        draw_panel(axes, run, name)
        axes.set(xlabel=BETA_LABEL, ylabel=label)
    figure.suptitle(title(run.summary) + left_out(run), x=0.01, ha="left", fontsize=TITLE)
    figure.legend(handles=legend_handles(run), loc="outside lower center", ncols=3)
    return figure


def draw_panel(axes: Axes, run: Run, name: str) -> None:
    """A column of `pareto.csv` against β, on the reference's."""
    beta, value = column(run.theory, "beta"), column(run.theory, name)
    draw_reference_band(axes, beta, value, column(run.theory, f"{name}_se"))
    draw_reference_curve(axes, beta, value, flags(run.theory, "reliable"))
    draw_reference_points(axes, along(run, f"{name}_ref"), flags(run.pareto, "ref_reliable"))
    draw_tuned(axes, along(run, name))


def along(run: Run, name: str) -> Series:
    """A column of `pareto.csv` against β."""
    beta = column(run.pareto, "beta")
    return Series(
        beta, column(run.pareto, name), np.zeros_like(beta), column(run.pareto, f"{name}_se")
    )
