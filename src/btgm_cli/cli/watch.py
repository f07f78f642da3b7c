"""What others do of a sweep: one display over all jobs, and the tables kept up with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tqdm import tqdm

from btgm_cli.core.durations import duration
from btgm_cli.core.errors import BtgmError

EVERY = 0.5
"""Seconds between two looks."""


class Jobs(Protocol):
    """Jobs by their numbers, whose states can be told from files by any process."""

    @property
    def path(self) -> Path:
        """Where a launcher leaves files of its own; absolute."""

    def threads_of(self, numbers: Sequence[int]) -> int:
        """CPU threads of one of these; the most, where they differ."""

    @property
    def work(self) -> Callable[[Any], str]:
        """What a launcher runs, with the number in its argument; see `work.Work`."""

    def __len__(self) -> int:
        """How many there are, the finished ones among them."""

    def unfinished(self) -> list[int]:
        """Those that are to be done."""

    def run(self, numbers: Sequence[int]) -> None:
        """Do these here, one after the other."""

    def has_begun(self, number: int) -> bool:
        """Has a process been at it?"""

    def is_held(self, number: int) -> bool:
        """Is a process at it now?"""

    def has_ended(self, number: int) -> bool:
        """Has it finished, or failed?"""

    def note(self, number: int, reason: str | None) -> None:
        """Keep why it failed; None where it has not."""

    def told(self, numbers: Sequence[int]) -> list[str]:
        """A line for each of these, which have just ended; tables are kept up with them."""


class Watch:
    """Looks at the jobs' directories from a thread while this process waits for a launcher.

    Args:
        jobs: all of them.
        todo: those that are to be done.

    Raises:
        WriteError: on exit; the tables could not be kept up.
    """

    def __init__(self, jobs: Jobs, todo: list[int]) -> None:
        self._jobs, self._todo = jobs, todo
        self._left, self._started = list(todo), time.perf_counter()
        self._fault: BtgmError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        n = len(jobs)
        self._bar = tqdm(
            total=n,
            initial=n - len(todo),
            desc="jobs",
            unit="job",
            dynamic_ncols=True,
            disable=None,
        )

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None and self._fault is None:
            self._look()
        self._bar.close()
        if error is None and self._fault is not None:
            raise self._fault

    def _watch(self) -> None:
        while self._fault is None and not self._over.wait(EVERY):
            try:
                self._look()
            except BtgmError as fault:
                self._fault = fault

    def _look(self) -> None:
        """Tell what has come to an end, and which are at work."""
        ended = [k for k in self._left if self._jobs.has_ended(k)]
        for number in ended:
            self._left.remove(number)
        if ended:
            for line in self._jobs.told(ended):
                self._bar.update()
                self._bar.write(f"{line}{self._time_left()}")

    def _time_left(self) -> str:
        """By the pace so far."""
        done = len(self._todo) - len(self._left)
        if not self._left:
            return ""
        seconds = (time.perf_counter() - self._started) / done * len(self._left)
        return f" ({len(self._left)} left: some {duration(seconds)})"
