"""The picture of an energy in the plane, drawn from its tables alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.style import MUTED, REFERENCE, TUNED, column, in_house_style

LEVELS = 12


@dataclass(frozen=True)
class Surface:
    """What is drawn below the draws.

    Args:
        contours: u in kT on a square grid, columns x0, x1 and u.
        normal: of the line between the two sides.
        level: of that line.
        energies: kT above the lowest, up to which contours are drawn.
    """

    contours: pd.DataFrame
    normal: Sequence[float]
    level: float
    energies: float


@in_house_style
def surface_picture(
    surface: Surface,
    points: pd.DataFrame,
    energies: pd.DataFrame,
    profile: pd.DataFrame,
    along: str,
) -> Figure:
    """Draws in configuration space, in the flow's latent space, their energies, and F along r.

    Args:
        surface: the energy.
        points: draws, columns x0, x1, z0 and z1.
        energies: densities, 1/kT, by the middle u of their bins: exact, draws, weighted and p.
        profile: F in kT by bins of r, with its error, and by quadrature.
        along: what r is called.
    """
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    space, latent, histogram, free = figure.subplots(2, 2).flat
    _contours(space, surface)
    far = surface.normal[0] * column(points, "x0") + surface.normal[1] * column(points, "x1")
    for axes, first, second in ((space, "x0", "x1"), (latent, "z0", "z1")):
        for side, color in ((far > surface.level, TUNED), (far <= surface.level, REFERENCE)):
            x, y = column(points, first)[side], column(points, second)[side]
            axes.plot(x, y, ".", color=color, markersize=2.4, alpha=0.6, markeredgewidth=0)
    space.set(title="configuration space", xlabel="$x_1$", ylabel="$x_2$")
    latent.set(title="latent space of the flow", xlabel="$z_1$", ylabel="$z_2$")
    latent.set(xlim=(-5, 5), ylim=(-5, 5))
    latent.set_aspect("equal")
    _histograms(histogram, energies)
    _profile(free, profile, along)
    return figure


def _profile(axes: Axes, profile: pd.DataFrame, along: str) -> None:
    """F with a band of two standard errors, and quadrature."""
    at = (column(profile, "left") + column(profile, "right")) / 2
    free, band = column(profile, "free_energy_kt"), 2 * column(profile, "free_energy_kt_se")
    axes.fill_between(at, free - band, free + band, color=TUNED, alpha=0.3, linewidth=0)
    axes.plot(at, free, color=TUNED, linewidth=1.2, label="weighted draws, ±2 s.e.")
    exact = column(profile, "exact_kt")
    axes.plot(at, exact, color=MUTED, linewidth=1, linestyle="--", label="quadrature")
    axes.set(title="free energy", xlabel=along, ylabel="$F$ (kT)", xlim=(at[0], at[-1]))
    axes.legend(loc="best")


def _contours(axes: Axes, surface: Surface) -> None:
    """Lines of equal energy, kT above the lowest."""
    frame = surface.contours
    side = int(np.sqrt(len(frame)))
    x, y, u = (column(frame, name).reshape(side, side) for name in ("x0", "x1", "u"))
    levels = np.linspace(0, surface.energies, LEVELS + 1)[1:]
    axes.contour(x, y, u - u.min(), levels=levels, colors=MUTED, linewidths=0.5)
    axes.grid(visible=False)


def _histograms(axes: Axes, energies: pd.DataFrame) -> None:
    u = column(energies, "u")
    axes.fill_between(u, column(energies, "exact"), color=MUTED, alpha=0.3, linewidth=0)
    axes.plot(u, column(energies, "p"), color=MUTED, linewidth=1, linestyle=":", label="p")
    axes.plot(u, column(energies, "exact"), color=MUTED, linewidth=1, label="quadrature")
    axes.plot(u, column(energies, "draws"), color=TUNED, linewidth=1.1, label="tuned")
    weighted = column(energies, "weighted")
    axes.plot(u, weighted, color=REFERENCE, linewidth=1, linestyle="--", label="tuned, weighted")
    axes.set(title="energies", xlabel="$u$ (kT)", ylabel="density (1/kT)", ylim=(0, None))
    axes.legend(loc="upper right")
