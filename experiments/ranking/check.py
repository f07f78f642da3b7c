"""Does the ranking before tuning predict how well tuning ends? 15 criteria, equal budgets.

    python experiments/ranking/check.py [FOLDER]

`btgm rank` looks at draws of p alone. Then each criterion is tuned by a flow alone to the KL that
the ranking compared at, the same number of steps for all, and the gap to the exact tilt is set
against each figure of the ranking by Spearman's correlation. A run that is finished is not made
again.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btgm_cli.cli import main
from btgm_cli.report import save
from btgm_cli.report.placing import label_points
from btgm_cli.report.style import REFERENCE, in_house_style
from btgm_cli.store.runs import read_run
from btgm_cli.store.tables import write_table

CRITERIA = [
    *(f"{kind}{digit}" for digit in (0, 1, 4, 8, 9) for kind in ("class", "log_class")),
    "entropy",
    "second_class",
    "log_odds",
    "white",
    "black",
]
BUDGET = ["tuning=paper", "tuning.first_steps=600"]
SCORES = [
    "difficulty",
    "norm_median",
    "norm_mean",
    "norm_p99",
    "norm_max",
    "plateau",
    "tail_ratio",
]
AFTER = ["kl_ref", "kl_gap", "kl_gap_se", "ess_fraction"]


def measure(folder: Path) -> pd.DataFrame:
    """A row for each criterion: its figures before tuning, and the gap after."""
    ranking = folder / "rank" / "ranking.csv"
    if not ranking.is_file():
        main(["rank", f"criteria=[{','.join(CRITERIA)}]", f"out={ranking.parent}"])
    rows = []
    for row in pd.read_csv(ranking).to_dict("records"):
        path = folder / row["criterion"]
        if not (path / "summary.json").is_file():
            tilt = [f"criterion={row['criterion']}", f"target.betas=[{row['beta']}]"]
            main(["run", *tilt, *BUDGET, f"out={path}"])
        point = read_run(path).pareto.iloc[-1]
        rows.append(row | {name: point[name] for name in AFTER})
    return pd.DataFrame(rows).sort_values("kl_gap")


@in_house_style
def picture(table: pd.DataFrame) -> Figure:
    """The gap that tuning left against the difficulty told before it, with bars of 2 s.e."""
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    axes = figure.subplots()
    x, y = (table[name].to_numpy() for name in ("difficulty", "kl_gap"))
    across, up = (2 * table[f"{name}_se"].to_numpy() for name in ("difficulty", "kl_gap"))
    axes.errorbar(x, y, xerr=across, yerr=up, fmt="o", color=REFERENCE, markersize=4, lw=0.8)
    axes.set(xscale="log", xlabel="difficulty before tuning", ylabel="kl_gap after it (nats)")
    bars = [np.stack([x, y + k * up], -1) for k in np.linspace(-1, 1, 9)]
    bars += [np.stack([np.maximum(x + k * across, 1), y], -1) for k in np.linspace(-1, 1, 9)]
    points = np.stack([x, y], -1)
    label_points(axes, points, list(table["criterion"]), np.concatenate(bars))
    return figure


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/ranking")
    table = measure(folder)
    write_table(folder / "check.csv", table.to_dict("records"))
    save(picture(table), folder / "check.png")
    print(table[["criterion", *SCORES, *AFTER]].to_string(index=False, float_format="%.3g"))
    for score in SCORES:
        order = np.isfinite(table[score])
        correlation = table[score][order].corr(table["kl_gap"][order], method="spearman")
        print(f"Spearman of kl_gap with {score:12} {correlation:5.2f}")
