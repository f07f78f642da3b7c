"""The picture of part `refine`, from its table alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.marks import handle
from btgm_cli.report.style import BETA_LABEL, MUTED, REFERENCE, TITLE, TUNED, in_house_style

KINDS = {"plain": (REFERENCE, "real images"), "rebuilt": (TUNED, "rebuilt images")}
"""Colour of a discriminator, and what it told from the model's draws."""

WAYS = {"tuned": ("o", "-"), "corrected": ("D", ":")}
"""Marker and line."""

MEASURES = {
    "frechet": "Fréchet distance to the test set",
    "classes_off": "classes off (total variation)",
}


def draw_refinement(
    table: pd.DataFrame, model: str, ends: Mapping[str, float], path: Path
) -> Path:
    """Write the picture of one model's rows, as the mean over seeds.

    Args:
        table: the rows of `refine.csv`.
        model: whose.
        ends: the β at which the first round of each kind ends; the others end at 1.
        path: of the picture.
    """
    return save(refinement_figure(table[table["model"] == model], model, ends), path)


@in_house_style
def refinement_figure(table: pd.DataFrame, model: str, ends: Mapping[str, float]) -> Figure:
    """Fréchet distance and class balance: along β in the first round, and from round to round."""
    figure = Figure(figsize=(7.6, 5.4), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    mean = table.groupby(["kind", "round", "method", "beta"], as_index=False).mean(
        numeric_only=True
    )
    for row, (name, label) in zip(panels, MEASURES.items(), strict=True):
        for kind, (colour, _) in KINDS.items():
            of_kind = mean[mean["kind"] == kind]
            if len(of_kind):
                _along_beta(row[0], of_kind, name, colour)
                _along_rounds(row[1], of_kind, name, colour, ends[kind])
        row[0].set(ylabel=label, ylim=(0, 1.08 * mean[name].max()))
    panels[1, 0].set_xlabel(BETA_LABEL)
    panels[1, 1].set_xlabel("round")
    panels[1, 1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(model, x=0.01, ha="left", fontsize=TITLE)
    present = [kind for kind in KINDS if (table["kind"] == kind).any()]
    handles = [handle(KINDS[kind][0], f"discriminator of {KINDS[kind][1]}") for kind in present]
    for method, (marker, line) in WAYS.items():
        handles.append(handle(MUTED, method, marker=marker, linestyle=line))
    for marker, name in (("x", "DRS"), ("+", "DDLS, the best step")):
        handles.append(handle(MUTED, name, marker=marker, linestyle="none"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _along_beta(axes: Axes, rows: pd.DataFrame, name: str, colour: str) -> None:
    """The first round's rows against β; others' ways beside them at β = 1."""
    first = rows[rows["round"] == 1]
    start = first[first["method"] == "p"]
    for method, (marker, line) in WAYS.items():
        path = pd.concat([start, first[first["method"] == method]])
        axes.plot(path["beta"], path[name], line, marker=marker, color=colour, markersize=4.5)
    for method, marker in (("drs", "x"), ("ddls", "+")):
        tried = first[first["method"].str.startswith(method)]
        if len(tried):
            best = tried.sort_values("frechet").iloc[0]
            axes.plot([1.0], [best[name]], marker, color=colour, markersize=8, zorder=5)


def _along_rounds(axes: Axes, rows: pd.DataFrame, name: str, colour: str, end: float) -> None:
    """p as round 0, then each round's model, at the β that the next one goes on from."""
    start = rows[rows["method"] == "p"][name].tolist()[:1]
    for method, (marker, line) in WAYS.items():
        last = rows[rows["beta"] == rows["round"].eq(1).map({True: end, False: 1.0})]
        ends = last[last["method"] == method].sort_values("round")[name].tolist()
        axes.plot(
            range(len(ends) + 1),
            [*start, *ends],
            line,
            marker=marker,
            color=colour,
            markersize=4.5,
        )
