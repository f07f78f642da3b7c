"""`scenarios.png`: dated curves of a tuned load model, from the run directory alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from btgm_cli.domains.load.week_axes import SHOWN, band_handles, draw_band, draw_weeks, week_axes
from btgm_cli.report import save
from btgm_cli.report.style import REFERENCE, SMALL, TITLE, TUNED, column, in_house_style, title
from btgm_cli.store.runs import read_summary
from btgm_cli.store.tables import read_table

SCENARIOS, BANDS = "scenarios.csv", "scenarios_bands.csv"


@in_house_style
def scenarios_figure(bands: pd.DataFrame, curves: pd.DataFrame, heading: str) -> Figure:
    """The bands of p and of the scenarios, and some scenarios under them."""
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, colour in (("p", REFERENCE), ("tuned", TUNED)):
        draw_band(above, column(bands, f"{name}_mean"), column(bands, f"{name}_sd"), colour)
    names = [name for name in curves if name != "timestamp"]
    draw_weeks(below, curves[names[:SHOWN]].to_numpy(np.float64).T, TUNED)
    week_axes(above, days=False)
    week_axes(below)
    below.set_xlabel(f"week from {str(curves['timestamp'].iloc[0])[:10]}, local time")
    handles = band_handles("scenarios")
    above.legend(handles=handles, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    text = f"{min(SHOWN, len(names))} of {len(names):,} scenarios"
    below.set_title(text, loc="left", fontsize=SMALL)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def draw_scenarios(path: Path) -> list[Path]:
    """Write `scenarios.png` into a run directory that has scenarios: some, and their band."""
    if not (path / SCENARIOS).is_file():
        return []
    bands, curves = (read_table(path / name) for name in (BANDS, SCENARIOS))
    heading = title(read_summary(path))
    return [save(scenarios_figure(bands, curves, heading), path / "scenarios.png")]
