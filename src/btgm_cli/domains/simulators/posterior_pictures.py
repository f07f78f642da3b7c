"""`posterior.png` and `predictive.png`: θ and simulated data, from a run directory alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import (
    BETA_LABEL,
    MUTED,
    REFERENCE,
    TITLE,
    TUNED,
    column,
    in_house_style,
    title,
)
from btgm_cli.store.runs import read_run, read_summary
from btgm_cli.store.tables import read_table

PARAMETERS, PRIOR = "parameters.csv", "parameters_prior.csv"
PREDICTIVE, OBSERVED = "predictive.csv", "observed.csv"

DOTS = 1500
BINS = 40
FEWEST_BETAS = 3
"""That make a path."""

MOST = 5
"""Statistics shown."""

FAR = 0.001
"""Share of draws at either end that no axis shows."""


def draw_posterior(path: Path, truth: Path) -> list[Path]:
    """Write the pictures into a run directory that has the tables."""
    if not (path / PARAMETERS).is_file():
        return []
    theta, prior = read_table(path / PARAMETERS), read_table(path / PRIOR)
    simulated, observed = read_table(path / PREDICTIVE), read_table(path / OBSERVED)
    heading = title(read_summary(path))
    known = json.loads(truth.read_text(encoding="utf-8")) if truth.is_file() else {}
    pictures = [
        save(corner_figure(theta, prior, known, heading), path / "posterior.png"),
        save(predictive_figure(simulated, observed, heading), path / "predictive.png"),
    ]
    run = read_run(path)
    betas = column(run.pareto, "beta")
    if len(betas) < FEWEST_BETAS:
        return pictures
    names = [str(name) for name in theta]
    figure = path_figure(betas, run.samples, names, known, heading)
    return [*pictures, save(figure, path / "path.png")]


@in_house_style
def corner_figure(
    theta: pd.DataFrame, prior: pd.DataFrame, truth: Mapping[str, float | None], heading: str
) -> Figure:
    """Histograms of each parameter, and draws of each pair; the truth where it is known.

    Args:
        theta: draws of the tilt, a column a parameter.
        prior: draws of p, likewise.
        truth: by parameter.
        heading: above all.
    """
    names = [str(name) for name in theta]
    P = len(names)
    side = 2.1 if P > 1 else 3.0
    figure = Figure(figsize=(side * P + 0.4, side * P + 0.5), layout="constrained")
    grid = figure.subplots(P, P, squeeze=False)
    for i, row in enumerate(names):
        for j, across in enumerate(names):
            axes = grid[i, j]
            if j > i:
                axes.remove()
                continue
            if i == j:
                _histogram(axes, column(theta, row), column(prior, row), truth.get(row))
            else:
                x, y = column(theta, across)[:DOTS], column(theta, row)[:DOTS]
                axes.plot(x, y, ".", color=TUNED, markersize=2, alpha=0.5, markeredgewidth=0)
                axes.set_ylim(*_range(column(theta, row), truth.get(row)))
                _mark(axes, truth.get(across), truth.get(row))
            axes.set_xlim(*_range(column(theta, across), truth.get(across)))
            _label(axes, across if i == P - 1 else "", row if j == 0 and i else "")
    if P > 1:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="upper right")
    else:
        grid[0, 0].legend(loc="upper left")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


@in_house_style
def predictive_figure(simulated: pd.DataFrame, observed: pd.DataFrame, heading: str) -> Figure:
    """Statistics of units simulated at θ of the tilt, beside those observed."""
    names = [str(name) for name in simulated][:MOST]
    figure = Figure(figsize=(2.2 * len(names) + 0.6, 2.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        x, seen = column(simulated, name), np.empty(0)
        if len(observed):
            seen = column(observed, name)
        edges = _edges(np.concatenate([x, seen]))
        axes.hist(x, edges, density=True, color=TUNED, alpha=0.35, label="simulated")
        if len(seen) == 1:
            axes.axvline(seen[0], color=REFERENCE, label="observed")
        elif len(seen):
            axes.hist(
                seen, edges, density=True, histtype="step", color=REFERENCE, label="observed"
            )
        axes.set(xlabel=name, yticks=[])
        axes.grid(visible=False)
    figure.axes[0].legend(loc="best")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


@in_house_style
def path_figure(
    betas: np.ndarray,
    samples: Sequence[np.ndarray],
    names: Sequence[str],
    truth: Mapping[str, float | None],
    heading: str,
) -> Figure:
    """Mean and deviation of each parameter under q̂, by β.

    Args:
        betas: of the run, rising.
        samples: draws of q̂ at each, shape (n, P).
        names: of the parameters.
        truth: by parameter.
        heading: above all.
    """
    figure = Figure(figsize=(6.0, 1.5 * len(names) + 0.8), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for k, (axes, name) in enumerate(zip(panels, names, strict=True)):
        mean = np.array([draws[:, k].mean() for draws in samples])
        sd = np.array([draws[:, k].std() for draws in samples])
        axes.fill_between(betas, mean - sd, mean + sd, color=TUNED, alpha=0.3, linewidth=0)
        axes.plot(betas, mean, "o-", color=TUNED, markersize=3)
        _mark(axes, None, truth.get(name))
        axes.set_ylabel(name)
    positive = betas[betas > 0]
    panels[-1].set_xscale("symlog", linthresh=float(positive.min()))
    panels[-1].set_xlim(float(betas.min()), 1.05 * float(betas.max()))
    panels[-1].set_xlabel(BETA_LABEL)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _histogram(axes: Axes, theta: np.ndarray, prior: np.ndarray, truth: float | None) -> None:
    edges = np.linspace(*_range(theta, truth), BINS + 1)
    axes.hist(theta, edges.tolist(), density=True, color=TUNED, alpha=0.35, label="tilt")
    inside = (prior >= edges[0]) & (prior <= edges[-1])
    height, _ = np.histogram(prior, edges)
    if inside.sum() > BINS:
        axes.stairs(height / len(prior) / np.diff(edges), edges, color=MUTED, label="prior")
    if truth is not None:
        axes.axvline(truth, color=REFERENCE, linewidth=1, label="truth")
    axes.set_yticks([])
    axes.grid(visible=False)


def _edges(values: np.ndarray) -> list[float]:
    """Of the bins of a histogram; whole numbers have one each where they are few."""
    low, high = np.quantile(values, [FAR, 1 - FAR])
    if (values == np.round(values)).all() and high - low < 2 * BINS:
        edges = np.arange(np.floor(low), np.ceil(high) + 1) - 0.5
    else:
        edges = np.linspace(low, high, BINS // 2 + 1)
    return [float(edge) for edge in edges]


def _mark(axes: Axes, x: float | None, y: float | None) -> None:
    """Lines at the truth, as far as it is known."""
    if x is not None:
        axes.axvline(x, color=REFERENCE, linewidth=0.8)
    if y is not None:
        axes.axhline(y, color=REFERENCE, linewidth=0.8)


def _range(values: np.ndarray, truth: float | None) -> tuple[float, float]:
    """What an axis shows: all but the furthest, and the truth."""
    low, high = np.quantile(values, [FAR, 1 - FAR])
    room = 0.08 * (high - low) or 0.5
    known = [] if truth is None else [truth]
    return float(min([low, *known]) - room), float(max([high, *known]) + room)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    if not x:
        axes.tick_params(labelbottom=False)
