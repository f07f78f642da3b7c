"""The jobs of a sweep, in a folder that one process holds, and what came of them.

A job that fails takes no other down. This process alone writes the tables of all rows, whoever
does the jobs.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from btgm_cli.cli.execute import EXIT_CODES, MISSED
from btgm_cli.cli.work import Work, do, is_finished
from btgm_cli.core.durations import duration
from btgm_cli.core.errors import BtgmError, SettingError, WriteError
from btgm_cli.core.results import Status
from btgm_cli.report.html import write_sweep_page
from btgm_cli.store.decoded import DECODED
from btgm_cli.store.lock import is_held, locked
from btgm_cli.store.sweeps import (
    INDEX,
    Found,
    Planned,
    State,
    collect,
    holds_sweep,
    line_of,
    note_failure,
    state_of,
    write_plan,
)

FAILED = 2
"""Exit code of a job that came to no end."""


def require_no_sweep(path: Path) -> None:
    """Refuse a folder in which a sweep has begun.

    Raises:
        SettingError: tells how to go on with it.
    """
    if holds_sweep(path):
        expected = f"already holds a sweep; choose another, or go on with resume={path}"
        raise SettingError("out", str(path), expected)


class Sweep:
    """A sweep at work; as a context manager it holds its folder and ends with what came of it.

    Args:
        path: its folder.
        jobs: all of them, in order.
        resume: go on with the sweep there; else none may have begun there.

    Attributes:
        code: the exit code, once it has ended: that of the worst job.

    Raises:
        SettingError: on entry; the folder holds a sweep, or another process holds the folder.
    """

    def __init__(self, path: Path, jobs: Sequence[Planned], *, resume: bool = False) -> None:
        self.path, self.jobs, self._resume = path.absolute(), jobs, resume
        self.code = 0
        self._seconds = list[float]()
        self._finished: dict[str, Found] = {}
        self._held = ExitStack()

    def __enter__(self) -> Sweep:
        self._held.enter_context(locked(self.path, "sweep directory"))
        if not self._resume:
            require_no_sweep(self.path)
            write_plan(self.path, self.jobs)
        self._held.callback(shutil.rmtree, self.path / DECODED, ignore_errors=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._held:
            way_on = f"btgm run resume={self.path} goes on"
            if error is None:
                index = self.collect()
                self.code = max(map(_code_of, index.to_dict("records")), default=0)
                page, _ = write_sweep_page(self.path)
                self._tell(index, page)
            elif isinstance(error, KeyboardInterrupt):
                error.__notes__ = [way_on]
            elif isinstance(error, WriteError):
                error.__notes__ = [f"what was finished is kept, {way_on}"]

    def unfinished(self) -> list[int]:
        """The jobs that are to be done, those that failed among them."""
        return [k for k, job in enumerate(self.jobs) if not is_finished(self.folder(k), job)]

    def folder(self, number: int) -> Path:
        """Of a job."""
        return self.path / self.jobs[number].folder

    def threads_of(self, numbers: Sequence[int]) -> int:
        """CPU threads of one of these jobs; the most, where they differ."""
        return max(int(self.jobs[number].manifest.settings["threads"]) for number in numbers)

    @property
    def work(self) -> Work:
        """What another process does of it."""
        return Work(self.path)

    def __len__(self) -> int:
        """How many jobs it has."""
        return len(self.jobs)

    def has_begun(self, number: int) -> bool:
        """Has a process been at a job that has not ended?"""
        return state_of(self.folder(number)) is State.BEGUN

    def is_held(self, number: int) -> bool:
        """Is a process at a job now?"""
        return is_held(self.folder(number))

    def note(self, number: int, reason: str | None) -> None:
        """Keep why a job failed; None where it has not."""
        note_failure(self.folder(number), reason)

    def told(self, numbers: Sequence[int]) -> list[str]:
        """A line for each of these jobs, the tables being made anew."""
        index = self.collect().to_dict("records")
        return [line_of(index[number]) for number in numbers]

    def has_ended(self, number: int) -> bool:
        """Has a job finished, or failed?"""
        try:
            return state_of(self.folder(number)) in (State.FINISHED, State.FAILED)
        except BtgmError:
            return False

    def run(self, numbers: Sequence[int]) -> None:
        """Do these jobs here, one after the other; if one fails, keep the reason and go on.

        Raises:
            WriteError: there is no room for any.
        """
        for done, number in enumerate(numbers):
            started = time.perf_counter()
            print(f"\n{self._heading(number, len(numbers) - done)}", flush=True)
            if reason := do(self.path, self.jobs, number):
                print(f"btgm run: {reason}", file=sys.stderr)
            self._seconds.append(time.perf_counter() - started)
            self.collect()

    def collect(self) -> pd.DataFrame:
        """Write the tables anew; returns that of the jobs."""
        return collect(self.path, self.jobs, self._finished)

    def _heading(self, number: int, left: int) -> str:
        """Which job comes, and how long the rest will take by those that are done."""
        line = f"job {number + 1} of {len(self.jobs)}: {self.title(number)}"
        if not self._seconds:
            return line
        seconds = sum(self._seconds) / len(self._seconds) * left
        return f"{line} (some {duration(seconds)} left)"

    def title(self, number: int) -> str:
        """What was typed for this job and not for all."""
        others = [set(job.manifest.overrides) for job in self.jobs]
        own = self.jobs[number].manifest.overrides
        return shlex.join(item for item in own if not all(item in other for other in others))

    def _tell(self, index: pd.DataFrame, page: Path) -> None:
        """How many jobs ended how, and what is wrong with the others."""
        ends = Counter(str(row["status"] or row["state"]) for row in index.to_dict("records"))
        counts = ", ".join(f"{n} {end}" for end, n in ends.most_common())
        print(f"\n{len(index)} jobs: {counts}")
        for row in index.to_dict("records"):
            if row["status"] != "ok":
                print(line_of(row))
        print(f"{self.path / INDEX}\n{page}")


def _code_of(row: dict[Any, Any]) -> int:
    """The exit code of a job, by its row of `index.csv`."""
    if row["state"] != State.FINISHED:
        return FAILED
    return EXIT_CODES.get(Status(str(row["status"])), MISSED)
