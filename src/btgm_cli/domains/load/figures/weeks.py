"""Figs. 2, 8 and 9: load curves of p, of tuned models and of the exact tilts, and real ones.

Where the data are at hand the real aggregates are tilted alike, to the same KL: what the tuned
model would be if p were the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import draw_x
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.load.figures.pages import weeks_page
from btgm_cli.domains.load.figures.pictures import bands_and_curves, bands_only
from btgm_cli.domains.load.real_tilt import real_tilt
from btgm_cli.domains.load.scenarios import band
from btgm_cli.domains.load.week_axes import SHOWN
from btgm_cli.domains.load.weekly import HOURS_PER_WEEK, Aggregates, aggregates_at_hand
from btgm_cli.report import save
from btgm_cli.report.figure import path_of
from btgm_cli.store.checkpoints import find_checkpoint
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.runs import REFERENCE, read_array
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.truth.references import tilts_at

CURVES = "curves.csv"
NO_DATA = "The rows and panels of real curves are left out: no data here (`btgm data build load`)."
QUALITY = ("kl_gap", "kl_gap_se", "ess_fraction", "pareto_k")
P, TUNED, EXACT, REAL, REAL_TILT = "p", "tuned", "exact", "real", "real_tilt"

Row = dict[str, Any]


@dataclass(frozen=True)
class TunedWeeks:
    """A `report.figure.PaperFigure` of load; its runs are `btgm run experiment=NAME_CRITERION`.

    Args:
        name: of the figure.
        criteria: a run for each, in the order of the panels, and what the paper calls it.
        samples: are real and generated curves shown beside the bands?
        draws: fresh samples of each model.
        betas: the path of the runs; None leaves the experiments' targets.
    """

    name: str
    criteria: dict[str, str]
    samples: bool = False
    draws: int = 1000
    betas: list[float] | None = None

    def runs(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for, by criterion."""
        path = path_of(self.betas)
        return {
            criterion: [f"experiment={self.name}_{criterion}", *path]
            for criterion in self.criteria
        }

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Write the tables, the page's and the pictures; returns what was written."""
        card = _card(next(iter(runs.values())))
        real = aggregates_at_hand(int(card["households"]))
        rows: list[Row] = []
        curves: dict[str, list[float]] = {}
        for criterion, run in runs.items():
            drawn = {who: (_reached(run, who), x) for who, x in _drawn(run, self.draws).items()}
            drawn |= _real(run, real, self.draws) if real else {}
            for who, (reached, x) in drawn.items():
                measured = _described(x, run, card)
                rows.append({"criterion": criterion, "who": who} | reached | measured)
                curves |= band(x, f"{criterion}_{who}_") | _single(x, f"{criterion}_{who}")
        table, text = out / f"{self.name}.csv", out / f"{self.name}.md"
        write_table(table, rows)
        points = range(len(next(iter(curves.values()))))
        write_table(out / CURVES, [{k: v[at] for k, v in curves.items()} for at in points])
        write_text(text, weeks_page(rows, card["real_peak_q99_kw"], "" if real else NO_DATA))
        return [table, out / CURVES, text, *self._draw(out)]

    def _draw(self, out: Path) -> list[Path]:
        """The pictures, from the tables alone."""
        picture = bands_and_curves if self.samples else bands_only
        figure = picture(self.criteria, read_table(out / CURVES))
        return [save(figure, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]


def _drawn(run: LoadedRun, n: int) -> dict[str, Tensor]:
    """Curves x (n, points), kW, of p, of the tuned model and of the exact tilt if it is known."""
    model, beta = run.model, float(run.pareto["beta"].iloc[-1])

    def generator(who: str) -> torch.Generator:
        return derived_generator(run.config["seed"], "figure", who)

    drawn = {P: draw_x(model, model.sample_prior(n, generator(P)), generator(P))}
    drawn[TUNED] = run.tuned(beta).sample(n, generator(TUNED))
    kept = run.path / REFERENCE
    if kept.is_file():
        drawn[EXACT] = draw_x(model, torch.from_numpy(read_array(kept))[:n], generator(EXACT))
    return drawn


def _reached(run: LoadedRun, who: str) -> Row:
    """What `pareto.csv` says of the last β; of p, the first row."""
    row = run.pareto.iloc[0 if who == P else -1]
    suffix = "_ref" if who == EXACT else ""
    reached = {
        "beta": row["beta"],
        "target_kl": _kl_of(run),
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
    path = find_checkpoint(run.config["model"]["checkpoint"]).with_suffix(".json")
    card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    metrics: dict[str, float] = {"real_peak_q99_kw": math.nan} | card.get("metrics", {})
    return metrics | {"households": card.get("settings", {}).get("households", 10)}


def _real(run: LoadedRun, real: Aggregates, n: int) -> dict[str, tuple[Row, Tensor]]:
    """Real curves, and their exact tilt to the KL of the run: what is known of both, and draws."""
    seed = run.config["seed"]
    prior = real.draw(n, derived_generator(seed, "figure", REAL))
    criterion = run.f().criterion
    tilt = real_tilt(real, criterion, derived_generator(seed, "figure", "smc"), n // 2)
    (found,) = tilts_at(tilt, [_kl_of(run)])
    chosen = tilt.particles(found.beta, n, derived_generator(seed, "figure", REAL_TILT)).z
    at_zero, at_kl = (
        {
            "beta": at.beta,
            "target_kl": _kl_of(run),
            "kl": at.kl,
            "kl_se": at.kl_se,
            "mean_f": at.mean,
            "mean_f_se": at.mean_se,
        }
        for at in (tilt.at(0.0), found)
    )
    return {REAL: (at_zero, prior), REAL_TILT: (at_kl, real.curves(chosen))}


def _kl_of(run: LoadedRun) -> float:
    """The KL that was asked for, nats; of a path, what its end has."""
    rho = run.config["target"]["rho"]
    return -math.log(rho) if rho else float(run.pareto["kl"].iloc[-1])
