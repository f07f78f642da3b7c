"""The marks that the Pareto and the theory picture share: tuned points and their reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from btgm_cli.report.style import REFERENCE, TUNED, Array, beta_text, column, flags
from btgm_cli.store.runs import Run

METHODS = {
    "closed_form": "closed form",
    "psis": "importance sampling, ±2 s.e.",
    "smc": "tempered SMC, ±2 s.e.",
    "mis": "draws of p and of the tuned model, ±2 s.e.",
    "bridge": "SMC, p and the tuned model, ±2 s.e.",
}


@dataclass(frozen=True)
class Series:
    """Points with standard errors, in any unit; each array has shape (n,)."""

    x: Array
    y: Array
    x_se: Array
    y_se: Array

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which points can be drawn, shape (n,)."""
        return np.isfinite(self.x) & np.isfinite(self.y)


def draw_tuned(axes: Axes, points: Series, colour: str = TUNED, marker: str = "o") -> None:
    """Tuned flows: circles, or another marker, with bars of two standard errors."""
    look = {"color": colour, "marker": marker, "markersize": 4.5, "zorder": 4}
    _bars(axes, points, points.finite, label="tuned", **look)


def draw_reference_points(axes: Axes, points: Series, reliable: NDArray[np.bool_]) -> None:
    """The reference at the rows' β: diamonds, hollow where it is not reliable, shape (n,)."""
    look = {"color": REFERENCE, "marker": "D", "markersize": 5, "zorder": 3}
    _bars(axes, points, points.finite & reliable, label="reference", **look)
    _bars(axes, points, points.finite & ~reliable, label="unreliable", mfc="white", **look)


def draw_reference_band(axes: Axes, x: Array, y: Array, y_se: Array) -> None:
    """Two standard errors of the reference to either side."""
    spread = 2 * np.nan_to_num(y_se)
    axes.fill_between(x, y - spread, y + spread, color=REFERENCE, alpha=0.15, linewidth=0)


def draw_reference_curve(axes: Axes, x: Array, y: Array, reliable: NDArray[np.bool_]) -> None:
    """The reference along β: solid where reliable, dotted elsewhere and on the way there."""
    doubtful = ~reliable
    doubtful[1:] |= ~reliable[:-1]
    doubtful[:-1] |= ~reliable[1:]
    axes.plot(x, np.where(reliable, y, np.nan), color=REFERENCE, label="reference")
    if doubtful.any():
        axes.plot(x, np.where(doubtful, y, np.nan), ":", color=REFERENCE, label="unreliable")


def legend_handles(run: Run) -> list[Line2D]:
    """One entry for each kind of mark that `run` needs."""
    handles = [handle(TUNED, "tuned model, ±2 s.e.", marker="o", linestyle="none")]
    reliable = np.concatenate([flags(run.pareto, "ref_reliable"), flags(run.theory, "reliable")])
    if reliable.any():
        handles.append(handle(REFERENCE, f"reference ({method(run)})", marker="D"))
    if not reliable.all():
        label = "reference, not reliable"
        handles.append(handle(REFERENCE, label, marker="D", ls=":", mfc="white"))
    return handles


def left_out(run: Run) -> str:
    """A line that names the rows that cannot be drawn, or nothing."""
    lost = ~np.isfinite(column(run.pareto, "kl")) | ~np.isfinite(column(run.pareto, "mean_f"))
    betas = ", ".join(beta_text(beta) for beta in column(run.pareto, "beta")[lost])
    return f"\nnot finite, not drawn: {betas}" if betas else ""


def _bars(axes: Axes, points: Series, chosen: NDArray[np.bool_], **look: Any) -> None:
    if chosen.any():
        axes.errorbar(
            points.x[chosen],
            points.y[chosen],
            xerr=2 * np.nan_to_num(points.x_se[chosen]),
            yerr=2 * np.nan_to_num(points.y_se[chosen]),
            linestyle="none",
            elinewidth=0.9,
            **look,
        )


def method(run: Run) -> str:
    """How the reference was got, in words."""
    names = run.theory["method"] if len(run.theory) else run.pareto["ref_method"]
    return ", ".join(METHODS.get(name, str(name)) for name in names.dropna().unique())


def handle(colour: str, label: str, **look: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], color=colour, label=label, markersize=4.5, **look)
