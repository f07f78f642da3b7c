"""Runs that differ in nothing but their seed, and what they come to: means and standard errors."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from btgm_cli.report.style import Array, column
from btgm_cli.store.manifest import Manifest
from btgm_cli.store.runs import Run

FIGURES = ("beta", "kl", "mean_f", "kl_ref", "mean_f_ref", "kl_gap", "ess_fraction", "coverage")


@dataclass(frozen=True)
class Seen:
    """A job as far as it is whole.

    Args:
        number: of the job, or 0.
        manifest: what it belongs to.
        run: its rows; None where there are none.
    """

    number: int
    manifest: Manifest
    run: Run | None

    @property
    def seed(self) -> Any:
        """Of everything random."""
        return self.manifest.settings["seed"]


@dataclass(frozen=True)
class Mean:
    """A mean over n seeds with its standard error, the sample's deviation over √n; NaN for one."""

    value: float
    se: float
    n: int


def mean_of(values: Iterable[float]) -> Mean:
    """The mean of what is finite."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    n = len(known)
    value = float(known.mean()) if n else math.nan
    se = float(known.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Mean(value, se, n)


@dataclass(frozen=True)
class Point:
    """What all seeds reached at one β.

    Args:
        figures: by the columns of `pareto.csv`: those of `FIGURES`, and `shift` and `shift_ref`,
            how far E f has moved from p's, in standard deviations of f under p.
        verdicts: how often each status came out.
        reached: the end of searches that each seed ended at a β of its own.
    """

    figures: Mapping[str, Mean]
    verdicts: Mapping[str, int]
    reached: bool


@dataclass(frozen=True)
class Front:
    """Jobs that have everything in common but seed and target.

    Args:
        label: what tells it from the other fronts.
        criterion: its name.
        jobs: in order.
        points: by rising KL.
    """

    label: str
    criterion: str
    jobs: Sequence[Seen]
    points: Sequence[Point]

    @property
    def runs(self) -> list[Run]:
        """Those that have rows."""
        return [job.run for job in self.jobs if job.run is not None]

    def figure(self, name: str) -> tuple[Array, Array]:
        """One figure along the points, and its standard errors, each of shape (points,)."""
        means = [point.figures[name] for point in self.points]
        return np.array([mean.value for mean in means]), np.array([mean.se for mean in means])


def fronts_of(jobs: Sequence[Seen]) -> list[Front]:
    """The jobs by fronts, in order of appearance."""
    groups: dict[str, list[Seen]] = {}
    for job in jobs:
        groups.setdefault(_key(job.manifest, "seed", "target"), []).append(job)
    labels = _labels(list(groups.values()))
    return [
        Front(label, group[0].manifest.criterion, group, _points(group))
        for label, group in zip(labels, groups.values(), strict=True)
    ]


def scale_under_p(run: Run) -> tuple[float, float]:
    """Mean and standard deviation of f under p, as the run knows them; NaN where it does not.

    The run tells β √Var_p f as `beta_normalized` (§4.2).
    """
    start = np.concatenate(
        [
            column(table, name)[column(table, "beta") == 0]
            for table, name in ((run.theory, "mean_f"), (run.pareto, "mean_f_ref"))
        ]
    )
    beta, normalized = column(run.pareto, "beta"), column(run.pareto, "beta_normalized")
    spread = normalized[beta > 0] / beta[beta > 0]
    known = spread[np.isfinite(spread) & (spread > 0)]
    return (float(start[0]) if len(start) else math.nan), (
        float(known[0]) if len(known) else math.nan
    )


def _points(jobs: Sequence[Seen]) -> list[Point]:
    """For each target, the β that every seed has, and the last of each where they differ."""
    targets: dict[str, list[Run]] = {}
    for job in jobs:
        if job.run is not None:
            targets.setdefault(_key(job.manifest, "seed"), []).append(job.run)
    points = [point for runs in targets.values() for point in _points_of(runs)]
    return sorted(points, key=lambda point: point.figures["kl"].value)


def _points_of(runs: Sequence[Run]) -> list[Point]:
    tables = [_rows(run) for run in runs]
    shared = [beta for beta in tables[0] if all(beta in table for table in tables)]
    points = [_point([table[beta] for table in tables], reached=False) for beta in shared]
    ends = [float(column(run.pareto, "beta")[-1]) for run in runs]
    if len(set(ends)) > 1:
        rows = [table[end] for table, end in zip(tables, ends, strict=True)]
        points.append(_point(rows, reached=True))
    return points


def _rows(run: Run) -> dict[float, dict[str, Any]]:
    """What a run has at each β, the last row of a β counting."""
    start, spread = scale_under_p(run)
    columns = {name: column(run.pareto, name) for name in FIGURES}
    for end in ("", "_ref"):
        columns[f"shift{end}"] = (columns[f"mean_f{end}"] - start) / spread
    status = run.pareto["status"].astype(str)
    return {
        float(beta): {name: values[k] for name, values in columns.items()} | {"status": status[k]}
        for k, beta in enumerate(columns["beta"])
    }


def _point(rows: Sequence[Mapping[str, Any]], *, reached: bool) -> Point:
    names = [name for name in rows[0] if name != "status"]
    figures = {name: mean_of(float(row[name]) for row in rows) for name in names}
    return Point(figures, Counter(str(row["status"]) for row in rows), reached)


def _key(manifest: Manifest, *without: str) -> str:
    """The settings and choices of a job but for some."""
    settings = {key: value for key, value in manifest.settings.items() if key not in without}
    return json.dumps([manifest.model, manifest.criterion, settings], sort_keys=True)


def _labels(groups: Sequence[Sequence[Seen]]) -> list[str]:
    """What tells each group from the others: model, criterion, or else what was typed."""
    first = [group[0].manifest for group in groups]
    model = len({one.model for one in first}) > 1
    names = [f"{one.model} / {one.criterion}" if model else one.criterion for one in first]
    typed = [{item for item in one.overrides if not _told(item)} for one in first]
    common = set.intersection(*typed) if typed else set()
    return [
        " ".join([name, *(item for item in one.overrides if item in own - common)])
        for name, one, own in zip(names, first, typed, strict=True)
    ]


def _told(override: str) -> bool:
    """Is an override told otherwise, or no part of a front?"""
    name = override.lstrip("+").partition("=")[0]
    return name in ("model", "criterion", "seed") or name.partition(".")[0] == "target"
