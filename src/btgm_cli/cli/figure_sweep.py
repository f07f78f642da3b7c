"""The runs of one figure, or of all, as the jobs of a sweep.

`btgm figure all` is a sweep in the folder of all figures. A single figure is one where a launcher
does its runs: then `runs/` in its folder is that of the sweep, which `btgm status`, `btgm report`
and `btgm run resume=` take as any other, and the folder of the figure itself is none.

A run that has begun keeps its settings, whoever began it, and the others are planned anew by each
command. So a figure that was begun here is gone on with by a launcher, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from btgm_cli.cli.config import compose_config
from btgm_cli.cli.prepare import about, prepared_of
from btgm_cli.cli.recipes import refuse_another
from btgm_cli.cli.sweep import Sweep
from btgm_cli.core.errors import SettingError
from btgm_cli.store.manifest import Manifest, read_manifest
from btgm_cli.store.sweeps import Planned, holds_sweep, read_plan, write_plan


@contextmanager
def swept(path: Path, asked: Mapping[str, Sequence[str]], threads: int) -> Iterator[Sweep]:
    """Hold the sweep in `path`, begun or gone on with; an interruption tells how to go on.

    Args:
        path: its folder.
        asked: what `btgm run` is asked for, by the folders of the runs in it.
        threads: CPU threads of those that have not begun, where none are asked for.

    Raises:
        SettingError: a sweep of other runs is there, or another process is at work.
    """
    jobs = _planned(path, asked, threads)
    try:
        with Sweep(path, jobs, resume=True) as sweep:
            write_plan(path, jobs)
            yield sweep
    except KeyboardInterrupt as stopped:
        stopped.__notes__ = ["the same command goes on"]
        raise


def _planned(path: Path, asked: Mapping[str, Sequence[str]], threads: int) -> list[Planned]:
    """The runs as jobs, unless the sweep that is there has others."""
    there = read_plan(path) if holds_sweep(path) else []
    if there and [job.folder for job in there] != list(asked):
        expected = "holds a sweep of other runs; choose another folder or remove it"
        raise SettingError("out", str(path), expected)
    for job in there:
        what = f"{path / job.folder} is planned"
        refuse_another(job.manifest, compose_config("run", asked[job.folder]), what, path)
    return [Planned(run, _manifest(path / run, own, threads)) for run, own in asked.items()]


def _manifest(place: Path, overrides: Sequence[str], threads: int) -> Manifest:
    """What a run is to belong to; of one that has begun, what it belongs to."""
    there = read_manifest(place)
    if there is not None:
        return replace(there, rows=(), files={}, seconds=0.0)
    cfg = compose_config("run", overrides)
    if cfg.threads is None:
        cfg.threads = threads
    return prepared_of(cfg, about(cfg)).manifest
