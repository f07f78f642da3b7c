"""Figs. 2, 8 and 9: load curves of p, of tuned models and of the exact tilts, and real ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from btgm_cli.checkpoints import find_checkpoint
from btgm_cli.data import DataError
from btgm_cli.figures.pages import weeks_page
from btgm_cli.figures.recipes import WeeksRecipe
from btgm_cli.figures.week_pictures import bands_and_curves, bands_only
from btgm_cli.files import write_text
from btgm_cli.latent import draw_x
from btgm_cli.loading import LoadedRun
from btgm_cli.report import save
from btgm_cli.report.weeks import SHOWN
from btgm_cli.runs import REFERENCE, read_table, write_table
from btgm_cli.scenarios import HOURS_PER_WEEK, band
from btgm_cli.seeds import derived_generator
from btgm_cli.weekly_load import Aggregates, load_weekly

CURVES = "curves"
QUALITY = ("kl_gap", "kl_gap_se", "ess_fraction", "pareto_k")
P, TUNED, EXACT, REAL = "p", "tuned", "exact", "real"

Row = dict[str, Any]


def make(recipe: WeeksRecipe, runs: dict[str, LoadedRun], out: Path, draws: int) -> list[Path]:
    """Write the tables, the page's and the pictures of a figure of load curves.

    Args:
        recipe: which figure.
        runs: its finished runs, by criterion.
        out: the folder.
        draws: fresh samples of each model.

    Returns:
        What was written, pictures last.
    """
    card = _card(next(iter(runs.values())))
    rows: list[Row] = []
    curves: dict[str, list[float]] = {}
    for criterion, run in runs.items():
        for who, x in _drawn(run, draws).items():
            measured = _described(x, run, card)
            rows.append({"criterion": criterion, "who": who} | _reached(run, who) | measured)
            curves |= band(x, f"{criterion}_{who}_") | _single(x, f"{criterion}_{who}")
    real = _real(card) if recipe.samples else None
    if real is not None:
        curves |= _single(real, REAL)
    text = out / f"{recipe.name}.md"
    write_table(out / f"{recipe.name}.csv", rows)
    points = range(len(next(iter(curves.values()))))
    write_table(out / f"{CURVES}.csv", [{k: v[at] for k, v in curves.items()} for at in points])
    write_text(text, weeks_page(rows, card["real_peak_q99_kw"], _missing(recipe, real)))
    drawn = _draw(recipe, out)
    return [out / f"{recipe.name}.csv", out / f"{CURVES}.csv", text, *drawn]


def _drawn(run: LoadedRun, n: int) -> dict[str, Tensor]:
    """Curves x (n, points), kW, of p, of the tuned model and of the exact tilt if it is known."""
    model, beta = run.model, float(run.pareto["beta"].iloc[-1])

    def generator(who: str) -> torch.Generator:
        return derived_generator(run.cfg.seed, "figure", who)

    drawn = {P: draw_x(model, model.sample_prior(n, generator(P)), generator(P))}
    drawn[TUNED] = run.tuned(beta).sample(n, generator(TUNED))
    kept = run.run.path / REFERENCE
    if kept.is_file():
        drawn[EXACT] = draw_x(model, torch.from_numpy(np.load(kept))[:n], generator(EXACT))
    return drawn


def _reached(run: LoadedRun, who: str) -> Row:
    """What `pareto.csv` says of the last β; of p, the first row."""
    row = run.pareto.iloc[0 if who == P else -1]
    suffix = "_ref" if who == EXACT else ""
    reached = {
        "beta": row["beta"],
        "target_kl": -math.log(run.cfg.target.rho) if run.cfg.target.rho else math.nan,
        "kl": row[f"kl{suffix}"],
        "kl_se": row[f"kl{suffix}_se"],
        "mean_f": row[f"mean_f{suffix}"],
        "mean_f_se": row[f"mean_f{suffix}_se"],
    }
    if who == TUNED:
        reached |= {name: row[name] for name in QUALITY}
        reached["status"] = run.summary.get("status", row["status"])
    return reached


def _described(x: Tensor, run: LoadedRun, card: dict[str, float]) -> Row:
    """Means over curves x (n, points), kW, and the share above the real 99 % quantile."""
    peak = x.amax(1)
    with torch.no_grad():
        values = run.f().criterion(x)
    return {
        "n": len(x),
        "f_of_samples": values.mean().item(),
        "peak_kw": peak.mean().item(),
        "peak_q99_kw": peak.double().quantile(0.99).item(),
        "energy_kwh": x.mean().item() * HOURS_PER_WEEK,
        "above_real_q99": (peak > card["real_peak_q99_kw"]).double().mean().item(),
        "diversity_kw": x.std(0).mean().item(),
    }


def _single(x: Tensor, prefix: str) -> dict[str, list[float]]:
    """The first curves, a column each."""
    return {f"{prefix}_{k}": curve.tolist() for k, curve in enumerate(x[:SHOWN].double())}


def _card(run: LoadedRun) -> dict[str, float]:
    """The real quantiles that the checkpoint's card tells, and how many households it sums."""
    path = find_checkpoint(run.cfg.model.checkpoint).with_suffix(".json")
    card = json.loads(path.read_text()) if path.is_file() else {}
    metrics: dict[str, float] = {"real_peak_q99_kw": math.nan} | card.get("metrics", {})
    return metrics | {"households": card.get("settings", {}).get("households", 10)}


def _real(card: dict[str, float]) -> Tensor | None:
    """Real curves of held-out weeks, kW, where the data are present."""
    try:
        load = load_weekly()
    except DataError:
        return None
    generator = derived_generator(0, "figure", REAL)
    return Aggregates(load.held_out(), int(card["households"])).draw(SHOWN, generator)


def _missing(recipe: WeeksRecipe, real: Tensor | None) -> str:
    if not recipe.samples or real is not None:
        return ""
    return "The panel of real curves is left out: no data here (`btgm data build load`)."


def _draw(recipe: WeeksRecipe, out: Path) -> list[Path]:
    """The pictures, from the tables alone."""
    picture = bands_and_curves if recipe.samples else bands_only
    figure = picture(recipe.criteria, read_table(out / f"{CURVES}.csv"))
    return [save(figure, out / f"{recipe.name}.{kind}") for kind in ("png", "pdf")]
