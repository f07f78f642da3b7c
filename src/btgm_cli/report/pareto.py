"""`pareto.png`: what each nat of divergence buys."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.marks import (
    Series,
    draw_reference_curve,
    draw_reference_points,
    draw_tuned,
    left_out,
    legend_handles,
)
from btgm_cli.report.placing import label_points, polyline
from btgm_cli.report.style import (
    KL_LABEL,
    MEAN_LABEL,
    MUTED,
    Array,
    beta_text,
    column,
    flags,
    in_house_style,
    title,
)
from btgm_cli.store.runs import Run


@in_house_style
def pareto_figure(run: Run) -> Figure:
    """E_q f against KL(q‖p) in nats: tuned flows below the reference, the best that can be."""
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    drawn = draw_front(axes, run)
    axes.set_title(title(run.summary) + left_out(run), loc="left")
    figure.legend(handles=legend_handles(run), loc="outside lower left")
    label_betas(axes, run, drawn)
    return figure


def draw_front(axes: Axes, run: Run) -> Array:
    """Draw the tuned points tied to the reference; returns points along the marks, (m, 2)."""
    tuned, reference = front(run, ""), front(run, "_ref")
    kl, mean = column(run.theory, "kl"), column(run.theory, "mean_f")
    draw_reference_curve(axes, kl, mean, flags(run.theory, "reliable"))
    ties = _draw_ties(axes, tuned, reference)
    draw_reference_points(axes, reference, flags(run.pareto, "ref_reliable"))
    draw_tuned(axes, tuned)
    axes.set(xlabel=KL_LABEL, ylabel=MEAN_LABEL)
    axes.margins(0.09)
    return np.concatenate([polyline(kl, mean), *ties, *_bars(tuned), *_bars(reference)])


def label_betas(axes: Axes, run: Run, drawn: Array) -> None:
    """Write β beside each tuned point, clear of `drawn` (m, 2); the layout is final after this."""
    tuned = front(run, "")
    points = np.column_stack([tuned.x, tuned.y])[tuned.finite]
    texts = [beta_text(beta) for beta in column(run.pareto, "beta")[tuned.finite]]
    label_points(axes, points, texts, drawn)


def front(run: Run, suffix: str) -> Series:
    """E f against KL of the tuned rows (suffix empty) or of their reference (`_ref`)."""
    kl, mean = f"kl{suffix}", f"mean_f{suffix}"
    return Series(*(column(run.pareto, name) for name in (kl, mean, f"{kl}_se", f"{mean}_se")))


def _draw_ties(axes: Axes, tuned: Series, reference: Series) -> list[Array]:
    """Tie each tuned point to its reference at the same β; points of each tie, shape (m, 2)."""
    ties = []
    for i in np.flatnonzero(tuned.finite & reference.finite):
        x, y = np.array([tuned.x[i], reference.x[i]]), np.array([tuned.y[i], reference.y[i]])
        axes.plot(x, y, color=MUTED, linewidth=0.6, zorder=2)
        ties.append(polyline(x, y))
    return ties


def _bars(points: Series) -> list[Array]:
    """Points along the error bars, each of shape (m, 2)."""
    ends = np.array([-2.0, 0.0, 2.0])
    bars = []
    for i in np.flatnonzero(points.finite):
        x = points.x[i] + ends * np.nan_to_num(points.x_se[i])
        y = points.y[i] + ends * np.nan_to_num(points.y_se[i])
        bars += [polyline(x, np.full(3, points.y[i])), polyline(np.full(3, points.x[i]), y)]
    return bars
