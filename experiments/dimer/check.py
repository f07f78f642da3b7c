"""The bistable dimer's free energy by draws of the reference, against umbrella sampling.

    python experiments/dimer/check.py [FOLDER]

The reference of `experiment=dimer`: a tempered SMC, whose particles then go on as chains at β = 1.
Their dimer has no barrier, and they are weighted as those of the dimer itself. Errors are by
leaving out one of eight populations at a time. What is in FOLDER is not made again.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.cli.config import compose_config
from btgm_cli.cli.prepare import prepared_of
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Particles
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.dimer import MIDDLE, own_energy, stretch_of
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import MUTED, REFERENCE, SMALL, TUNED, in_house_style
from btgm_cli.store.files import replacing
from btgm_cli.store.tables import write_table
from btgm_cli.tilt.estimates import effective_sample_size, jackknife, pareto_k
from btgm_cli.truth.gradient_moves import GradientMoves
from btgm_cli.truth.references import Estimated

HERE = Path(__file__).parent
PUBLISHED = {0.5: (-14.4, 0.8), 1.0: (-7.10, 0.46), 2.0: (-3.25, 0.16)}
"""F_closed − F_open, kT at that T: mean and standard deviation of three umbrella samplings."""

RUNS = [(1.0, 0)]
"""T and seed; a further one is a further row and panel."""

READINGS = 60
"""Of each particle, after it has come to β = 1 and its moves go on there."""

EDGES = torch.linspace(0.8, 2.2, 36, dtype=torch.double)
LEAST = 5
"""Draws that a bin of the profile is told by."""


@dataclass(frozen=True)
class Weighted:
    """Distances d (n,) of draws, the log weight of each for the dimer itself, its population."""

    distance: Tensor
    log_weight: Tensor
    population: Tensor

    @classmethod
    def of(cls, file: Path, temperature: float, *, later: bool) -> "Weighted":
        """The SMC's draws in a file, or what their chains read later."""
        with np.load(file) as held:
            read, population = (torch.from_numpy(held[name]) for name in ("stretch", "population"))
        chosen = read[1:] if later else read[:1]
        stretch, population = chosen.flatten(), population.repeat(len(chosen))
        drawn = compose_config("run", ["experiment=dimer"]).criterion.system
        meant = compose_config("run", ["criterion=energy", "system=dimer"]).criterion.system
        energies = [
            own_energy(stretch, system.linear, system.quadratic, system.quartic)
            for system in (drawn, meant)
        ]
        log_weight = (energies[0] - energies[1]) / temperature
        return cls(MIDDLE + stretch / 2, log_weight, population)

    def log_share(self, chosen: Tensor, kept: Tensor) -> float:
        """Log of the weights that are chosen, among those that are kept, masks (n,)."""
        return torch.logsumexp(self.log_weight[chosen & kept], 0).item()

    def told(self, statistic: Callable[[Tensor], float]) -> tuple[float, float]:
        """A statistic of the draws that a mask keeps, and its error."""
        everything = torch.ones_like(self.population, dtype=torch.bool)
        return statistic(everything), jackknife(statistic, self.population)

    @cached_property
    def difference(self) -> tuple[float, float]:
        """F_closed − F_open with its error, kT."""
        closed, opened = self.distance < MIDDLE, self.distance >= MIDDLE
        return self.told(lambda kept: self.log_share(opened, kept) - self.log_share(closed, kept))

    def profile(self) -> pd.DataFrame:
        """F = −log density of d with its error, kT, its zero where the density is 1."""
        everything = torch.ones_like(self.population, dtype=torch.bool)

        def free_energy(chosen: Tensor, width: float, kept: Tensor) -> float:
            inside = self.log_share(chosen, kept) - self.log_share(everything, kept)
            return math.log(width) - inside

        rows = []
        for left, right in pairwise(EDGES):
            chosen = (self.distance >= left) & (self.distance < right)
            if chosen.sum() >= LEAST:
                free, error = self.told(partial(free_energy, chosen, (right - left).item()))
                rows.append({"d": (left + right).item() / 2, "f_kt": free, "f_kt_se": error})
        return pd.DataFrame(rows)


def drawn(folder: Path, temperature: float, seed: int) -> Path:
    """The file of one temperature, made if it is not there."""
    file = folder / f"T{temperature:g}_{seed}.npz"
    if file.is_file():
        return file
    asked = ["experiment=dimer", f"criterion.temperature={temperature}", f"seed={seed}"]
    cfg = compose_config("run", asked)
    problem = prepared_of(cfg, cfg.hydra).job.problem
    settings, f = problem.settings, problem.f
    reference = Estimated(f, settings.n_reference, settings.n_particles, seed)
    reference.smc.keep_only(1.0)
    tilt, generator = reference.at(1.0), derived_generator(seed, "dimer")
    particles, population = reference.smc.drawn(1.0, settings.n_particles, generator)
    read, gradients = went_on(f, particles, generator)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        np.savez(
            temporary,
            stretch=torch.stack(read).numpy(),
            population=population.numpy(),
            log_z=tilt.log_z,
            log_z_se=tilt.log_z_se,
            mixed=reference.smc.has_mixed(1.0),
            f_evals=reference.f_evals,
            gradients=gradients,
        )
    return file


def went_on(
    f: LatentCriterion, start: Particles, generator: torch.Generator
) -> tuple[list[Tensor], int]:
    """δ of particles (n,), and after each further rung of moves at β = 1; gradients for these."""
    moves, z, values = GradientMoves(f), start.z, start.f
    read = [stretch_of(f.model.decode(z)).double()]
    for _ in range(READINGS):
        z, values = moves(1.0, z, values, lambda asked: evaluate(f, asked), generator)
        read.append(stretch_of(f.model.decode(z)).double())
    return read, moves.gradients


def row_of(file: Path, temperature: float, seed: int) -> Row:
    """What one file tells beside what is published; kT at its temperature, log Z in nats."""
    first, further = (Weighted.of(file, temperature, later=later) for later in (False, True))
    names = ("mixed", "log_z", "log_z_se", "f_evals", "gradients")
    with np.load(file) as held:
        about = {name: held[name].item() for name in names}
    return {
        "temperature": temperature,
        "seed": seed,
        "smc_kt": first.difference[0],
        "smc_kt_se": first.difference[1],
        "smc_effective": effective_sample_size(first.log_weight),
        "chains_kt": further.difference[0],
        "chains_kt_se": further.difference[1],
        "chains_pareto_k": pareto_k(further.log_weight),
        "chains_effective_fraction": effective_sample_size(further.log_weight)
        / len(further.log_weight),
        "published_kt": PUBLISHED[temperature][0],
        "published_kt_sd": PUBLISHED[temperature][1],
        "open_share": (further.distance >= MIDDLE).double().mean().item(),
        **about,
    }


@in_house_style
def picture(profiles: dict[float, pd.DataFrame]) -> Figure:
    """F along d at each temperature, with bands of two errors."""
    figure = Figure(figsize=(7.2, 2.7), layout="constrained")
    panels = figure.subplots(1, len(profiles), squeeze=False).flat
    for axes, (temperature, table) in zip(panels, sorted(profiles.items()), strict=True):
        own = own_energy(2 * (EDGES - MIDDLE), 2.0, -25.0, 10.0) / temperature
        level = float(table["f_kt"].min()) - own.min().item()
        axes.plot(
            EDGES, own + level, "--", color=REFERENCE, linewidth=1.0, label="the dimer alone"
        )
        axes.plot(table["d"], table["f_kt"], color=TUNED, label="in the fluid, ±2 s.e.")
        band = 2 * table["f_kt_se"]
        look = {"color": TUNED, "alpha": 0.3, "linewidth": 0}
        axes.fill_between(table["d"], table["f_kt"] - band, table["f_kt"] + band, **look)
        axes.axvline(MIDDLE, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel="distance $d$", xlim=(EDGES[0], EDGES[-1]))
        axes.set_title(f"T = {temperature:g}", fontsize=SMALL, loc="left")
    panels = figure.axes
    panels[0].set_ylabel("free energy $F$ (kT)")
    panels[0].legend(fontsize=SMALL)
    return figure


def measure(folder: Path) -> None:
    """Make what is not there, then `dimer.csv`, `profiles.csv` and `dimer.png`."""
    rows, profiles = [], {}
    for run in RUNS:
        file = drawn(folder, *run)
        rows.append(row_of(file, *run))
        if not run[1]:
            profiles[run[0]] = Weighted.of(file, run[0], later=True).profile()
        print(rows[-1], flush=True)
        write_table(HERE / "dimer.csv", rows)
    named = [table.assign(temperature=value) for value, table in profiles.items()]
    write_table(HERE / "profiles.csv", pd.concat(named).to_dict("records"))
    save(picture(profiles), HERE / "dimer.png")


if __name__ == "__main__":
    measure(Path(sys.argv[1] if sys.argv[1:] else "outputs/dimer"))
