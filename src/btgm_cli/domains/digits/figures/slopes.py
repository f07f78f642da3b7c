"""Fig. 11: how steep a discriminator's logit is in latent space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.discriminator import Discriminator, slopes
from btgm_cli.domains.digits.figures.gradients import histogram
from btgm_cli.domains.digits.figures.pages import slopes_page
from btgm_cli.domains.digits.vae import load_vae
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import SMALL, TITLE, TUNED, in_house_style
from btgm_cli.store.checkpoints import load_network
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import read_table, write_table

CUT, BINS = 20.0, 80
"""The norm at which the picture ends, as the paper's does, and its bins up to there."""

NEAR = 10.0
"""The paper finds most norms within this."""

CHUNK = 1000


@dataclass(frozen=True)
class Slopes:
    """A `report.figure.PaperFigure` without runs: it needs no tuned model.

    Args:
        name: of the figure.
        norm_max: the largest norm in the paper.
        n: draws of p.
    """

    name: str
    norm_max: str
    n: int = 50_000

    def runs(self) -> dict[str, list[str]]:
        """None."""
        return {}

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Measure the norms; write their tables, the page's and the picture."""
        model = load_vae()
        discriminator = load_network(Discriminator, "discriminator_vae_mnist", "figure.name")
        z = model.sample_prior(self.n, derived_generator(0, self.name))
        norms = torch.cat([slopes(discriminator, model, part) for part in z.split(CHUNK)])
        row = {"n": self.n, "norm_max_paper": self.norm_max, **norm_figures(norms.double())}
        tables = {self.name: [row], "histogram": histogram(norms, CUT, BINS)}
        for name, rows in tables.items():
            write_table(out / f"{name}.csv", rows)
        text = out / f"{self.name}.md"
        write_text(text, slopes_page(row))
        picture = slopes_figure(*(read_table(out / f"{name}.csv") for name in tables))
        drawn = [save(picture, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]
        return [*(out / f"{name}.csv" for name in tables), text, *drawn]


def norm_figures(norms: Tensor) -> Row:
    """Quantiles of the norms (n,), and their shares within and beyond the paper's marks."""
    quantiles = {f"norm_q{round(100 * q)}": norms.quantile(q).item() for q in (0.5, 0.9, 0.99)}
    return {
        **quantiles,
        "norm_max": norms.max().item(),
        "share_within_10": (norms <= NEAR).double().mean().item(),
        "share_above_20": (norms > CUT).double().mean().item(),
    }


@in_house_style
def slopes_figure(table: pd.DataFrame, bins: pd.DataFrame) -> Figure:
    """The histogram of the norms up to `CUT`, with what lies beyond in words.

    Args:
        table: the row of `fig11.csv`.
        bins: the rows of `histogram.csv`.
    """
    (row,) = table.to_dict("records")
    figure = Figure(figsize=(4.8, 3.0), layout="constrained")
    axes = figure.subplots()
    edges = np.append(bins["left"].to_numpy(), bins["right"].iloc[-1])
    density = bins["share"].to_numpy() / np.diff(edges)
    axes.stairs(density, edges, fill=True, color=TUNED, alpha=0.35)
    axes.stairs(density, edges, color=TUNED, linewidth=1)
    axes.set(xlim=(0, CUT), xlabel=r"$\|\nabla_z f\|$ under $p$ (nats)", ylabel="density")
    beyond = f"{100 * row['share_above_20']:.1f} % above {CUT:g},\nup to {row['norm_max']:.0f}"
    axes.annotate(
        beyond, (0.98, 0.97), xycoords="axes fraction", fontsize=SMALL, ha="right", va="top"
    )
    heading = f"vae_mnist / discriminator · {row['n']:,} draws"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure
