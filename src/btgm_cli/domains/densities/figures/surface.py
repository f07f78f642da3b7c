"""An energy in the plane as the lecture shows it: draws, their latents, histograms of energies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.energy import BoltzmannTilt
from btgm_cli.domains.densities.figures.along import profile_rows
from btgm_cli.domains.densities.figures.pictures import Surface, surface_picture
from btgm_cli.domains.densities.quadrature import Grid, on_grid
from btgm_cli.report import save
from btgm_cli.report.figure import path_of
from btgm_cli.report.markdown import Row, signed, table
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import read_table, write_table

BINS = 60
MEASURED = 20_000
"""Draws behind each number."""

POINTS, ENERGIES, CONTOURS = "points.csv", "energies.csv", "contours.csv"
PROFILE = "profile.csv"


@dataclass(frozen=True)
class EnergySurface:
    """A `report.figure.PaperFigure` of `btgm run experiment=NAME`, of an energy in the plane.

    Args:
        name: of the figure.
        low: corner of the rectangle that is shown, and that the quadrature covers.
        high: the other one.
        normal: a, of the line a·x = level that parts the two sides.
        level: of the line.
        side: what the table calls the side where a·x > level.
        along: what the profile's axis calls r = a·x − level.
        span: ends of r.
        energies: kT above the lowest, as far as contours and histograms go.
        draws: that are shown.
        profiled: draws behind the profile of the free energy.
        betas: the path of the run; None leaves the experiment's.
    """

    name: str
    low: list[float]
    high: list[float]
    normal: list[float]
    level: float
    side: str
    along: str
    span: list[float]
    energies: float = 12.0
    draws: int = 2000
    profiled: int = 200_000
    betas: list[float] | None = None

    def runs(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for."""
        return {self.name: [f"experiment={self.name}", *path_of(self.betas)]}

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Write the tables, the page's and the pictures; returns what was written."""
        run = runs[self.name]
        tilt = run.f().criterion
        if not isinstance(tilt, BoltzmannTilt):
            raise SettingError("criterion", type(tilt).__name__, "must be energy for this figure")
        exact = on_grid(tilt.system, self.low, self.high, tilt.temperature)
        drawn = _Drawn.of(run, tilt)
        prior = _prior(run, tilt)
        paths = [out / name for name in (f"{self.name}.csv", POINTS, ENERGIES, CONTOURS, PROFILE)]
        tables = [
            self._numbers(run, exact, drawn),
            drawn.rows(self.draws),
            self._histograms(exact, drawn, prior),
            _contours(exact),
            profile_rows(run, tilt, exact, self.normal, self.level, self.span, self.profiled),
        ]
        for path, rows in zip(paths, tables, strict=True):
            write_table(path, rows)
        text = out / f"{self.name}.md"
        write_text(text, _page(tables[0]))
        return [*paths, text, *self._draw(out)]

    def _draw(self, out: Path) -> list[Path]:
        """The pictures, from the tables alone."""
        names = (POINTS, ENERGIES, CONTOURS, PROFILE)
        points, energies, contours, profile = (read_table(out / name) for name in names)
        surface = Surface(contours, self.normal, self.level, self.energies)
        figure = surface_picture(surface, points, energies, profile, self.along)
        return [save(figure, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]

    def _far_side(self, x: Tensor) -> Tensor:
        """Whether a·x > level, shape (n,), for x of shape (n, 2)."""
        return x.double() @ torch.tensor(self.normal, dtype=torch.double) > self.level

    def _numbers(self, run: LoadedRun, exact: Grid, drawn: _Drawn) -> list[Row]:
        """What the run has of log Z, E u and the far side's share, beside the exact values."""
        last = run.pareto.iloc[-1]
        far = self._far_side(drawn.x).double()
        return [
            {
                "quantity": "log Z, nats",
                "exact": exact.log_z,
                "weighted": last["log_z"],
                "weighted_se": last["log_z_se"],
                "reference": last["log_z_ref"],
                "reference_se": last["log_z_ref_se"],
            },
            {"quantity": "E u, kT", "exact": exact.mean_energy, **drawn.means(drawn.energy)},
            {
                "quantity": f"share with {self.side}",
                "exact": exact.share(self._far_side(exact.x)),
                **drawn.means(far),
            },
            {
                "quantity": "`kl_gap`, nats",
                "draws": last["kl_gap"],
                "draws_se": last["kl_gap_se"],
            },
            {"quantity": "`ess_fraction`", "draws": last["ess_fraction"]},
        ]

    def _histograms(self, exact: Grid, drawn: _Drawn, prior: Tensor) -> list[Row]:
        """Densities of the energy above the lowest, 1/kT, in bins."""
        lowest = exact.energy.min().item()
        edges = torch.linspace(0, self.energies, BINS + 1, dtype=torch.double)
        every = {
            "exact": (exact.energy, exact.weights),
            "draws": (drawn.energy, None),
            "weighted": (drawn.energy, torch.softmax(drawn.log_w, 0)),
            "p": (prior, None),
        }
        columns = {
            name: _density(energy.double() - lowest, weights, edges)
            for name, (energy, weights) in every.items()
        }
        middles = ((edges[1:] + edges[:-1]) / 2 + lowest).tolist()
        return [
            {"u": middle, **{name: values[k] for name, values in columns.items()}}
            for k, middle in enumerate(middles)
        ]


@dataclass(frozen=True)
class _Drawn:
    """Draws of the tuned model at the last β: x (n, 2), the flow's z₀ (n, 2), u and log w (n,)."""

    x: Tensor
    start: Tensor
    energy: Tensor
    log_w: Tensor

    @classmethod
    def of(cls, run: LoadedRun, tilt: BoltzmannTilt) -> _Drawn:
        """Draws of a run."""
        f, tuned, beta = run.f(), run.tuned(), float(run.pareto["beta"].iloc[-1])
        z, log_q = tuned.draw(MEASURED, derived_generator(run.config["seed"], "figure", "draws"))
        with torch.no_grad():
            x, start = tuned.model.decode(z), tuned.flow.inverse(z)[0]
            log_w = beta * evaluate(f, z) + tuned.model.prior_log_prob(z) - log_q
            return cls(x, start, tilt.system(x).double(), log_w.double())

    def means(self, values: Tensor) -> dict[str, float]:
        """Mean of values (n,) over the draws, and over the weighted ones, with errors."""
        w = torch.softmax(self.log_w, 0)
        weighted = (w * values).sum()
        return {
            "draws": values.mean().item(),
            "draws_se": values.std().item() / math.sqrt(len(values)),
            "weighted": weighted.item(),
            "weighted_se": (w.square() * (values - weighted).square()).sum().sqrt().item(),
        }

    def rows(self, n: int) -> list[Row]:
        """The first n, a row each."""
        both = torch.cat([self.x, self.start], 1)[:n].double().tolist()
        return [dict(zip(("x0", "x1", "z0", "z1"), row, strict=True)) for row in both]


def _prior(run: LoadedRun, tilt: BoltzmannTilt) -> Tensor:
    """Energies of draws of p, kT, shape (n,)."""
    generator = derived_generator(run.config["seed"], "figure", "p")
    with torch.no_grad():
        return tilt.system(run.model.decode(run.model.sample_prior(MEASURED, generator)))


def _density(values: Tensor, weights: Tensor | None, edges: Tensor) -> list[float]:
    """Density of values in bins, of all that there are."""
    shares = torch.full_like(values, 1 / len(values)) if weights is None else weights
    found = torch.histogram(values, edges, weight=shares).hist
    return (found / (edges[1] - edges[0])).tolist()


def _contours(exact: Grid) -> list[Row]:
    """u on a coarser grid."""
    side = math.isqrt(len(exact.x))
    kept = torch.arange(side)[:: max(side // 100, 1)]
    chosen = (kept[:, None] * side + kept).flatten()
    both = torch.cat([exact.x, exact.energy[:, None]], 1)[chosen].tolist()
    return [dict(zip(("x0", "x1", "u"), row, strict=True)) for row in both]


def _page(rows: list[Row]) -> str:
    """The numbers as the page has them."""

    def cell(row: Row, name: str) -> str:
        value: Any = row.get(name)
        if value is None or not math.isfinite(value):
            return ""
        error = row.get(f"{name}_se")
        return signed(value, 4) + (f" ± {error:.4f}" if error is not None else "")

    names = ("exact", "draws", "weighted", "reference")
    head = ["", "quadrature", "draws", "weighted draws", "the run's reference"]
    return table(head, [[row["quantity"], *(cell(row, name) for name in names)] for row in rows])
