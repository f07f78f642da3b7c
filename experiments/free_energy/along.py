"""What a second run along the coordinate adds to a free-energy profile: J_RC, and without it.

    python experiments/free_energy/along.py [FOLDER]

10⁵ draws and 100 bins, as in *Boltzmann Generators*, five seeds of draws of one training: of the
tuned model alone; of it and p; of these and of the tuned model of `experiment=…_along`, which was
led along the coordinate. All three are weighted exactly. Runs as of `check.py`, in its folder.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from check import HERE, SEEDS, SYSTEMS, System, exact, made, told
from matplotlib.figure import Figure

from btgm_cli import load_run
from btgm_cli.cli.coordinates import coordinate_of
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import MUTED, REFERENCE, SMALL, TUNED, in_house_style
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tilt.free_energy import difference, profile
from btgm_cli.truth.free_energy import weighed
from btgm_cli.tuned.correction import Correct, Corrector

N, BINS = 100_000, 100
ALONE, WITH_P, LED = "the tuned model", "with p", "with p and a run along it"
COLORS = {ALONE: MUTED, WITH_P: TUNED, LED: REFERENCE}


def rows_of(system: System, seed: int, way: str, found: pd.DataFrame, about: Row) -> list[Row]:
    """How far each bin is from quadrature, kT; `about` goes with each."""
    edges = torch.tensor([*found["left"], found["right"].iloc[-1]], dtype=torch.double)
    off = found["free_energy_kt"].to_numpy() - exact(system, edges)[0].numpy()
    middles = (found["left"] + found["right"]) / 2
    columns = zip(middles, off, found["free_energy_kt_se"], strict=True)
    return [
        {
            "system": system.name,
            "way": way,
            "seed": seed,
            "at": float(at),
            "error_kt": float(error) if math.isfinite(error) else None,
            "told_kt": float(told) if math.isfinite(told) else None,
            **about,
        }
        for at, error, told in columns
    ]


def alone(system: System, run: Path, seed: int) -> tuple[pd.DataFrame, Row]:
    """The profile and ΔF by draws of the tuned model and nothing else."""
    loaded = load_run(run)
    tuned, generator = loaded.tuned(), derived_generator(seed, "alone")
    corrector = Corrector(tuned, loaded.f(), 1.0, Correct.NONE, generator)
    draws = weighed(corrector, coordinate_of(system.along, (2,)), N)
    edges = torch.linspace(system.low, system.high, BINS + 1, dtype=torch.double)
    found, sides = (
        profile(draws.along, draws.log_weights, edges),
        difference(draws.along, draws.log_weights, 0.0),
    )
    table = pd.DataFrame(
        {
            "left": edges[:-1],
            "right": edges[1:],
            "free_energy_kt": found.free_energy,
            "free_energy_kt_se": found.error,
        }
    )
    return table, {"delta_f_kt": sides.value, "delta_f_kt_se": sides.error}


def by_command(out: Path | None) -> tuple[pd.DataFrame, Row] | None:
    """The same as the command has told it."""
    if out is None:
        return None
    about = pd.read_json(out / "free_energy.json", typ="series")
    figures = {name: float(about[name]) for name in ("delta_f_kt", "delta_f_kt_se")}
    return read_table(out / "profile.csv"), figures


def compared(system: System, folder: Path) -> list[Row]:
    """Every bin of every way and seed."""
    run, led = made(folder, system.name), made(folder, f"{system.name}_along")
    ways: dict[str, Callable[[int], tuple[pd.DataFrame, Row] | None]] = {
        ALONE: lambda seed: alone(system, run, seed),
        WITH_P: lambda seed: by_command(
            told(system, run, folder / f"{system.name}_p_{seed}", N, seed)
        ),
        LED: lambda seed: by_command(
            told(system, run, folder / f"{system.name}_led_{seed}", N, seed, f"also=[{led}]")
        ),
    }
    return [
        each
        for way, told_by in ways.items()
        for seed in SEEDS
        if (found := told_by(seed))
        for each in rows_of(system, seed, way, *found)
    ]


def summed(bins: pd.DataFrame) -> list[Row]:
    """Of each way: root mean squares over bins and seeds, kT, and of ΔF over seeds."""
    rows = []
    for (system, way), group in bins.groupby(["system", "way"], sort=False):
        sides = group.groupby("seed")[["delta_f_kt", "delta_f_kt_se"]].first()
        wanted = exact(
            next(s for s in SYSTEMS if s.name == system),
            torch.tensor([0.0, 1.0], dtype=torch.double),
        )[1]
        rows.append(
            {
                "system": system,
                "way": way,
                "seeds": len(sides),
                "profile_rms_kt": _rms(group["error_kt"]),
                "told_rms_kt": _rms(group["told_kt"]),
                "bins_without_draws": int(group["error_kt"].isna().sum()) / len(sides),
                "delta_f_rms_kt": _rms(sides["delta_f_kt"] - wanted),
                "delta_f_told_kt": _rms(sides["delta_f_kt_se"]),
            }
        )
    return rows


def _rms(values: pd.Series) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


@in_house_style
def picture(bins: pd.DataFrame) -> Figure:
    """Root mean square error of each bin over the seeds, along the coordinate."""
    figure = Figure(figsize=(7.6, 3.0), layout="constrained")
    panels = figure.subplots(1, len(SYSTEMS), sharey=True)
    for axes, system in zip(panels, SYSTEMS, strict=True):
        of_system = bins[bins["system"] == system.name]
        for way, group in of_system.groupby("way", sort=False):
            error = group.groupby("at")["error_kt"].agg(_rms)
            axes.plot(error.index, error, color=COLORS[way], linewidth=1.2, label=way)
        axes.set(xlabel=system.label, yscale="log", xlim=(system.low, system.high))
        axes.set_title(system.name.replace("_", " "), fontsize=SMALL, loc="left")
    panels[0].set_ylabel("error of $F$ (kT, r.m.s. of five seeds)")
    panels[-1].legend(fontsize=SMALL)
    return figure


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/free_energy")
    sys.path.append(str(HERE))  # where `basins` is
    every = pd.DataFrame([each for system in SYSTEMS for each in compared(system, place)])
    rows = summed(every)
    write_table(HERE / "along.csv", rows)
    save(picture(every), HERE / "along.png")
    print(pd.DataFrame(rows).to_string())
