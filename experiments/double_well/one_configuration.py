"""The double well from one configuration in its higher well: by jittered copies, and a wide p.

    python experiments/double_well/one_configuration.py [FOLDER]

Fits a flow to 10,000 jittered copies and tunes it by the energy; then tunes a normal distribution
around the same configuration that is ten times as wide. What is in FOLDER is not made again.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli import load_run
from btgm_cli.cli import main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.systems import double_well
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.report.style import MUTED, SMALL, TITLE, TUNED, in_house_style
from btgm_cli.store.runs import SUMMARY
from btgm_cli.store.tables import write_table

HERE = Path(__file__).parent
START, JITTER, WIDER = (1.69, 0.0), (0.2, 0.5), 10
FLOW = ["flow=spline_coupling", "flow.depth=4", "flow.hidden=[32,32]", "flow.bins=16"]
ENERGY = ["criterion=energy", "system=double_well", "target.betas=[1]", "threads=1"]
SIZES = ["tuning.batch_size=256", "tuning.n_eval=20000", "tuning.n_reference=20000"]
WAYS = {"copies": "jittered copies", "wide": f"{WIDER} times as wide"}


def made(folder: Path) -> dict[str, Path]:
    """The runs, by name."""
    data, fitted = folder / "one.npy", folder / "one"
    if not (fitted / "flow.safetensors").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(0)
        np.save(data, START + generator.normal(0, JITTER, (10_000, 2)))
        main(["train", "model=flow", f"data={data}", "model.steps=500", f"out={fitted}"])
    scale = [WIDER * each for each in JITTER]
    models = {
        "copies": ["model=flow", f"model.checkpoint={fitted}/flow.safetensors"],
        "wide": ["model=normal", f"model.mean={list(START)}", f"model.scale={scale}"],
    }
    for name, model in models.items():
        if not (folder / name / SUMMARY).is_file():
            steps = "tuning.first_steps=600"
            main(["run", *model, *ENERGY, *FLOW, *SIZES, steps, f"out={folder / name}"])
    return {name: folder / name for name in models}


def exact() -> tuple[float, float]:
    """log Z, and the share of the lower well, x₁ < 0, by the midpoint rule."""
    at = torch.linspace(-8, 8, 1601, dtype=torch.double)
    places = torch.cartesian_prod(at, at)
    log_w = -double_well(places)
    log_z = torch.logsumexp(log_w, 0) + 2 * torch.log(at[1] - at[0])
    return log_z.item(), torch.softmax(log_w, 0)[places[:, 0] < 0].sum().item()


def row_of(name: str, path: Path) -> tuple[Row, torch.Tensor]:
    """What a run tells, and 20,000 of its tuned model's draws."""
    run, log_z = load_run(path), exact()[0]
    point, summary = run.pareto.iloc[-1], json.loads((path / SUMMARY).read_text())
    z, _ = run.tuned().draw(20_000, derived_generator(0, "one"))
    x = run.model.decode(z).detach()
    told = ("log_z_ref", "log_z_ref_se", "log_z_lower", "log_z_lower_se", "kl_gap", "kl_gap_se")
    row = {
        "p": name,
        "verdict": summary["status"],
        "reason": summary["message"],
        "log_z_exact": log_z,
        **{each: float(point[each]) for each in told},
        "ess_fraction": float(point["ess_fraction"]),
        "pareto_k": float(point["pareto_k"]),
        "coverage": float(point["coverage"]),
        "lower_well_tuned": (x[:, 0] < 0).double().mean().item(),
        "lower_well_exact": exact()[1],
        "f_evals": int(summary["f_evals"]),
    }
    return row, x


def shown(axes: Axes, of_p: torch.Tensor, tuned: torch.Tensor, row: Row) -> None:
    """Draws over contours of the energy."""
    at, up = np.linspace(-3, 3, 201), np.linspace(-4, 4, 161)
    grid = torch.from_numpy(np.stack(np.meshgrid(at, up), -1).reshape(-1, 2))
    energy = double_well(grid).numpy().reshape(161, 201)
    axes.contour(
        at, up, energy - energy.min(), levels=range(1, 20, 2), colors=MUTED, linewidths=0.4
    )
    for x, color, label in ((of_p, MUTED, "p"), (tuned, TUNED, "tuned")):
        axes.plot(*x[:1000].T.numpy(), ".", color=color, markersize=2.5, label=label)
    axes.plot(*START, "k+", markersize=8, linestyle="none", label="the configuration")
    gap = f"kl_gap {row['kl_gap']:.2f} nats, ess_fraction {row['ess_fraction']:.2f}"
    heading = f"{WAYS[row['p']]}: {row['verdict']}\n{gap}"
    axes.set_title(heading, fontsize=TITLE, loc="left")
    axes.set(xlim=(-3, 3), ylim=(-4, 4), xlabel="$x_1$", ylabel="$x_2$")


@in_house_style
def picture(runs: dict[str, Path], found: dict[str, tuple[Row, torch.Tensor]]) -> Figure:
    """A panel for each p."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    for axes, (name, (row, x)) in zip(figure.subplots(1, 2), found.items(), strict=True):
        model = load_run(runs[name]).model
        of_p = model.decode(model.sample_prior(1000, derived_generator(1, "one"))).detach()
        shown(axes, of_p, x, row)
    figure.axes[0].legend(fontsize=SMALL, loc="lower left", frameon=True)
    return figure


def measure(folder: Path) -> None:
    """Make what is not there, then `one_configuration.csv` and `.png`."""
    runs = made(folder)
    found = {name: row_of(name, path) for name, path in runs.items()}
    rows = [row for row, _ in found.values()]
    write_table(HERE / "one_configuration.csv", rows)
    save(picture(runs, found), HERE / "one_configuration.png")
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    measure(Path(sys.argv[1] if sys.argv[1:] else "outputs/one_configuration"))
