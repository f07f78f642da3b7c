"""`resume=DIR`: go on with a run, or with a sweep, as it was configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from btgm_cli.cli.engines import Engine, engine_settings, own_settings
from btgm_cli.cli.execute import execute
from btgm_cli.cli.options import Asked
from btgm_cli.cli.prepare import about, configurations, prepared_of
from btgm_cli.cli.settings import path_of
from btgm_cli.cli.sweep import Sweep
from btgm_cli.cli.work import as_it_is_now
from btgm_cli.core.errors import SettingError
from btgm_cli.store.manifest import require_run
from btgm_cli.store.sweeps import Planned, holds_sweep, read_plan

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
    now = as_it_is_now(require_run(path), path)
    return execute(now.job, now.manifest, path, resume=True)


def _resume_sweep(path: Path, asked: Asked) -> int:
    """Go on with a sweep: what is finished stays, what failed is tried again.

    The command of the sweep may be typed again; then it has to ask for the same jobs. Any launcher
    goes on with what another one began.
    """
    jobs, own = read_plan(path), own_settings(asked.settings)
    if asked.shown or (own and not asked.sweep):
        text = " ".join([*own, *asked.shown])
        raise SettingError("resume", text, "takes its settings from the sweep: give no others")
    if own:
        _require_same_jobs(path, jobs, asked)
    engine = Engine(engine_settings(asked.settings))
    with Sweep(path, jobs, resume=True) as sweep:
        engine.run(sweep)
    return sweep.code


def _require_same_jobs(path: Path, jobs: Sequence[Planned], asked: Asked) -> None:
    """Refuse another sweep than that of the folder `path`."""
    found = [prepared_of(cfg, about(cfg)).manifest for cfg in configurations(asked)]
    if len(found) != len(jobs):
        expected = f"{path} has {len(jobs)} jobs, and {len(found)} are asked for"
        raise SettingError("resume", str(path), expected)
    for job, manifest in zip(jobs, found, strict=True):
        job.manifest.require_same(path / job.folder, manifest)
