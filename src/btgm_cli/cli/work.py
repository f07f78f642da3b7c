"""One job of a sweep, in whatever process: begun or gone on with, to its end.

It needs the plan in the sweep's folder and nothing else, so that any engine can do it. Two
processes that are given the same job, as where a sweep was killed and its cluster went on, do it
one after the other: the second finds it done.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from btgm_cli import __version__
from btgm_cli.cli.config import job_of
from btgm_cli.cli.execute import execute
from btgm_cli.cli.job import Names
from btgm_cli.cli.own import found_again
from btgm_cli.cli.prepare import Prepared
from btgm_cli.core import blame
from btgm_cli.core.errors import BtgmError, WriteError, in_one_line
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.decoded import DECODED, DecodedDraws, model_hash
from btgm_cli.store.lock import InUseError, names_holder
from btgm_cli.store.manifest import Manifest, read_manifest
from btgm_cli.store.sweeps import Planned, State, note_failure, read_plan, state_of

PATIENCE = 1.0
"""Seconds between two looks at a job that another process has."""


@dataclass(frozen=True)
class Work:
    """What a launcher of Hydra's runs, in a process of its own: the job of a number, in silence.

    Args:
        path: of the sweep, absolute.
    """

    path: Path

    def __call__(self, cfg: DictConfig) -> str:
        """Do the job of this number.

        Returns:
            Why no job can be done here; empty where this one came to its end or its failure is
            noted. Text, for an exception that travels between processes can break them.
        """
        if not names_holder(self.path):  # the sweep ended while this job stood in a queue
            return ""
        try:
            with silence():
                do(self.path, read_plan(self.path), int(cfg.number))
        except BtgmError as error:
            return in_one_line(error)
        return ""


def do(path: Path, jobs: Sequence[Planned], number: int) -> str:
    """Do what is left of a job; wait first where another process is at it.

    Args:
        path: of the sweep.
        jobs: all of its jobs.
        number: which.

    Returns:
        Why it failed; empty where it came to its end.

    Raises:
        WriteError: there is no room for any job, or not even for the reason of a failure.
    """
    job = jobs[number]
    folder = path / job.folder
    try:
        _to_its_end(folder, job, shared_draws(path, jobs, job.manifest))
    except (Exception, SystemExit) as error:
        if isinstance(error, WriteError) and error.no_room:
            raise
        reason = in_one_line(error) if isinstance(error, BtgmError) else blame.told(error)
        note_failure(folder, reason)
        return reason
    note_failure(folder, None)
    return ""


def is_finished(folder: Path, job: Planned) -> bool:
    """Is nothing left to do there, and is it what a run of today's checkpoints would be?

    What is damaged or changed is told when the job is gone on with.
    """
    try:
        there = read_manifest(folder)
        if there is None or state_of(folder) is not State.FINISHED:
            return False
        now = checkpoints_in(found_again(there.settings, there.folder))
        job.manifest.require_same(folder, replace(there, checkpoints=now))
    except BtgmError:
        return False
    return True


def as_it_is_now(there: Manifest, path: Path) -> Prepared:
    """The job that the directory `path` belongs to, if nothing has changed since it was asked.

    Raises:
        SettingError: another version, checkpoint or module.
    """
    settings = found_again(there.settings, there.folder)
    now = replace(there, version=__version__, checkpoints=checkpoints_in(settings))
    there.require_same(path, now)
    names = Names(there.model, there.criterion)
    return Prepared(job_of(OmegaConf.create(settings), names, there.overrides), now)


def shared_draws(path: Path, jobs: Sequence[Planned], manifest: Manifest) -> DecodedDraws | None:
    """Where a job finds and keeps x; None where no other has the same model and draws."""
    model = model_hash(manifest)
    alike = Counter(model_hash(job.manifest) for job in jobs)[model]
    return DecodedDraws(path / DECODED, model) if alike > 1 else None


def _to_its_end(folder: Path, job: Planned, decoded: DecodedDraws | None) -> None:
    waiting = False
    while not is_finished(folder, job):
        there = read_manifest(folder)
        now = as_it_is_now(there or job.manifest, folder)
        try:
            execute(now.job, now.manifest, folder, resume=None, decoded=decoded)
        except InUseError as error:
            if not waiting:
                print(f"btgm run: waiting: {error}", file=sys.stderr, flush=True)
            waiting = True
            time.sleep(PATIENCE)
        else:
            return


@contextmanager
def silence() -> Iterator[None]:
    """Several jobs at once would talk across each other: `run.log` has what they say."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
