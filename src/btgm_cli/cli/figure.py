"""`btgm figure NAME`: one of the paper's figures, or all, with the runs that it needs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from btgm_cli.cli import figures
from btgm_cli.cli.ended import ended_run
from btgm_cli.cli.engines import Engine, engine_settings, own_settings
from btgm_cli.cli.figure_sweep import swept
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.recipes import FIGURES, RUNS, Recipe, load_figure
from btgm_cli.cli.settings import arguments, checked
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.store.files import require_writable
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import MANIFEST
from btgm_cli.store.runs import SUMMARY, read_run

ALL = "all"

USAGE = f"""usage: btgm figure FIGURE [SETTING=VALUE ...]

  FIGURE         {", ".join(FIGURES)}, or all
  quick=false    true: few steps and draws, so that it takes seconds and the numbers mean nothing
  out=           a folder; by default outputs/figures/FIGURE, or outputs/figures/quick/FIGURE
  threads=       CPU threads, of its runs too; see `btgm run --cfg job`
  hydra/launcher=btgm_joblib
                 its runs side by side, as the jobs of a sweep; each takes one thread unless told

A finished run in the folder is used again, one that was interrupted goes on, with its own threads
and by whatever launcher. `all` makes the runs of all as one sweep, each figure in its own folder,
and index.html; what is finished stays."""


@dataclass(frozen=True)
class Request:
    """What was asked for; see `USAGE`.

    Raises:
        SettingError: `out` cannot be a folder.
    """

    quick: bool = False
    out: Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        require_threads(self.threads)
        if self.out and (self.out / MANIFEST).is_file():
            raise SettingError("out", str(self.out), "is a run directory; choose another")

    def folder(self, name: str) -> Path:
        """Where a figure goes, or all of them."""
        part = ["quick"] if self.quick else []
        return self.out or Path("outputs", "figures", *part, *[name] * (name != ALL))


def main(argv: Sequence[str]) -> int:
    """Make the runs of a figure, measure, draw, and print the table and the files.

    Returns:
        0 where the figure was made, whatever the runs' verdicts: they are part of it. 2 where one
        of all was not.

    Raises:
        SettingError: no such figure, a setting that cannot be used, or other runs in the folder.
        BtgmError: a run did not end.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *settings = argv or [""]
    if name not in (*FIGURES, ALL):
        raise SettingError("figure", name, f"choose one of {', '.join(FIGURES)}, {ALL}")
    request = checked(Request, arguments(own_settings(settings)))
    engine = Engine(engine_settings(settings))
    out = request.folder(name)
    require_writable("out", out)
    if name == ALL:
        return figures.make_all(out, quick=request.quick, threads=request.threads, engine=engine)
    figure = load_figure(name, quick=request.quick)
    recipe = Recipe(name, figure, out, request.quick, request.threads)
    recipe.claim()
    with cpu_threads(request.threads):
        runs, started = _runs(recipe, engine), time.perf_counter()
        written = figure.make(runs, out)
    recipe.note_made(written, time.perf_counter() - started)
    print(out.joinpath(f"{name}.md").read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))
    sys.stdout.flush()
    return 0


def _runs(recipe: Recipe, engine: Engine) -> dict[str, LoadedRun]:
    """The finished runs of a figure by their names.

    Raises:
        BtgmError: one is damaged, or did not end.
    """
    places, asked = recipe.places(), recipe.asked()
    finished = [place for place in places.values() if (place / SUMMARY).is_file()]
    for place in finished:
        read_run(place)
    if not engine.here and len(finished) < len(places):
        _side_by_side(recipe, engine)
    return {name: ended_run(places[name], overrides) for name, overrides in asked.items()}


def _side_by_side(recipe: Recipe, engine: Engine) -> None:
    """Have a launcher do what is left of the runs.

    Raises:
        BtgmError: one did not end, and why; the others did.
    """
    with swept(recipe.out / RUNS, recipe.asked(), 1) as sweep:
        engine.run(sweep)
        faults = sweep.told(sweep.unfinished())
    if faults:
        told = "; ".join(line.strip() for line in faults)
        raise BtgmError(f"the runs in {recipe.out / RUNS} did not all end: {told}")
