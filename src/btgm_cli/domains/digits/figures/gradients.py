"""Fig. 1: how steep log h(ℓ | x) and h(ℓ | x) are in latent space, for each class ℓ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.cli.loading import load_criterion, load_model
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.figures.pages import gradients_page
from btgm_cli.report import save
from btgm_cli.report.marks import handle
from btgm_cli.report.style import REFERENCE, SMALL, TITLE, TUNED, in_house_style
from btgm_cli.store.files import write_text
from btgm_cli.store.runs import read_table, write_table
from btgm_cli.tuning.ranking import Look, look, rank, walk

N, QUICK_N = 10_000, 200
"""Draws of p."""

CUT, BINS = 15.0, 60
"""The norm at which the pictures end, and their bins up to there."""

BUDGET = 1.0
"""KL in nats at which `ranking` compares."""

# Of each criterion of a class: its colour, as in the paper, its name, and the largest norms there.
CRITERIA = {
    "log_class": (REFERENCE, r"$\log\,h(\ell\,|\,x)$", "10–15"),
    "class": (TUNED, r"$h(\ell\,|\,x)$", "60–100"),
}


def make(out: Path, *, quick: bool) -> list[Path]:
    """Measure the twenty criteria and write their tables and the picture.

    Returns:
        What was written, pictures last.
    """
    model = load_model("gan_mnist")
    z = model.sample_prior(QUICK_N if quick else N, derived_generator(0, "fig1"))
    rows, bins = [], []
    for label in range(10):
        for kind, (_, _, paper) in CRITERIA.items():
            name = f"{kind}{label}"
            seen = look(name, LatentCriterion(model, load_criterion(name)), z)
            steepness = rank(name, seen, walk(seen), BUDGET).row
            rows.append({"label": label, "kind": kind, "norm_max_paper": paper, **steepness})
            bins += [{"label": label, "kind": kind, **row} for row in _histogram(seen)]
    tables = {"fig1": rows, "histograms": bins}
    for name, table in tables.items():
        write_table(out / f"{name}.csv", table)
    text = out / "fig1.md"
    write_text(text, gradients_page(rows))
    figure = histograms(*(read_table(out / f"{name}.csv") for name in tables))
    pictures = [save(figure, out / f"fig1.{kind}") for kind in ("png", "pdf")]
    return [*(out / f"{name}.csv" for name in tables), text, *pictures]


def _histogram(seen: Look) -> list[dict[str, Any]]:
    """The share of the draws in each bin of the norm; what lies beyond the last is left out."""
    edges = np.linspace(0, CUT, BINS + 1)
    counts, _ = np.histogram(seen.norms.numpy(), edges)
    shares = counts / len(seen.norms)
    return [
        {"left": left, "right": right, "share": share}
        for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True)
    ]


@in_house_style
def histograms(table: pd.DataFrame, bins: pd.DataFrame) -> Figure:
    """Ten panels, one a class, with both criteria over each other.

    Args:
        table: the rows of `fig1.csv`.
        bins: the rows of `histograms.csv`.
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    panels = figure.subplots(2, 5, sharex=True, sharey=True)
    for label, axes in enumerate(panels.flat):
        axes.set_title(f"class {label}", loc="left")
        for place, (kind, (colour, _, _)) in enumerate(CRITERIA.items()):
            (row,) = table[(table["label"] == label) & (table["kind"] == kind)].to_dict("records")
            _draw(axes, bins[(bins["label"] == label) & (bins["kind"] == kind)], colour)
            text = f"max {row['norm_max']:.0f}"
            where = {"transform": axes.transAxes, "ha": "right", "va": "top"}
            axes.text(0.98, 0.97 - 0.11 * place, text, color=colour, fontsize=SMALL, **where)
    panels[0, 0].set(yscale="log", xlim=(0, CUT))
    figure.suptitle("gan_mnist", x=0.01, ha="left", fontsize=TITLE)
    figure.supxlabel(r"$\|\nabla_z \tilde f\|$ under $p$", fontsize=TITLE)
    figure.supylabel("share of the draws, log scale", fontsize=TITLE)
    handles = [handle(colour, name) for colour, name, _ in CRITERIA.values()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _draw(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    edges = [*bins["left"], bins["right"].iloc[-1]]
    axes.stairs(bins["share"], edges, color=colour, fill=True, alpha=0.35)
    axes.stairs(bins["share"], edges, color=colour, linewidth=1)
