"""`btgm figure all`: the figures of the paper, their runs as the jobs of one sweep, and a page."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from btgm_cli.cli.engines import Engine
from btgm_cli.cli.figure_sweep import swept
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.recipes import FIGURES, RUNS, Recipe, claim_of, load_figure
from btgm_cli.cli.sweep import Sweep
from btgm_cli.cli.threads import chosen_threads
from btgm_cli.core.errors import BtgmError, in_one_line
from btgm_cli.report.html.all_figures import Made, write_figures_page
from btgm_cli.store.manifest import read_manifest
from btgm_cli.store.runs import read_run, read_summary

FAILED = 2


def make_all(
    out: Path,
    *,
    quick: bool,
    threads: int | None,
    engine: Engine,
    names: Sequence[str] = FIGURES,
) -> int:
    """Make all figures that are not made yet, and `index.html` after each.

    A launcher does the runs of all before the first figure is made; here each has its own first.

    Args:
        out: the folder of all; each figure has its own in it.
        quick: few steps and draws, so that the numbers mean nothing.
        threads: of the runs; None leaves torch's choice, or takes one where a launcher does them.
        engine: what does the runs.
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
    asked = {
        f"{recipe.name}/{RUNS}/{run}": overrides
        for recipe in recipes
        for run, overrides in recipe.asked().items()
    }
    faults = dict[str, str]()
    with swept(out, asked, chosen_threads(threads) if engine.here else 1) as sweep:
        if not engine.here:
            engine.run(sweep)
        for recipe in recipes:
            if fault := _made(recipe, sweep, here=engine.here):
                print(f"btgm figure: {recipe.name}: {fault}", file=sys.stderr, flush=True)
                faults[recipe.name] = fault
            page = write_figures_page(out, [_told(one, faults) for one in recipes])
    print(page)
    return FAILED if faults else 0


def _made(recipe: Recipe, sweep: Sweep, *, here: bool) -> str:
    """Make a figure unless it is made, here its runs first; why it could not be, or nothing."""
    own = {f"{recipe.name}/{RUNS}/{run}" for run in recipe.places()}
    left = [k for k in sweep.unfinished() if sweep.jobs[k].folder in own]
    if left and here:
        print(f"\n{recipe.name}", flush=True)
        sweep.run(left)
    elif not left and recipe.is_made():
        return ""
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
