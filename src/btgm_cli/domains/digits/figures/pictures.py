"""The pictures of Figs. 3 to 7 and 10, drawn from run directories alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from btgm_cli.report.marks import (
    Series,
    draw_reference_band,
    draw_reference_curve,
    draw_tuned,
    handle,
    left_out,
    legend_handles,
    method,
)
from btgm_cli.report.pareto import draw_front, front, label_betas
from btgm_cli.report.strips import grey_scale, strip_of
from btgm_cli.report.style import (
    BETA_LABEL,
    KL_LABEL,
    MEAN_LABEL,
    REFERENCE,
    SMALL,
    TITLE,
    TUNED,
    beta_text,
    column,
    flags,
    in_house_style,
    kl_text,
    title,
)
from btgm_cli.report.theory import along
from btgm_cli.store.runs import Run

COLUMNS = 12
"""Samples in a row of the grid."""

# Colour, marker and name of each tuning: two of Okabe and Ito's colours, told apart in grey too.
LOOKS = {
    "paper": ("#009E73", "s", "the paper's tuning"),
    "default": (TUNED, "o", "the default tuning"),
}


@in_house_style
def against_beta(runs: dict[str, Run]) -> Figure:
    """Figs. 3 and 4: E f and KL against β and against each other, for each tuning.

    Args:
        runs: by tuning, all of one criterion.
    """
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    _draw_paths(list(figure.subplots(1, 3)), runs)
    _head_and_foot(figure, runs)
    return figure


@in_house_style
def paths_and_grids(runs: dict[str, Run], betas: Sequence[float]) -> Figure:
    """Fig. 10: the panels of `against_beta`, and below them a grid of samples for each tuning.

    Args:
        runs: by tuning, all of one criterion.
        betas: those of the rows of samples, as far as the runs have them.
    """
    figure = Figure(figsize=(9.6, 6.1), layout="constrained")
    above, below = list(figure.subfigures(2, 1, height_ratios=(3.0, 3.1), squeeze=False).flat)
    _draw_paths(list(above.subplots(1, 3)), runs)
    grids = below.subplots(1, len(runs), squeeze=False)
    for axes, (tuning, run) in zip(grids.flat, runs.items(), strict=True):
        _draw_grid(axes, run, betas)
        colour, _, text = LOOKS[tuning]
        axes.set_title(text, color=colour, loc="left")
    _head_and_foot(figure, runs, columns=2)
    return figure


@in_house_style
def front_and_grid(run: Run) -> Figure:
    """Figs. 5 to 7: the Pareto front and, right of it, a row of samples for each β."""
    figure = Figure(figsize=(9.6, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 5.6))
    drawn = draw_front(left, run)
    _draw_grid(right, run)
    figure.suptitle(title(run.summary) + left_out(run), x=0.01, ha="left", fontsize=TITLE)
    figure.legend(handles=legend_handles(run), loc="outside lower left", ncols=3)
    label_betas(left, run, drawn)
    return figure


def _draw_paths(panels: Sequence[Axes], runs: dict[str, Run]) -> None:
    """E f and KL against β and against each other, in three panels."""
    mean, kl, pareto = panels
    exact = runs["default"]
    for axes, name, label in ((mean, "mean_f", MEAN_LABEL), (kl, "kl", KL_LABEL)):
        _draw_exact(axes, exact, "beta", name)
        for tuning, run in runs.items():
            _draw_path(axes, along(run, name), tuning)
        axes.set(xlabel=BETA_LABEL, ylabel=label)
    _draw_exact(pareto, exact, "kl", "mean_f")
    for tuning, run in runs.items():
        _draw_path(pareto, front(run, ""), tuning)
    pareto.set(xlabel=KL_LABEL, ylabel=MEAN_LABEL)


def _head_and_foot(figure: Figure, runs: dict[str, Run], columns: int = 4) -> None:
    """Model and criterion above, what is not drawn, and the legend below."""
    summary = runs["default"].summary
    criterion = f"{summary['model']} / {summary['criterion']}"
    lost = "".join(left_out(run) for run in runs.values())
    figure.suptitle(criterion + lost, x=0.01, ha="left", fontsize=TITLE)
    figure.legend(handles=_handles(runs), loc="outside lower center", ncols=columns)


def _draw_exact(axes: Axes, run: Run, x: str, y: str) -> None:
    """The exact tilt as a line, with its error where it stands against β."""
    at, value = column(run.theory, x), column(run.theory, y)
    if x == "beta":
        draw_reference_band(axes, at, value, column(run.theory, f"{y}_se"))
    draw_reference_curve(axes, at, value, flags(run.theory, "reliable"))


def _draw_path(axes: Axes, points: Series, tuning: str) -> None:
    """Tuned points, dashed from one to the next as in the paper."""
    colour, marker, _ = LOOKS[tuning]
    axes.plot(points.x, points.y, "--", color=colour, linewidth=0.8, zorder=3)
    draw_tuned(axes, points, colour, marker)


def _handles(runs: dict[str, Run]) -> list[Line2D]:
    exact = runs["default"]
    handles = [handle(REFERENCE, f"exact tilt ({method(exact)})")]
    if not flags(exact.theory, "reliable").all():
        handles.append(handle(REFERENCE, "exact tilt, not reliable", linestyle=":"))
    for colour, marker, text in (LOOKS[tuning] for tuning in runs):
        look = {"marker": marker, "linestyle": "--", "linewidth": 0.8}
        handles.append(handle(colour, f"{text}, ±2 s.e.", **look))
    return handles


def _draw_grid(axes: Axes, run: Run, shown: Sequence[float] | None = None) -> None:
    """A row of samples for each β, or for those shown, all on one scale of grey."""
    betas, kls = column(run.pareto, "beta"), column(run.pareto, "kl")
    rows = [at for at, beta in enumerate(betas) if shown is None or beta in shown]
    samples = [run.samples[at] for at in rows]
    axes.imshow(_stacked(samples), cmap="gray", vmin=0, vmax=1, interpolation="none")
    labels = [f"{beta_text(betas[at])}\n{kl_text(kls[at])}" for at in rows]
    middles = (np.arange(len(labels)) + 0.5) * (samples[0].shape[-2] + 1) - 1
    axes.set_yticks(middles, labels, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _stacked(samples: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The first of each (n, 1, H, W) in a row, a blank line of pixels between the rows."""
    low, high = grey_scale(samples)
    strips = [strip_of((x[:COLUMNS, 0] - low) / (high - low), COLUMNS) for x in samples]
    spaced = [np.pad(strip, ((0, 1), (0, 0)), constant_values=np.nan) for strip in strips]
    return np.concatenate(spaced)[:-1, :-1]
