"""Free energies of the double well and of Müller–Brown against quadrature, five seeds.

    python experiments/free_energy/check.py [FOLDER]

Runs `btgm run experiment=… seed=S` and then `btgm free-energy` for five seeds; what is finished is
not made again. Asked for: the difference of the sides within 0.02 kT, and a profile within 0.05 kT
(root mean square over all bins). What a second run along the coordinate adds, at a tenth of
the draws is told by `along.py`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.cli import main
from btgm_cli.domains.densities.systems import double_well, muller_brown
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import REFERENCE, SMALL, TUNED, in_house_style
from btgm_cli.store.runs import SUMMARY
from btgm_cli.store.tables import write_table

HERE = Path(__file__).parent
SEEDS = range(5)
N = 1_000_000
INNER, ACROSS = 10, 801
"""Points of quadrature in each bin, and across."""


@dataclass(frozen=True)
class System:
    """A system and the coordinate r that its profile is along; the map (r, t) → x keeps areas.

    Args:
        name: of the experiment.
        along: r, as the command has it.
        low: of r.
        high: of r.
        across: ends of t, beyond which there is nothing.
        place: x (n, 2) of r and t.
        energy: u(x), kT.
        label: of the axis.
    """

    name: str
    along: str
    low: float
    high: float
    across: tuple[float, float]
    place: Callable[[Tensor, Tensor], Tensor]
    energy: Callable[[Tensor], Tensor]
    label: str

    def masses(self, edges: Tensor) -> Tensor:
        """∫ e^{−u} over each bin and all t, shape (bins,), by the midpoint rule."""
        step = edges.diff()[:, None] / INNER
        r = edges[:-1, None] + step * (torch.arange(INNER) + 0.5)
        t = torch.linspace(*self.across, ACROSS, dtype=torch.double)
        place = self.place(
            *(part.flatten() for part in torch.meshgrid(r.flatten(), t, indexing="ij"))
        )
        density = torch.exp(-self.energy(place)).view(*r.shape, ACROSS).sum(-1) * (t[1] - t[0])
        return (density * step).sum(-1)


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], -1)


SYSTEMS = (
    System("double_well", "x0", -2.5, 2.5, (-8.0, 8.0), _stacked, double_well, "$x_0$"),
    System(
        "muller_brown",
        "basins:lower",
        -1.5,
        1.2,
        (-2.0, 1.6),
        lambda r, t: torch.stack([t, 0.8 * t + 0.75 - r], -1),
        muller_brown,
        "$0.8\\,x + 0.75 - y$",
    ),
)


def exact(system: System, edges: Tensor) -> tuple[Tensor, float]:
    """F of each bin, kT, shape (bins,), and F(r > 0) − F(r < 0), by quadrature."""
    wide = torch.linspace(-6, 6, 601, dtype=torch.double)
    masses = system.masses(wide)
    above = masses[wide[:-1] > -1e-9].sum()
    total = masses.sum()
    profile = torch.log(edges.diff()) - torch.log(system.masses(edges) / total)
    return profile, torch.log((total - above) / above).item()


def made(folder: Path, name: str, seed: int = 0) -> Path:
    """The directory of `btgm run experiment=NAME seed=SEED`, made if it is not there."""
    run = folder / f"{name}_{seed}"
    if not (run / SUMMARY).is_file():
        main(["run", f"experiment={name}", f"seed={seed}", "threads=1", f"out={run}"])
    return run


def told(system: System, run: Path, out: Path, n: int, seed: int, *further: str) -> Path | None:
    """The folder of the command's tables, made if it is not there; None where it refuses."""
    if not (out / "free_energy.json").is_file():
        span = f"range=[{system.low},{system.high}]"
        ask = [f"along={system.along}", span, "split=0", f"n={n}", f"seed={seed}", "threads=1"]
        if main(["free-energy", str(run), *ask, *further, f"out={out}"]):
            return None
    return out


def row(system: System, seed: int, out: Path) -> Row:
    """How far the command's figures are from quadrature, kT."""
    about, table = json.loads((out / "free_energy.json").read_text()), profile_of(out)
    edges = torch.tensor([*table["left"], table["right"].iloc[-1]], dtype=torch.double)
    profile, difference = exact(system, edges)
    off = table["free_energy_kt"].to_numpy() - profile.numpy()
    return {
        "system": system.name,
        "seed": seed,
        "n": about["n"],
        "verdict": about["verdict"],
        "ess_fraction": about["ess_fraction"],
        "pareto_k": about["pareto_k"],
        "delta_f_kt": about["delta_f_kt"],
        "delta_f_kt_se": about["delta_f_kt_se"],
        "delta_f_kt_exact": difference,
        "delta_f_kt_error": about["delta_f_kt"] - difference,
        "profile_rms_kt": float(np.sqrt(np.nanmean(off**2))),
        "profile_rms_se_kt": float(np.sqrt(np.nanmean(table["free_energy_kt_se"] ** 2))),
        "within_10_kt_rms_kt": float(np.sqrt(np.mean(off[low(profile)] ** 2))),
        "bins_without_draws": int(np.isnan(off).sum()),
        "mean_square_of_errors": float(np.nanmean((off / table["free_energy_kt_se"]) ** 2)),
    }


def low(profile: Tensor) -> np.ndarray:
    """Bins within 10 kT of the lowest."""
    return (profile < profile.min() + 10).numpy()


def profile_of(out: Path) -> pd.DataFrame:
    """The command's profile."""
    return pd.read_csv(out / "profile.csv")


@in_house_style
def picture(outs: dict[str, list[Path]]) -> Figure:
    """Profiles of all seeds with their bands, the first one's bold, and quadrature."""
    shown = [system for system in SYSTEMS if outs[system.name]]
    figure = Figure(figsize=(0.8 + 3.4 * len(shown), 3.0), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False).flat
    for axes, system in zip(panels, shown, strict=True):
        for number, out in enumerate(outs[system.name]):
            table = profile_of(out)
            at, free = (table["left"] + table["right"]) / 2, table["free_energy_kt"]
            band = 2 * table["free_energy_kt_se"]
            axes.plot(at, free, color=TUNED, linewidth=0.6 if number else 1.4, zorder=3)
            if not number:
                look = {"color": TUNED, "alpha": 0.3, "linewidth": 0}
                axes.fill_between(at, free - band, free + band, **look)
                edges = torch.tensor([*table["left"], table["right"].iloc[-1]])
                known = exact(system, edges.double())[0]
                axes.plot(at, known, "--", color=REFERENCE, linewidth=1.0, zorder=4)
        axes.set(
            xlabel=system.label, ylabel="free energy $F$ (kT)", xlim=(system.low, system.high)
        )
        axes.set_title(system.name.replace("_", " "), fontsize=SMALL, loc="left")
    handles = [axes.lines[0], axes.lines[1]]
    axes.legend(handles, ["weighted draws, ±2 s.e.", "quadrature"], fontsize=SMALL)
    return figure


def five_seeds(folder: Path) -> None:
    """Five trainings of each system, N draws of each."""
    outs: dict[str, list[Path]] = {system.name: [] for system in SYSTEMS}
    rows = []
    for system in SYSTEMS:
        for seed in SEEDS:
            run = made(folder, system.name, seed)
            if out := told(system, run, folder / f"{system.name}_{seed}_told", N, seed):
                outs[system.name].append(out)
                rows.append(row(system, seed, out))
    write_table(HERE / "free_energy.csv", rows)
    save(picture(outs), HERE / "free_energy.png")
    print(pd.DataFrame(rows).to_string())


if __name__ == "__main__":
    sys.path.append(str(HERE))  # where `basins` is
    five_seeds(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/free_energy"))
