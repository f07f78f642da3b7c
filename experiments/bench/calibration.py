"""Part `calibration`: is the reference as far off as it says, and no further?

Tilts along one direction of a Gaussian, whose log Z, E f and KL are exact by quadrature. A flow is
trained for a moment, so that it is neither right nor useless, and the reference that judges it, of
all draws at hand, is held against the exact tilt. Of errors that are told rightly 95 % are within
two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from experiments.bench.faults import LOG_P, STEP, Line, Profile, plateau, rare, skewed, two_modes
from experiments.bench.settings import Settings
from experiments.bench.table import Table

from btgm_cli.core.results import Reference
from btgm_cli.core.seeds import derived_seed
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.truth.references import Estimated
from btgm_cli.tuned.flows import SplineCoupled
from btgm_cli.tuning import Gradient, Tuning, tune

COLUMNS = (
    "profile",
    "dim",
    "seed",
    "kl",
    "method",
    "reliable",
    "log_z_error",
    "log_z_se",
    "off_log_z",
    "off_mean",
    "off_kl",
    "alone_method",
    "alone_reliable",
    "alone_log_z_se",
    "alone_off_log_z",
)
DIMENSIONS = (2, 8, 24, 64)
KLS = (0.5, 1.0, 2.0, 3.5, 5.0)
"""Nats; one after the other over the seeds."""

EACH, QUICK_EACH = 10, 1
"""Seeds of each pair of a profile and a dimension."""

BRIEF = Tuning(
    first_steps=150,
    gradient=Gradient.REPARAMETRISED,
    min_acceptance_rate=1.0,
    n_eval=5000,
    n_reference=20_000,
    n_particles=4000,
)


def heavy(t: torch.Tensor) -> torch.Tensor:
    """Widens p: at β near 1 the weights of p's draws have no variance."""
    return 0.5 * t.square()


PROFILES: dict[str, Profile] = {
    "skewed": skewed,
    "plateau": plateau,
    "two modes": two_modes(0.3),
    "rare": rare,
    "heavy": heavy,
}


@dataclass(frozen=True)
class Exact:
    """A tilt by quadrature, nats."""

    log_z: float
    mean: float
    kl: float


def run(settings: Settings) -> None:
    """The table of all tilts, and how many errors are within two of their own."""
    table = Table(settings.folder / "calibration.csv", COLUMNS, key=3)
    for name, dim, seed in _pairs(settings):
        if not table.has(name, dim, seed):
            table.add({"profile": name, "dim": dim, "seed": seed} | _row(name, dim, seed))
    print(f"\n{within(table.frame()).to_string(float_format='{:.3g}'.format)}\n", flush=True)


def within(frame: pd.DataFrame) -> pd.DataFrame:
    """By profile and in all: how many are reliable, and which share of those is within two."""
    kinds = [(name, part) for name, part in frame.groupby("profile", sort=False)]
    rows = {str(name): _share(part) for name, part in [*kinds, ("all", frame)]}
    return pd.DataFrame(rows).T


def _share(frame: pd.DataFrame) -> dict[str, float]:
    told = frame[frame["reliable"].astype(bool)]
    columns = ("log_z", "mean", "kl")
    shares = {name: (told[f"off_{name}"].abs() <= 2).mean() for name in columns}
    alone = frame[frame["alone_reliable"].astype(bool)]
    return {"n": len(frame), "reliable": len(told), **shares} | {
        "median se": told["log_z_se"].median(),
        "alone: reliable": len(alone),
        "alone: log_z": (alone["alone_off_log_z"].abs() <= 2).mean(),
        "alone: median se": alone["alone_log_z_se"].median(),
    }


def exact(line: Line, beta: float) -> Exact:
    """The tilt at β by quadrature."""
    log_z = float(np.logaddexp.reduce(LOG_P + beta * line.f) + np.log(STEP))
    mean = line.mean(line.tilt(beta))
    return Exact(log_z, mean, beta * mean - log_z)


def _pairs(settings: Settings) -> Iterator[tuple[str, int, int]]:
    seeds = QUICK_EACH if settings.quick else EACH
    dims = DIMENSIONS[:1] if settings.quick else DIMENSIONS
    names = [*PROFILES][:1] if settings.quick else [*PROFILES]
    for seed in range(seeds):
        for name in names:
            for dim in dims:
                yield name, dim, seed


def _row(name: str, dim: int, seed: int) -> dict[str, object]:
    line = Line(PROFILES[name], dim, seed)
    beta = _beta(name, line, KLS[seed % len(KLS)])
    own = derived_seed(seed, name, dim) % 2**31  # no two rows share a draw
    right = exact(line, beta)
    result = tune(
        Gaussian(dim),
        line.criterion,
        target=Target(betas=[beta]),
        flow=SplineCoupled(dim, seed=own),
        settings=BRIEF,
        seed=own,
    )
    found = result.points[-1].figures.reference
    assert isinstance(result.reference, Estimated)
    alone = result.reference.at(beta)
    return {
        "kl": right.kl,
        "method": found.method,
        "reliable": found.reliable,
        "log_z_error": found.log_z - right.log_z,
        "log_z_se": found.log_z_se,
        **_off(found, right),
        "alone_method": alone.method,
        "alone_reliable": alone.reliable,
        "alone_log_z_se": alone.log_z_se,
        "alone_off_log_z": (alone.log_z - right.log_z) / alone.log_z_se,
    }


def _off(found: Reference, right: Exact) -> dict[str, float]:
    """How far each figure is from the exact one, in its own errors."""
    return {
        "off_log_z": (found.log_z - right.log_z) / found.log_z_se,
        "off_mean": (found.mean - right.mean) / found.mean_se,
        "off_kl": (found.kl - right.kl) / found.kl_se,
    }


def _beta(name: str, line: Line, kl: float) -> float:
    """The β of this KL, or the largest that the grid of the quadrature holds."""
    if name == "two modes":
        return 1.0  # what its shares are meant for
    most = 0.95 if name == "heavy" else 40.0
    return half(*bisect(lambda beta: exact(line, beta).kl < kl, 0.0, most, 50))
