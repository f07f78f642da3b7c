"""The Ising model on a 16 x 16 torus by draws of the reference alone, against Kaufman's formula.

    python experiments/ising/sixteen.py [FOLDER]

`btgm sample … method=smc` for each coupling; what is in FOLDER is not made again. Particles are
not independent, but their eight populations are: errors are by leaving out one at a time.
"""

import json
import math
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from btgm_cli.cli import main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.ising.exact import CRITICAL, bonds, kaufman, mean_field
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.domains.ising.spins import drawn
from btgm_cli.domains.ising.thermodynamics import States
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import MUTED, REFERENCE, SMALL, TITLE, TUNED, column, in_house_style
from btgm_cli.store.tables import write_table
from btgm_cli.tilt.estimates import jackknife

HERE = Path(__file__).parent
SIZE, N = 16, 4000
RUNS = [(coupling, 0) for coupling in (0.2, 0.35, 0.42, 0.440687, 0.48, 0.6)]
LABELS = {
    "energy": "energy of a spin (J)",
    "heat_capacity": "heat capacity of a spin ($k_B$)",
    "magnetization": "$|m|$",
}


def drawn_by_command(folder: Path, coupling: float, seed: int) -> Path:
    """The file of draws of one coupling, made if it is not there."""
    file = folder / f"K{coupling:g}_{seed}.npz"
    if not file.with_suffix(".json").is_file():
        settings = [f"tuning.n_particles={N}", f"n={N}", f"seed={seed}", "threads=1"]
        model = ["model=ising_field", f"model.size={SIZE}", f"model.coupling={coupling}"]
        tilt = ["criterion=ising", "target.betas=[1]", "method=smc", "flow=spline_coupling"]
        main(["sample", *model, *tilt, *settings, f"out={file}"])
    return file


def row_of(file: Path, coupling: float, seed: int) -> Row:
    """What one file tells beside what is exact; nats and J."""
    model = IsingField(SIZE, coupling=coupling)
    about = json.loads(file.with_suffix(".json").read_text())
    with np.load(file) as held:
        x, population = (torch.from_numpy(held[name]) for name in ("x", "population"))
    spins = drawn(x, derived_generator(seed, "sixteen", coupling))
    states = States(
        model, bonds(spins, SIZE).double(), spins.sum(-1).double(), torch.zeros(len(x))
    )
    exact = kaufman(SIZE, coupling)
    return {
        "coupling": coupling,
        "seed": seed,
        "verdict": about["verdict"],
        "log_z": about["log_z"] - model.log_z_offset,
        "log_z_se": about["log_z_se"],
        "log_z_exact": exact.log_z,
        "mean_field_gap": exact.log_z - mean_field(SIZE, coupling),
        **told(states, population, math.sqrt(len(x) / about["effective_draws"])),
        "energy_exact": exact.energy,
        "heat_capacity_exact": exact.heat_capacity,
        "effective": about["effective_draws"],
        "f_evals": about["criterion_evaluations"],
    }


def told(states: States, population: torch.Tensor, wider: float) -> Row:
    """What states tell, with errors by populations (n,), and the heat capacity's by draws.

    As many independent draws as f's mean is worth, `wider` by its root, do not tell how far a
    variance errs: what draws of a population have in common counts there as well.
    """
    found = asdict(states.measured(weighted=False))
    by_draws = found["heat_capacity_se"] * wider
    for name in ("energy", "heat_capacity", "magnetization", "up"):
        found[f"{name}_se"] = jackknife(partial(left, states, name), population)
    return {**found, "heat_capacity_se_by_draws": by_draws}


def left(states: States, name: str, kept: torch.Tensor) -> float:
    """One figure of the states that are kept (n,)."""
    some = States(states.model, states.bond[kept], states.total[kept], states.log_weights[kept])
    return asdict(some.measured(weighted=False))[name]


@in_house_style
def picture(table: pd.DataFrame) -> Figure:
    """Energy, heat capacity, |m| and the error of log Z against K."""
    figure = Figure(figsize=(7.2, 4.9), layout="constrained")
    panels = list(figure.subplots(2, 2, sharex=True).flat)
    grid = np.linspace(0.15, 0.65, 101)
    exact = [kaufman(SIZE, float(coupling)) for coupling in grid]
    first = table[table["seed"] == 0]
    at = column(first, "coupling")
    look = {"color": TUNED, "marker": "o", "markersize": 5, "linestyle": "none", "mfc": "white"}
    for axes, (name, label) in zip(panels, LABELS.items(), strict=False):
        if name != "magnetization":
            values = [getattr(each, name) for each in exact]
            axes.plot(grid, values, color=REFERENCE, label="exact (Kaufman)")
        errors = 2 * column(first, f"{name}_se")
        axes.errorbar(at, column(first, name), yerr=errors, label="particles, ±2 s.e.", **look)
        axes.set_ylabel(label)
        axes.axvline(CRITICAL, color=MUTED, linewidth=0.8, linestyle=":")
    ordered = grid[grid > CRITICAL]
    yang = (1 - np.sinh(2 * ordered) ** -4.0) ** 0.125
    look_of_limit = {"color": MUTED, "label": "infinite lattice"}
    panels[2].plot([grid[0], CRITICAL, *ordered], [0, 0, *yang], **look_of_limit)
    error = column(table, "log_z") - column(table, "log_z_exact")
    panels[3].axhline(0, color=REFERENCE)
    panels[3].errorbar(
        column(table, "coupling"), error, yerr=2 * column(table, "log_z_se"), **look
    )
    panels[3].set_ylabel("error of log Z (nats), ±2 s.e.")
    for axes in panels[2:]:
        axes.set_xlabel("$K = J/kT$")
    for axes in (panels[0], panels[2]):
        axes.legend(fontsize=SMALL)
    heading = f"Ising model on a {SIZE} × {SIZE} torus, {N:,} particles of tempered SMC"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def measure(folder: Path) -> None:
    """Make what is not there, then `sixteen.csv` and `sixteen.png`."""
    rows = [row_of(drawn_by_command(folder, *run), *run) for run in RUNS]
    write_table(HERE / "sixteen.csv", rows)
    table = pd.DataFrame(rows)
    save(picture(table), HERE / "sixteen.png")
    print(table.round(4).T.to_string())


if __name__ == "__main__":
    measure(Path(sys.argv[1] if sys.argv[1:] else "outputs/ising16"))
