"""The jobs of a sweep, one after the other, in a folder that one process holds.

A job that fails takes no other down; all rows so far stand in one table after each job.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pandas as pd

from btgm_cli.cli.execute import EXIT_CODES, MISSED
from btgm_cli.core import blame
from btgm_cli.core.durations import duration
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.core.results import Status
from btgm_cli.store.decoded import DECODED, DecodedDraws, model_hash
from btgm_cli.store.lock import locked
from btgm_cli.store.manifest import Manifest, read_manifest
from btgm_cli.store.runs import read_summary
from btgm_cli.store.sweeps import (
    INDEX,
    Found,
    Planned,
    collect,
    holds_sweep,
    line_of,
    note_failure,
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

    Raises:
        SettingError: on entry; the folder holds a sweep, or another process holds the folder.
    """

    def __init__(self, path: Path, jobs: Sequence[Planned], *, resume: bool = False) -> None:
        self.path, self.jobs, self._resume = path, jobs, resume
        self.codes = [0]
        self._alike = Counter(model_hash(job.manifest) for job in jobs)
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
            if error is None:
                self._tell(collect(self.path, self.jobs, self._finished))
            elif isinstance(error, KeyboardInterrupt):
                error.__notes__ = [f"btgm run resume={self.path} goes on"]

    def run(self, number: int, execute: Callable[[], int]) -> None:
        """Do a job; if it fails, keep the reason and go on."""
        job, started = self.jobs[number], time.perf_counter()
        print(f"\n{self._heading(number)}", flush=True)
        folder = self.path / job.folder
        try:
            self.codes.append(execute())
        except (Exception, SystemExit) as error:
            text = in_one_line(error) if isinstance(error, BtgmError) else blame.told(error)
            print(f"btgm run: {text}", file=sys.stderr)
            note_failure(folder, text)
            self.codes.append(FAILED)
        else:
            note_failure(folder, None)
        self._seconds.append(time.perf_counter() - started)
        collect(self.path, self.jobs, self._finished)

    def skip(self, number: int) -> None:
        """Leave a finished job as it is; its verdict counts all the same."""
        folder = self.path / self.jobs[number].folder
        status = Status(read_summary(folder, read_manifest(folder))["status"])
        self.codes.append(EXIT_CODES.get(status, MISSED))

    def decoded(self, manifest: Manifest) -> DecodedDraws | None:
        """Where a job finds and keeps x; None where no other has the same model and draws."""
        model = model_hash(manifest)
        return DecodedDraws(self.path / DECODED, model) if self._alike[model] > 1 else None

    def _heading(self, number: int) -> str:
        """Which job comes, and how long the rest will take by those that are done."""
        n, own = len(self.jobs), self.jobs[number].manifest.overrides
        others = [set(job.manifest.overrides) for job in self.jobs]
        varying = [item for item in own if not all(item in other for other in others)]
        line = f"job {number + 1} of {n}: {shlex.join(varying)}"
        if not self._seconds:
            return line
        left = sum(self._seconds) / len(self._seconds) * (n - number)
        return f"{line} (some {duration(left)} left)"

    def _tell(self, index: pd.DataFrame) -> None:
        """How many jobs ended how, and what is wrong with the others."""
        ends = Counter(str(row["status"] or row["state"]) for row in index.to_dict("records"))
        counts = ", ".join(f"{n} {end}" for end, n in ends.most_common())
        print(f"\n{len(index)} jobs: {counts}")
        for row in index.to_dict("records"):
            if row["status"] != "ok":
                print(line_of(row))
        print(self.path / INDEX)
