"""What does it cost to hold the ten classes while the discriminator is pushed? Exact tilts.

    python -m experiments.classes_held.check [FOLDER]

Of 100,000 draws of p, by importance weights: the tilt closest to p with E f at least c, the one
whose ten shares also stay as they are under p, and the one whose ten shares become a tenth each.
All ten are asked for "at least", and they sum to 1, so that none can grow. Once for the plain
discriminator, once for that of images as the VAE rebuilds them. Needs MNIST for the Fréchet
distance.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from experiments.bench.judge import Judge
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import minimize

from btgm_cli import load_criterion, load_model
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.report import save
from btgm_cli.report.style import KL_LABEL, MEAN_LABEL, MUTED, REFERENCE, TUNED, in_house_style
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tilt.estimates import effective_sample_size, pareto_k, systematic

N, SHOWN = 100_000, 10_000
GOALS = {
    "discriminator_vae_mnist": (-13.5, -13, -12.5, -12, -11.5, -11, -10.5, -10, -9.5, -9),
    "discriminator_vae_mnist_rebuilt": (-2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2),
}
"""E f asked for, by each discriminator."""
DRAWN = {"discriminator_vae_mnist": -10.0, "discriminator_vae_mnist_rebuilt": 1.0}
"""Whose shares are drawn."""
NAMES = {
    "discriminator_vae_mnist": "plain discriminator",
    "discriminator_vae_mnist_rebuilt": "discriminator of rebuilt images",
}
EVEN = 0.1
"""A digit's share where all are to be alike."""


Show = Callable[[torch.Tensor], dict]
"""What is to be said of draws z (n, D)."""


def multipliers(terms: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """λ ≥ 0 (m,) of the tilt by Σ λᵢ fᵢ with E fᵢ ≥ cᵢ, from draws (n, m) of p: the least dual."""

    def dual(at: np.ndarray) -> tuple[float, np.ndarray]:
        log_w = terms @ at
        top = log_w.max()
        w = np.exp(log_w - top)
        return math.log(w.mean()) + top - at @ goal, w @ terms / w.sum() - goal

    bounds = [(0, None)] * len(goal)
    return minimize(dual, 0 * goal, jac=True, method="L-BFGS-B", bounds=bounds).x


def tilt(terms: np.ndarray, goal: np.ndarray, z: torch.Tensor, show: Show) -> dict:
    """The row of one tilt; `goal` may ask for the first terms alone."""
    found = multipliers(terms[:, : len(goal)], goal)
    log_w = torch.from_numpy(terms[:, : len(goal)] @ found)
    w = torch.softmax(log_w, 0)
    means = w.numpy() @ terms
    log_z = torch.logsumexp(log_w, 0).item() - math.log(len(w))
    chosen = systematic(w, SHOWN, derived_generator(0, "classes_held", *goal.tolist()))
    return {
        "mean_f": means[0],
        "kl": (w * log_w).sum().item() - log_z,
        "multiplier": found[0],
        "ess": effective_sample_size(log_w),
        "pareto_k": pareto_k(log_w),
        **show(z[chosen]),
        **{f"share_{label}": share for label, share in enumerate(means[1:])},
    }


def measured(discriminator: str) -> list[dict]:
    """Rows of p, and of the tilts to each goal: free, held, and with even shares."""
    model = load_model("vae_mnist")
    criterion = load_criterion("discriminator", discriminator=discriminator)
    judge = Judge(load_mnist())
    z = model.sample_prior(N, derived_generator(0, "classes_held"))

    def of(part: torch.Tensor) -> torch.Tensor:
        x = model.decode(part)
        return torch.cat([criterion(x)[:, None], criterion.log_probabilities(x).exp()], 1)

    terms = in_chunks(of, z).double().numpy()
    shares = {"free": [], "held": terms.mean(0)[1:], "even": np.full(10, EVEN)}

    def show(chosen: torch.Tensor) -> dict:
        seen = judge.of(in_chunks(model.decode, chosen))
        return {name: seen[name] for name in ("frechet", "classes_off", "confident")}

    rows = [{"way": "p", "goal": math.nan, **tilt(terms, terms.mean(0)[:1], z, show)}]
    for goal in GOALS[discriminator]:
        for way, asked in shares.items():
            wish = np.concatenate([[goal], asked])
            rows.append({"way": way, "goal": goal, **tilt(terms, wish, z, show)})
    return [{"discriminator": discriminator, **row} for row in rows]


LOOKS = {"free": (REFERENCE, "o", -0.2), "held": (TUNED, "D", 0.2), "even": ("#009E73", "s", 0.4)}
LABELS = {"free": "tilted by f alone", "held": "classes held", "even": "a tenth each"}


def panels(price: Axes, digits: Axes, distance: Axes, table: pd.DataFrame) -> None:
    """The price in KL, the digits, and the Fréchet distance, of one discriminator."""
    discriminator = table["discriminator"].iloc[0]
    start, drawn = table[table["way"] == "p"], DRAWN[discriminator]
    digits.bar(np.arange(10), start[SHARES].iloc[0], 0.2, color=MUTED, label="p")
    for way, (colour, marker, shift) in LOOKS.items():
        path = table[table["way"] == way]
        if way != "even":
            path = pd.concat([start, path])
        look = {"color": colour, "marker": marker, "markersize": 4}
        price.plot(path["kl"], path["mean_f"], label=LABELS[way], **look)
        distance.plot(path["mean_f"], path["frechet"], **look)
        shares = path[path["goal"] == drawn][SHARES].iloc[0]
        digits.bar(np.arange(10) + shift, shares, 0.2, color=colour)
    price.set(xlabel=KL_LABEL, ylabel=MEAN_LABEL, title=NAMES[discriminator])
    digits.set(
        xlabel="digit", ylabel=rf"share at $\mathrm{{E}}_q\,f = {drawn:g}$", xticks=range(10)
    )
    distance.set(xlabel=MEAN_LABEL, ylabel="Fréchet distance", ylim=(0, 95))


@in_house_style
def picture(table: pd.DataFrame) -> Figure:
    """A row of panels for each discriminator."""
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    axes = figure.subplots(len(GOALS), 3)
    for row, discriminator in zip(axes, GOALS, strict=True):
        panels(*row, table[table["discriminator"] == discriminator])
    price, digits = axes[0][:2]
    handles = price.get_legend_handles_labels()[0] + digits.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


SHARES = [f"share_{label}" for label in range(10)]

if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/classes_held")
    torch.set_num_threads(1)
    write_table(where / "check.csv", [row for name in GOALS for row in measured(name)])
    table = read_table(where / "check.csv")
    save(picture(table), where / "check.png")
    print(table.to_string(float_format="{:.4g}".format))
