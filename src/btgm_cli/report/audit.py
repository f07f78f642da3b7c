"""`audit.png`: draws against the tilt, by f, by what a classifier sees, and by class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import (
    MUTED,
    REFERENCE,
    SMALL,
    TITLE,
    TUNED,
    Array,
    column,
    flags,
    in_house_style,
)
from btgm_cli.store.tables import read_table

ABOUT, TESTS, SEEN = "audit.json", "audit.csv", "audit.npz"
"""What the picture is drawn from."""

BINS = 40
LEAST_P = 1e-12
"""At the end of the axis."""


@in_house_style
def draw_audit(path: Path) -> list[Path]:
    """Write `audit.png` and `audit.pdf` from the files in the folder `path`."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    with np.load(path / SEEN, allow_pickle=False) as stored:
        seen = {name: stored[name] for name in stored.files}
    figure = audit_figure(about, read_table(path / TESTS), seen)
    return [save(figure, path / f"audit.{kind}") for kind in ("png", "pdf")]


@in_house_style
def audit_figure(about: dict[str, Any], tests: pd.DataFrame, seen: dict[str, Array]) -> Figure:
    """Panels of f, of the classifier's scores, of the classes if there are any, and of the tests.

    Args:
        about: of `audit.json`.
        tests: the rows of `audit.csv`.
        seen: `f` and `score` of the draws, `f_ref` and `score_ref` of the tilt.
    """
    classes = bool(about["class_shares"])
    figure = Figure(figsize=(9.6 if classes else 7.2, 2.6), layout="constrained")
    panels = list(figure.subplots(1, 3 + classes, squeeze=False).flat)
    _histograms(panels[0], seen["f"], seen["f_ref"], _span(seen["f"], seen["f_ref"]))
    panels[0].set(xlabel="$f$", ylabel="density")
    panels[0].legend(["tilt", "draws"], fontsize=SMALL)
    _histograms(panels[1], seen["score"], seen["score_ref"], (0.0, 1.0))
    panels[1].set_xlabel("classifier's rank: draws … tilt")
    if classes:
        _classes(panels[2], about["class_shares"], about["class_shares_ref"])
    _tests(panels[-1], tests)
    heading = f"{about['model']} / {about['criterion']} · β = {about['beta']:.4g}"
    heading += f" · {about['n']:,} draws · verdict: {about['status']}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _histograms(axes: Axes, draws: Array, tilt: Array, span: tuple[float, float]) -> None:
    edges = np.linspace(*span, BINS + 1)
    for values, colour, fill in ((tilt, REFERENCE, True), (draws, TUNED, False)):
        density = np.histogram(values, edges)[0] / (len(values) * np.diff(edges))
        axes.stairs(density, edges, fill=fill, color=colour, alpha=0.6 if fill else 1.0)


def _span(draws: Array, tilt: Array) -> tuple[float, float]:
    """An axis that both fit on, but for a thousandth of each at either end."""
    ends = np.array([np.quantile(values, [0.001, 0.999]) for values in (draws, tilt)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    margin = 0.02 * (high - low) or 0.5
    return low - margin, high + margin


def _classes(axes: Axes, draws: list[float], tilt: list[float]) -> None:
    at = np.arange(len(draws))
    axes.bar(at, tilt, color=REFERENCE, alpha=0.6)
    axes.plot(at, draws, "_", color=TUNED, markersize=9, markeredgewidth=2)
    axes.set(xlabel="class", ylabel="share", xticks=at)


def _tests(axes: Axes, tests: pd.DataFrame) -> None:
    """p of each test, on a log scale, and the limit."""
    p, bad = np.maximum(column(tests, "p"), LEAST_P), flags(tests, "failed")
    at = np.arange(len(tests))[::-1]
    for shown, colour in ((~bad, REFERENCE), (bad, TUNED)):
        axes.plot(p[shown], at[shown], "o", color=colour, markersize=5)
    axes.axvline(float(tests["limit"].iloc[0]), color=MUTED, linewidth=0.8)
    axes.set_yticks(at, [str(name).replace("_", " ") for name in tests["test"]])
    axes.set(xscale="log", xlim=(LEAST_P / 3, 3), ylim=(-0.6, len(tests) - 0.4), xlabel="$p$")
