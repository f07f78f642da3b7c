"""Tables and picture of `reliability.csv`, against `references.csv` where that has a problem.

python experiments/probabilities/summary.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import MUTED, REFERENCE, TUNED, in_house_style
from btgm_cli.store.tables import read_table

HERE = Path(__file__).parent
SHORT = {"Four-branch serial system": "4 branches", "Axial stressed beam": "beam"}
COLOURS = {"btgm": TUNED, "subset simulation": REFERENCE}


def rows() -> pd.DataFrame:
    """Every estimate with its error, ln P̂ / P, and whether the interval has P."""
    table = read_table(HERE / "reliability.csv")
    known = read_table(HERE / "references.csv").set_index("problem")["reference"]
    reference = table["problem"].map(known).fillna(table["published"])
    table["reference"] = reference
    table["error"] = np.log(table["probability"].clip(lower=1e-300) / reference)
    table["covers"] = (table["low"] <= reference) & (reference <= table["high"])
    return table


def markdown(table: pd.DataFrame) -> str:
    """A row for each problem, and one for all of each way."""
    lines = ["| problem | D | P | worst ln | calls | worst ln of subset simulation | its calls |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, group in table.groupby("problem", sort=False):
        own, rival = (group[group["way"] == way] for way in COLOURS)
        cells = [
            name,
            group["dim"].iloc[0],
            f"{group['reference'].iloc[0]:.4g}",
            f"{own['error'].abs().max():.3f}",
            f"{own['calls'].mean():,.0f}",
            f"{rival['error'].abs().max():.3f}",
            f"{rival['calls'].mean():,.0f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for way, group in table.groupby("way"):
        error, ill = group["error"].abs(), (group["status"] != "ok").sum()
        lines.append(
            f"{way}: {len(group)} estimates, seeds {group['seed'].nunique()}, "
            f"zeros {(group['probability'] == 0).sum()}, not ok {ill}, "
            f"median {error.median():.4f}, worst {error.max():.3f}, within 0.1 "
            f"{(error < 0.1).mean():.1%}, covered {group['covers'].mean():.1%}, "
            f"calls {group['calls'].min():,} to {group['calls'].max():,}, "
            f"processor seconds {group['cpu_seconds'].mean():.2f}"
        )
    calls = table.pivot_table(index=["problem", "seed"], columns="way", values="calls").dropna()
    more = (calls["btgm"] > calls["subset simulation"]).sum()
    lines.append(f"more calls than subset simulation: {more} of {len(calls)}")
    return "\n".join(lines)


@in_house_style
def picture(table: pd.DataFrame) -> Figure:
    """|ln P̂ / P| of every estimate, a column for each problem."""
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(table["problem"]))
    for shift, (way, colour) in zip((-0.15, 0.15), COLOURS.items(), strict=True):
        own = table[table["way"] == way]
        at = own["problem"].map(names.index) + shift
        axes.plot(at, own["error"], ".", color=colour, markersize=4, alpha=0.7, label=way)
    for bound in (-0.1, 0.1):
        axes.axhline(bound, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(names)), [SHORT.get(name, name) for name in names], rotation=90)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.margins(y=0.05)
    axes.set_ylabel(r"$\ln\, \hat{P} / P$")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def main() -> None:
    """Print the tables and draw."""
    table = rows()
    print(markdown(table))
    save(picture(table), HERE / "reliability.png")


if __name__ == "__main__":
    main()
