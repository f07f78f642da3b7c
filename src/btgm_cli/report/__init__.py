"""Pictures of a run, drawn from its directory alone: no model, no criterion, no flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from btgm_cli.report.pareto import pareto_figure
from btgm_cli.report.samples import draws_figure, samples_figure
from btgm_cli.report.style import in_house_style
from btgm_cli.report.theory import theory_figure
from btgm_cli.report.views import PICTURE, views_figure
from btgm_cli.store.files import replacing
from btgm_cli.store.runs import Run

__all__ = [
    "draw_all",
    "draw_draws",
    "draw_pareto",
    "draw_samples",
    "draw_theory",
    "draw_views",
    "pareto_figure",
    "samples_figure",
    "save",
    "theory_figure",
]


def draw_all(run: Run) -> list[Path]:
    """Draw every picture of `run` into its directory and return their paths."""
    return [draw_samples(run), draw_pareto(run), draw_theory(run), *draw_views(run)]


def draw_views(run: Run) -> list[Path]:
    """Write `views.png` where a run has views."""
    figure = views_figure(run)
    return [save(figure, run.path / PICTURE)] if figure else []


def draw_samples(run: Run) -> Path:
    """Write `samples.png`: what the tuned model draws at each β."""
    return save(samples_figure(run), run.path / "samples.png")


def draw_pareto(run: Run) -> Path:
    """Write `pareto.png`: E_q f against KL(q‖p), with the best that any q can do."""
    return save(pareto_figure(run), run.path / "pareto.png")


def draw_theory(run: Run) -> Path:
    """Write `theory_vs_empirical.png`: E_q f and KL(q‖p) against β."""
    return save(theory_figure(run), run.path / "theory_vs_empirical.png")


def draw_draws(x: NDArray[np.float32], heading: str, path: Path) -> Path:
    """Write a picture of the first of x (n, *X) to `path`."""
    return save(draws_figure(x, rows=4, heading=heading), path)


@in_house_style
def save(figure: Figure, path: Path) -> Path:
    """Write a picture, PNG or PDF by its suffix: the same bytes for the same figure."""
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else None
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata=metadata)
    return path
