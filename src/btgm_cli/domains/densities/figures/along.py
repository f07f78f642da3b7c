"""The free-energy profile of a figure: weighted draws beside quadrature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.energy import BoltzmannTilt
from btgm_cli.domains.densities.quadrature import Grid, free_energy_along
from btgm_cli.report.markdown import Row
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.tilt.free_energy import profile
from btgm_cli.truth.free_energy import weighed
from btgm_cli.tuned.correction import Correct, Corrector

BINS = 100


def profile_rows(
    run: LoadedRun,
    tilt: BoltzmannTilt,
    exact: Grid,
    normal: Sequence[float],
    level: float,
    span: Sequence[float],
    n: int,
) -> list[Row]:
    """F along r = a·x − level by n draws as of `btgm free-energy`, and by quadrature, kT.

    Args:
        run: with the Boltzmann distribution as its last β.
        tilt: its criterion.
        exact: the distribution by quadrature.
        normal: a.
        level: of the line that is r = 0.
        span: ends of r.
        n: draws.
    """
    a, beta = torch.tensor(normal, dtype=torch.double), float(run.pareto["beta"].iloc[-1])

    def along(x: Tensor) -> Tensor:
        return x.double() @ a - level

    generator = derived_generator(run.config["seed"], "figure", "profile")
    f, way = run.f(), Correct.RESAMPLE
    corrector = Corrector(run.tuned(beta), f, beta, way, generator, n=n, among=())
    draws = weighed(corrector, along, n)
    low, high = span
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.double)
    found = profile(draws.along, draws.log_weights, edges)
    known = free_energy_along(exact, tilt.system, normal, level, edges, tilt.temperature)
    columns = (edges[:-1], edges[1:], found.free_energy, found.error, known)
    names = ("left", "right", "free_energy_kt", "free_energy_kt_se", "exact_kt")
    each = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in each]
