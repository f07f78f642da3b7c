"""The one place that says how a picture looks and how a number reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by their lightness.
TUNED = "#D55E00"
REFERENCE = "#0072B2"
MUTED = "#767676"

# Sizes of type, in points.
TITLE, TEXT, SMALL = 9.0, 8.5, 7.5

# A decorator: the figure is built, or saved, in this style, and nothing global stays changed.
in_house_style = mpl.rc_context(
    {
        "font.family": "DejaVu Sans",
        "font.size": TEXT,
        "mathtext.fontset": "dejavusans",
        "axes.titlesize": TITLE,
        "axes.labelsize": TITLE,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.6,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.5,
        "errorbar.capsize": 2,
        "figure.dpi": 200,
        "savefig.dpi": 200,
        "savefig.facecolor": "white",
        "pdf.fonttype": 42,  # TrueType: text stays text, and publishers accept it
    }
)

KL_LABEL = r"$\mathrm{KL}(q\,\|\,p)$ (nats)"
MEAN_LABEL = r"$\mathrm{E}_q\,f$"
BETA_LABEL = r"$\beta$"


def column(frame: pd.DataFrame, name: str) -> Array:
    """A column as float64, shape (rows,), with NaN for what is missing or infinite."""
    if name not in frame:
        return np.full(len(frame), np.nan)
    values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def flags(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """A column of booleans, shape (rows,); what is missing counts as False."""
    return np.equal(column(frame, name), 1.0)


def title(summary: Mapping[str, Any]) -> str:
    """Model, criterion and the verdict of `summary.json`, on one line."""
    model, criterion = summary.get("model", "?"), summary.get("criterion", "?")
    return f"{model} / {criterion} · verdict: {summary.get('status', 'unfinished')}"


def beta_text(beta: float) -> str:
    """β as it is written beside a point or a row."""
    return f"β = {beta:.4g}"


def kl_text(kl: float) -> str:
    """A divergence in nats as it is written beside a row."""
    return f"KL = {kl:z.2f} nats" if math.isfinite(kl) else "KL not finite"
