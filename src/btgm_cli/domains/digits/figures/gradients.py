"""Fig. 1: how steep log h(ℓ | x) and h(ℓ | x) are in latent space, for each class ℓ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.criteria import ClassProbability, LogClass
from btgm_cli.domains.digits.figures.pages import gradients_page
from btgm_cli.domains.digits.generator import load_gan
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.marks import handle
from btgm_cli.report.style import REFERENCE, SMALL, TITLE, TUNED, in_house_style
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tuning.ranking import look, rank, walk

CUT, BINS = 15.0, 60
"""The norm at which the pictures end, and their bins up to there."""

BUDGET = 1.0
"""KL in nats at which `ranking` compares."""

# Each kind of criterion of a class, its colour, as in the paper, and its name.
CRITERIA = {
    "log_class": (LogClass, REFERENCE, r"$\log\,h(\ell\,|\,x)$"),
    "class": (ClassProbability, TUNED, r"$h(\ell\,|\,x)$"),
}


@dataclass(frozen=True)
class Gradients:
    """A `report.figure.PaperFigure` without runs: it needs no tuned model.

    Args:
        name: of the figure.
        norm_max: the largest norms in the paper, by kind of criterion.
        n: draws of p.
    """

    name: str
    norm_max: Mapping[str, str]
    n: int = 10_000

    def runs(self) -> dict[str, list[str]]:
        """None."""
        return {}

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Measure the twenty criteria; write their tables, the page's and the picture."""
        tables = dict(zip((self.name, "histograms"), self._measured(), strict=True))
        for name, table in tables.items():
            write_table(out / f"{name}.csv", table)
        text = out / f"{self.name}.md"
        write_text(text, gradients_page(tables[self.name]))
        figure = histograms(*(read_table(out / f"{name}.csv") for name in tables))
        pictures = [save(figure, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]
        return [*(out / f"{name}.csv" for name in tables), text, *pictures]

    def _measured(self) -> tuple[list[Row], list[Row]]:
        """A row for each class and kind of criterion, and the bins of their histograms."""
        model = load_gan()
        z = model.sample_prior(self.n, derived_generator(0, self.name))
        rows, bins = [], []
        for label in range(10):
            for kind, (of_class, _, _) in CRITERIA.items():
                name, key = f"{kind}{label}", {"label": label, "kind": kind}
                seen = look(name, LatentCriterion(model, of_class(label)), z)
                steepness = rank(name, seen, walk(seen), BUDGET).row
                rows.append({**key, "norm_max_paper": self.norm_max[kind], **steepness})
                bins += [{**key, **row} for row in histogram(seen.norms, CUT, BINS)]
        return rows, bins


def histogram(norms: Tensor, cut: float, bins: int) -> list[Row]:
    """The share of the norms (n,) in each bin up to a cut; what lies beyond is left out."""
    edges = np.linspace(0, cut, bins + 1)
    counts, _ = np.histogram(norms.numpy(), edges)
    shares = counts / len(norms)
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
        for place, (kind, (_, colour, _)) in enumerate(CRITERIA.items()):
            (row,) = table[(table["label"] == label) & (table["kind"] == kind)].to_dict("records")
            _draw(axes, bins[(bins["label"] == label) & (bins["kind"] == kind)], colour)
            text = f"max {row['norm_max']:.0f}"
            where = {"transform": axes.transAxes, "ha": "right", "va": "top"}
            axes.text(0.98, 0.97 - 0.11 * place, text, color=colour, fontsize=SMALL, **where)
    panels[0, 0].set(yscale="log", xlim=(0, CUT))
    figure.suptitle("gan_mnist", x=0.01, ha="left", fontsize=TITLE)
    figure.supxlabel(r"$\|\nabla_z \tilde f\|$ under $p$", fontsize=TITLE)
    figure.supylabel("share of the draws, log scale", fontsize=TITLE)
    handles = [handle(colour, name) for _, colour, name in CRITERIA.values()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure


def _draw(axes: Axes, bins: pd.DataFrame, colour: str) -> None:
    edges = [*bins["left"], bins["right"].iloc[-1]]
    axes.stairs(bins["share"], edges, color=colour, fill=True, alpha=0.35)
    axes.stairs(bins["share"], edges, color=colour, linewidth=1)
