"""The page of a sweep: its jobs, their fronts over each other, and how far seeds spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from btgm_cli.core.durations import duration
from btgm_cli.core.errors import BtgmError, in_one_line
from btgm_cli.report.html.charts import fronts_chart, theory_chart
from btgm_cli.report.html.grids import shots
from btgm_cli.report.html.pages import PAGE, Picture, chart, render
from btgm_cli.report.html.seeds import Front, Seen, fronts_of, mean_of
from btgm_cli.report.html.words import WAYS, command, number, sweep_command
from btgm_cli.report.style import column
from btgm_cli.store.files import write_text
from btgm_cli.store.manifest import PARETO, Manifest
from btgm_cli.store.runs import Run, salvage
from btgm_cli.store.sweeps import Planned, read_plan, table_of

MOST = 12
"""Fronts with charts and draws of their own: a page is to open at once."""

DRAWS = {1: 64, 4: 32, MOST: 16}
"""At each β, by the most fronts."""

COLUMNS: dict[str, Callable[[float], str]] = {
    "kl_gap_max": "{:.3f}".format,
    "ess_fraction_min": "{:.2f}".format,
    "f_evals": "{:,.0f}".format,
    "wall_seconds": duration,
}
"""What `index.csv` tells of a job in numbers, and how they are written."""


def write_sweep_page(path: Path) -> tuple[Path, list[str]]:
    """Write `report.html` into the folder of a sweep; the page, and what is not whole.

    Raises:
        SettingError: no sweep has begun there.
        DataError: a damaged plan of it.
    """
    text, faults = sweep_page(path)
    write_text(path / PAGE, text)
    return path / PAGE, faults


def sweep_page(path: Path) -> tuple[str, list[str]]:
    """A sweep as a page, and what of its jobs is not whole, a line each."""
    jobs = read_plan(path)
    index, _ = table_of(path, jobs)
    faults = list[str]()
    seen = [_seen(path, number, job, faults) for number, job in enumerate(jobs)]
    fronts = fronts_of(seen)
    shown = [front for front in fronts if front.runs][:MOST]
    most = next((n for fewest, n in DRAWS.items() if len(shown) <= fewest), DRAWS[MOST])
    manifests = [job.manifest for job in jobs]
    text = render(
        "sweep.html",
        title=f"Sweep of {len(jobs)} jobs" if len(jobs) > 1 else "Sweep of one job",
        counts=Counter(str(row["status"] or row["state"]) for row in index.to_dict("records")),
        jobs=_told(index, seen),
        left_out=faults,
        fronts=fronts,
        shown=shown,
        overlay=_overlay(shown),
        own=[_own(front, k) for k, front in enumerate(shown)],
        grids=[(front, front.runs[0].path.name, shots(front.runs[0], most)) for front in shown],
        costs=[line for front in fronts for line in _costs(front)],
        command=sweep_command(manifests),
        commands=[command(one) for one in manifests],
        versions=_versions(seen),
        checkpoints=_checkpoints(manifests),
    )
    return text, faults


def _seen(path: Path, number: int, job: Planned, faults: list[str]) -> Seen:
    """A job as far as it is whole; what is not is added to `faults`."""
    folder, run = path / job.folder, None
    if (folder / PARETO).exists():
        try:
            run, found = salvage(folder)
        except BtgmError as error:
            found = [error]
        faults += dict.fromkeys(map(in_one_line, found))
    return Seen(number, job.manifest, run)


def _cell(value: Any, how: Callable[[float], str]) -> str:
    """A number of `index.csv`, where nothing is told of what has not ended."""
    return "–" if value in ("", None) else how(float(value))


def _told(index: pd.DataFrame, seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """What the table of jobs tells."""
    told = []
    for row, job in zip(index.to_dict("records"), seen, strict=True):
        numbers = {name: _cell(row[name], how) for name, how in COLUMNS.items()}
        status = str(row["status"] or row["state"])
        remedy = job.run.summary.get("remedy", "") if job.run else ""
        words = {name: str(row[name]) for name in ("job", "folder", "model", "criterion", "seed")}
        told.append(
            words
            | numbers
            | {"status": status, "message": str(row["message"]), "remedy": str(remedy)}
        )
    return told


def _overlay(fronts: Sequence[Front]) -> Picture | None:
    """All fronts on one scale; None where there are no two."""
    if len(fronts) < 2:
        return None
    ends = [
        f"{front.label}: KL {number(kl[-1])} nats, E f moved by {number(shift[-1])} deviations"
        for front in fronts
        if front.points
        for kl, shift in [(front.figure("kl")[0], front.figure("shift")[0])]
    ]
    alt = "How far E f moves, in its standard deviations under p, against KL. Ends of fronts: "
    caption = (
        "All fronts on one scale: how far E f has moved from the untuned model, in standard "
        "deviations of f under p."
    )
    figure = fronts_chart(fronts, standardized=True)
    return chart(figure, alt + "; ".join(ends) + ".", caption)


def _own(front: Front, k: int) -> tuple[Front, list[Picture]]:
    """The charts of front k in the unit of its criterion."""
    (beta, _), (kl, _), (mean, _) = map(front.figure, ("beta", "kl", "mean_f"))
    at = "; ".join(
        f"β = {number(beta[k])}: KL {number(kl[k])} nats, E f {number(mean[k])}"
        for k in range(len(beta))
    )
    return front, [
        chart(
            fronts_chart([front], standardized=False, k=k),
            f"E f against KL(q‖p) of {front.label}: {at}.",
        ),
        chart(theory_chart(front, "mean_f", k), f"E f against β of {front.label}: {at}."),
        chart(theory_chart(front, "kl", k), f"KL(q‖p) in nats against β of {front.label}: {at}."),
    ]


def _costs(front: Front) -> list[dict[str, Any]]:
    """Means over seeds of what an effective draw costs at the last β that has a price."""
    tables = [_last(run) for run in front.runs if len(run.cost)]
    return [
        {
            "front": front.label,
            "method": WAYS[way],
            "beta": mean_of(one["beta"] for one in found),
            "fixed": mean_of(one["fixed"] for one in found),
            "each": mean_of(one["each"] for one in found),
            "pays": _pays(way, [one["pays_from"] for one in found]),
        }
        for way in WAYS
        if (found := [table[way] for table in tables if way in table])
    ]


def _pays(way: str, found: Sequence[float]) -> str:
    """From how many draws on a way is cheaper than rejection."""
    if way == "rejection":
        return ""
    mean = mean_of(found)
    never = len(found) - mean.n
    text = f"{mean.value:,.0f} draws" if mean.n else "never"
    return f"{text} (never for {never} of {len(found)})" if mean.n and never else text


def _last(run: Run) -> dict[str, dict[str, float]]:
    """The prices at a run's last β, by way."""
    beta = column(run.cost, "beta")
    last = run.cost[beta == beta[-1]]
    names = ("beta", "fixed", "each", "pays_from")
    return {
        str(row["method"]): {name: float(row[name]) for name in names}
        for row in last.to_dict("records")
    }


def _versions(seen: Sequence[Seen]) -> dict[str, list[str]]:
    """What the finished jobs were made with."""
    found: dict[str, dict[str, None]] = {}
    for job in seen:
        versions = job.run.summary.get("versions", {}) if job.run else {}
        for name, version in versions.items():
            found.setdefault(str(name), {})[str(version)] = None
    return {name: list(versions) for name, versions in found.items()}


def _checkpoints(manifests: Sequence[Manifest]) -> list[tuple[str, str, str]]:
    """Setting, hash and jobs of each checkpoint."""
    found: dict[tuple[str, str], list[str]] = {}
    for k, one in enumerate(manifests):
        for setting, content in one.checkpoints.items():
            found.setdefault((setting, content), []).append(str(k))
    return [(*key, ", ".join(jobs)) for key, jobs in found.items()]
