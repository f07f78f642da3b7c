"""`resume=DIR`: go on with a run, or with a sweep, as it was configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf

from btgm_cli import __version__
from btgm_cli.cli.config import job_of
from btgm_cli.cli.execute import execute
from btgm_cli.cli.job import Names
from btgm_cli.cli.options import Asked
from btgm_cli.cli.own import found_again
from btgm_cli.cli.prepare import Prepared, about, configurations, prepared_of
from btgm_cli.cli.settings import path_of
from btgm_cli.cli.sweep import Sweep
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.manifest import Manifest, read_manifest, require_run
from btgm_cli.store.sweeps import Planned, State, holds_sweep, read_plan, state_of

RESUME = "resume="


def resume(asked: Asked) -> int:
    """Go on with an interrupted run or sweep, in its own directory, as it was configured."""
    given = next(item for item in asked.settings if item.startswith(RESUME))
    others = [item for item in asked.settings if item != given]
    path = path_of(given.removeprefix(RESUME))
    if holds_sweep(path):
        return _resume_sweep(path, replace(asked, settings=others))
    if others or asked.shown or asked.sweep:
        text = " ".join([*others, *asked.shown, *["-m"] * asked.sweep])
        raise SettingError("resume", text, "takes its settings from the run: give no others")
    now = _as_it_is_now(require_run(path), path)
    return execute(now.job, now.manifest, path, resume=True)


def _as_it_is_now(there: Manifest, path: Path) -> Prepared:
    """The job that the directory `path` belongs to, if nothing has changed since it was asked."""
    settings = found_again(there.settings, there.folder)
    now = replace(there, version=__version__, checkpoints=checkpoints_in(settings))
    there.require_same(path, now)
    names = Names(there.model, there.criterion)
    return Prepared(job_of(OmegaConf.create(settings), names, there.overrides), now)


def _resume_sweep(path: Path, asked: Asked) -> int:
    """Go on with a sweep: what is finished stays, what failed is tried again.

    The command of the sweep may be typed again; then it has to ask for the same jobs.
    """
    jobs = read_plan(path)
    if asked.shown or (asked.settings and not asked.sweep):
        text = " ".join([*asked.settings, *asked.shown])
        raise SettingError("resume", text, "takes its settings from the sweep: give no others")
    if asked.settings:
        _require_same_jobs(path, jobs, asked)
    with Sweep(path, jobs, resume=True) as sweep:
        for number, job in enumerate(jobs):
            if _is_finished(path / job.folder):
                sweep.skip(number)
            else:
                sweep.run(number, partial(_go_on, sweep, job, path / job.folder))
    return max(sweep.codes)


def _is_finished(folder: Path) -> bool:
    """Is nothing left to do there? What is damaged is told when the job is gone on with."""
    try:
        return state_of(folder) is State.FINISHED
    except BtgmError:
        return False


def _go_on(sweep: Sweep, planned: Planned, path: Path) -> int:
    """Do what is left of a job."""
    there = read_manifest(path)
    now = _as_it_is_now(there or planned.manifest, path)
    decoded = sweep.decoded(now.manifest)
    return execute(now.job, now.manifest, path, resume=there is not None, decoded=decoded)


def _require_same_jobs(path: Path, jobs: Sequence[Planned], asked: Asked) -> None:
    """Refuse another sweep than that of the folder `path`."""
    found = [prepared_of(cfg, about(cfg)).manifest for cfg in configurations(asked)]
    if len(found) != len(jobs):
        expected = f"{path} has {len(jobs)} jobs, and {len(found)} are asked for"
        raise SettingError("resume", str(path), expected)
    for job, manifest in zip(jobs, found, strict=True):
        job.manifest.require_same(path / job.folder, manifest)
