"""`btgm figure all`: the figures of the paper, their runs as the jobs of one sweep, and a page."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from btgm_cli.cli.config import compose_config
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.prepare import about, prepared_of
from btgm_cli.cli.recipes import FIGURES, Recipe, claim_of, load_figure, refuse_another
from btgm_cli.cli.sweep import Sweep
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.report.html.all_figures import Made, write_figures_page
from btgm_cli.store.manifest import Manifest, read_manifest
from btgm_cli.store.runs import read_run, read_summary
from btgm_cli.store.sweeps import Planned, holds_sweep, read_plan

FAILED = 2


def make_all(
    out: Path, *, quick: bool, threads: int | None, names: Sequence[str] = FIGURES
) -> int:
    """Make all figures that are not made yet, and `index.html` after each.

    Args:
        out: the folder of all; each figure has its own in it.
        quick: few steps and draws, so that the numbers mean nothing.
        threads: of the runs; None leaves torch's choice.
        names: of the figures.

    Returns:
        0, or 2 where a figure could not be made; the others are.

    Raises:
        SettingError: figures of other settings in the folder, or another process at work there.
    """
    recipes = [
        Recipe(name, load_figure(name, quick=quick), out / name, quick, threads) for name in names
    ]
    for recipe in recipes:
        recipe.claim()
    jobs = _jobs(out, recipes)
    faults = dict[str, str]()
    try:
        with Sweep(out, jobs, resume=holds_sweep(out)) as sweep:
            for recipe in recipes:
                if fault := _made(recipe, sweep):
                    print(f"btgm figure: {recipe.name}: {fault}", file=sys.stderr, flush=True)
                    faults[recipe.name] = fault
                page = write_figures_page(out, [_told(one, faults) for one in recipes])
    except KeyboardInterrupt as stopped:
        stopped.__notes__ = ["the same command goes on"]
        raise
    print(page)
    return FAILED if faults else 0


def _jobs(out: Path, recipes: Sequence[Recipe]) -> list[Planned]:
    """The runs of all figures as the jobs of a sweep; as they were planned, if they were."""
    asked = {
        f"{recipe.name}/runs/{run}": overrides
        for recipe in recipes
        for run, overrides in recipe.asked().items()
    }
    if not holds_sweep(out):
        return [Planned(folder, _manifest(out / folder, own)) for folder, own in asked.items()]
    jobs = read_plan(out)
    if [job.folder for job in jobs] != list(asked):
        expected = "holds a sweep of other runs; choose another folder or remove it"
        raise SettingError("out", str(out), expected)
    for job in jobs:
        what = f"{out / job.folder} is planned"
        refuse_another(job.manifest, compose_config("run", asked[job.folder]), what, out)
    return jobs


def _manifest(place: Path, overrides: Sequence[str]) -> Manifest:
    """What a run is to belong to; of one that has begun, what it belongs to."""
    there = read_manifest(place)
    if there is not None:
        return replace(there, rows=(), files={}, seconds=0.0)
    cfg = compose_config("run", overrides)
    return prepared_of(cfg, about(cfg)).manifest


def _made(recipe: Recipe, sweep: Sweep) -> str:
    """Make a figure, its runs first, unless it is made; why it could not be, or nothing."""
    own = {f"{recipe.name}/runs/{run}" for run in recipe.places()}
    left = [k for k in sweep.unfinished() if sweep.jobs[k].folder in own]
    if left:
        print(f"\n{recipe.name}", flush=True)
    elif recipe.is_made():
        return ""
    sweep.run(left)
    failed = [sweep.jobs[k].folder for k in sweep.unfinished() if k in left]
    if failed:
        return f"{failed[0]} did not end: see index.csv"
    try:
        for place in recipe.places().values():
            read_run(place)
        with cpu_threads(recipe.threads):
            runs = {name: load_run(place) for name, place in recipe.places().items()}
            started = time.perf_counter()
            written = recipe.figure.make(runs, recipe.out)
        recipe.note_made(written, time.perf_counter() - started)
    except BtgmError as error:
        return in_one_line(error)
    return ""


def _told(recipe: Recipe, faults: dict[str, str]) -> Made:
    """What the page says of a figure."""
    verdicts = {}
    for run, place in recipe.places().items():
        with suppress(BtgmError):
            verdicts[run] = str(read_summary(place, read_manifest(place)).get("status", "waiting"))
    return Made(
        name=recipe.name,
        claim=claim_of(recipe.name),
        folder=recipe.out,
        verdicts=verdicts,
        command=f"btgm figure {recipe.name}" + " quick=true" * recipe.quick,
        seconds=recipe.seconds(),
        made=recipe.is_made() if recipe.name not in faults else False,
        fault=faults.get(recipe.name, ""),
    )
