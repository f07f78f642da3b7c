"""Pictures of the load VAE: weeks that it makes, and how they compare with real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.domains.load.pretraining.gates import autocorrelation, mean_day
from btgm_cli.domains.load.weekly import HOURS_PER_WEEK
from btgm_cli.store.files import replacing

REAL, MODEL, MEAN = "#222222", "#c8442c", "#2c6fc8"
WEEKS = 5
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def draw_weeks(real: Tensor, sampled: Tensor, mean: Tensor, path: Path) -> None:
    """Draw the first weeks of real and generated curves (n, points), kW, into a PNG file."""
    figure = Figure(figsize=(11, 9), layout="constrained")
    rows = figure.subplots(WEEKS, 2, sharex=True, sharey=True)
    days = torch.arange(real.shape[1]) * 7 / real.shape[1]
    for row, (left, right) in enumerate(rows):
        left.plot(days, real[row], color=REAL, linewidth=0.8)
        right.plot(days, sampled[row], color=MODEL, linewidth=0.8, label="sampled")
        right.plot(days, mean[row], color=MEAN, linewidth=1.2, label="mean given z")
        left.set(ylabel="kW")
    rows[0][0].set(title="real, held-out weeks", ylim=(0, None), xlim=(0, 7))
    rows[0][1].set(title="model")
    rows[0][1].legend(frameon=False, ncols=2)
    for axes in rows[-1]:
        axes.set_xticks([day + 0.5 for day in range(7)], DAYS)
    _finish(figure, path)


def draw_fidelity(real: Tensor, sampled: Tensor, mean: Tensor, path: Path) -> None:
    """Draw quantiles, mean day and autocorrelation of curves (n, points), kW, into a PNG file."""
    curves = {
        "real, held-out weeks": (real, REAL, "-"),
        "model, sampled": (sampled, MODEL, "-"),
        "model, mean decoder": (mean, MEAN, "--"),
    }
    figure = Figure(figsize=(11, 7), layout="constrained")
    peak, energy, variation, day, lags, tail = figure.subplots(2, 3).flat
    for label, (x, color, style) in curves.items():
        line = {"color": color, "linestyle": style, "label": label}
        _quantiles(peak, x.amax(1), line)
        _quantiles(energy, x.mean(1) * HOURS_PER_WEEK, line)
        _quantiles(variation, x.std(1) / x.mean(1), line)
        hours = torch.arange(x.shape[1] // 7) * 24 * 7 / x.shape[1]
        day.plot(hours, mean_day(x), **line)
        correlation = autocorrelation(x, x.shape[1] * 2 // 7)
        lags.plot(torch.arange(len(correlation)) * 168 / x.shape[1], correlation, **line)
        ordered = x.amax(1).sort().values
        tail.semilogy(ordered, 1 - torch.arange(len(ordered)) / len(ordered), **line)
    peak.set(ylabel="peak of the week, kW")
    energy.set(ylabel="energy of the week, kWh")
    variation.set(ylabel="coefficient of variation")
    for axes in (peak, energy, variation):
        axes.set(xlabel="quantile")
    day.set(xlabel="hour of the day", ylabel="mean power, kW", ylim=(0, None))
    day.set_xticks(range(0, 25, 6))
    lags.set(xlabel="lag, hours", ylabel="autocorrelation")
    lags.set_xticks(range(0, 49, 12))
    tail.set(xlabel="peak of the week, kW", ylabel="share of weeks above", ylim=(1e-4, 1))
    peak.legend(frameon=False)
    _finish(figure, path)


def _quantiles(axes: Axes, values: Tensor, line: dict[str, str]) -> None:
    share = torch.linspace(0.005, 0.995, 199)
    axes.plot(share, values.quantile(share), **line)  # type: ignore[arg-type]


def _finish(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)
