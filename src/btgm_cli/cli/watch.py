"""What others do of a sweep: one display over all jobs, and the tables kept up with it."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from tqdm import tqdm

from btgm_cli.cli.sweep import Sweep
from btgm_cli.core.durations import duration
from btgm_cli.core.errors import BtgmError
from btgm_cli.store.lock import names_holder
from btgm_cli.store.sweeps import line_of

EVERY = 0.5
"""Seconds between two looks."""


class Watch:
    """Looks at the jobs' directories from a thread while this process waits for a launcher.

    Args:
        sweep: that is at work.
        todo: its jobs that are to be done.

    Raises:
        WriteError: on exit; the tables could not be kept up.
    """

    def __init__(self, sweep: Sweep, todo: list[int]) -> None:
        self._sweep, self._todo = sweep, todo
        self._left, self._started = list(todo), time.perf_counter()
        self._fault: BtgmError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        n = len(sweep.jobs)
        self._bar = tqdm(
            total=n,
            initial=n - len(todo),
            desc="sweep",
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
        ended = [k for k in self._left if self._sweep.has_ended(k)]
        for number in ended:
            self._left.remove(number)
        if ended:
            index = self._sweep.collect().to_dict("records")
            for number in ended:
                self._bar.update()
                self._bar.write(f"{line_of(index[number])}{self._time_left()}")
        at_work = sum(names_holder(self._sweep.folder(k)) for k in self._left)
        self._bar.set_postfix_str(f"{at_work} at work")

    def _time_left(self) -> str:
        """By the pace so far."""
        done = len(self._todo) - len(self._left)
        if not self._left:
            return ""
        seconds = (time.perf_counter() - self._started) / done * len(self._left)
        return f" ({len(self._left)} left: some {duration(seconds)})"
