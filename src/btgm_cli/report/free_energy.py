"""Pictures of free energies in kT: a profile with its band, and the works between two models."""

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
    in_house_style,
)
from btgm_cli.store.tables import read_table

PROFILE, ABOUT = "profile.csv", "free_energy.json"
ESTIMATES, WORKS, BETWEEN = "estimates.csv", "works.npz", "free_energy.json"
"""What the pictures are drawn from."""

SHARPEST = 1.0
"""kT; bins that are known worse than this are not drawn."""

BINS = 60


@in_house_style
def draw_profile(path: Path) -> list[Path]:
    """Write `profile.png` and `.pdf` from the files in the folder `path`."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    figure = profile_figure(about, read_table(path / PROFILE))
    return [save(figure, path / f"profile.{kind}") for kind in ("png", "pdf")]


@in_house_style
def profile_figure(about: dict[str, Any], table: pd.DataFrame) -> Figure:
    """F along the coordinate with a band of two standard errors, and where it is split.

    Args:
        about: of `free_energy.json`.
        table: the rows of `profile.csv`.
    """
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.subplots()
    at = (column(table, "left") + column(table, "right")) / 2
    free_energy, error = column(table, "free_energy_kt"), column(table, "free_energy_kt_se")
    free_energy = np.where(error <= SHARPEST, free_energy, np.nan)
    axes.fill_between(
        at,
        free_energy - 2 * error,
        free_energy + 2 * error,
        color=TUNED,
        alpha=0.25,
        linewidth=0,
        label="±2 s.e.",
    )
    axes.plot(at, free_energy, color=TUNED)
    if "split" in about:
        axes.axvline(about["split"], color=MUTED, linewidth=0.8, linestyle=":")
        text = f"ΔF = {about['delta_f_kt']:.3f} ± {about['delta_f_kt_se']:.2g} kT"
        axes.set_title(text, loc="right", fontsize=SMALL)
    axes.set(xlim=about["range"], xlabel=_name(about["along"]), ylabel="free energy $F$ (kT)")
    axes.legend(loc="best")
    heading = f"{about['model']} / {about['criterion']} · β = {about['beta']:.4g}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _name(along: str) -> str:
    """A coordinate as an axis has it."""
    return f"$x_{{{along[1:]}}}$" if along[1:].isdigit() else along


@in_house_style
def draw_between(path: Path) -> list[Path]:
    """Write `works.png` and `.pdf` from the files in the folder `path`."""
    about = json.loads((path / BETWEEN).read_text(encoding="utf-8"))
    with np.load(path / WORKS, allow_pickle=False) as stored:
        works = {name: stored[name] for name in stored.files}
    figure = works_figure(about, works)
    return [save(figure, path / f"works.{kind}") for kind in ("png", "pdf")]


@in_house_style
def works_figure(about: dict[str, Any], works: dict[str, Array]) -> Figure:
    """For each run, log weights on draws of the tuned model and of the tilt: they cross at log Z.

    Args:
        about: of `free_energy.json`.
        works: `tuned_1`, `tilt_1`, `tuned_2` and `tilt_2`, nats.
    """
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    for number, axes in enumerate(figure.subplots(1, 2), 1):
        run = about["runs"][number - 1]
        _crossing(axes, works[f"tuned_{number}"], works[f"tilt_{number}"])
        axes.axvline(run["log_z"], color=MUTED, linewidth=0.8, linestyle=":")
        text = f"log Z = {run['log_z']:.3f} ± {run['log_z_se']:.2g}, kl_gap {run['kl_gap']:.2g}"
        axes.set_title(f"{number}: {Path(run['run']).name} · {text}", fontsize=SMALL)
        axes.set_xlabel(r"$\log\, p\, e^{\beta f} - \log\, \hat{q}$ (kT)")
    figure.axes[0].set_ylabel("density (1/kT)")
    figure.axes[0].legend(["tuned model", "exact tilt"], fontsize=SMALL)
    return figure


def _crossing(axes: Axes, tuned: Array, tilt: Array) -> None:
    """Both histograms, but for a thousandth at either end."""
    finite = [values[np.isfinite(values)] for values in (tuned, tilt)]
    low = min(np.quantile(values, 0.001) for values in finite)
    high = max(np.quantile(values, 0.999) for values in finite)
    margin = 0.05 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    for values, all_of, colour in zip(finite, (tuned, tilt), (TUNED, REFERENCE), strict=True):
        density = np.histogram(values, edges)[0] / (len(all_of) * np.diff(edges))
        axes.stairs(density, edges, color=colour)
