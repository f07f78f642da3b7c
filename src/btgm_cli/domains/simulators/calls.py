"""Calling a simulator: a function here, or processes, with a time limit for each call."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getsourcefile
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from btgm_cli.core.blame import told
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.simulators import worker
from btgm_cli.domains.simulators.commands import CallError, Command

FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
WORKER = Path(worker.__file__)


@dataclass(frozen=True)
class Point:
    """One call: θ by name, how many units, and the seed of their noise."""

    theta: dict[str, float]
    n: int
    seed: int


class Caller(Protocol):
    """Whoever can call a simulator."""

    def each(self, points: Sequence[Point]) -> Iterator[Any]:
        """What each call gave, in order: data, or the `CallError` that says why there are none."""
        ...


def own_function(text: str, setting: str) -> Callable[..., Any]:
    """The function that `module:function` names, in the working directory or installed.

    Raises:
        SettingError: there is none.
    """
    if not FUNCTION.fullmatch(text):
        raise SettingError(setting, text, "must be a function, as module:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function = worker.found(text)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SettingError(setting, text, f"cannot be found ({told(error)})") from error
    if not callable(function):
        raise SettingError(setting, text, "is no function")
    return function


def source_of(text: str) -> str:
    """SHA-256 of the file with a function, or of the file that a command begins with."""
    words = shlex.split(text)
    if FUNCTION.fullmatch(text):
        files = [getsourcefile(worker.found(text))]
    else:
        files = [word for word in words if Path(word).is_file()]
    content = b"".join(Path(file).read_bytes() for file in files if file)
    return hashlib.sha256(text.encode() + b"\0" + content).hexdigest()


def caller_of(text: str, processes: int, seconds: float, setting: str) -> Caller:
    """Who calls the simulator of this text.

    Args:
        text: `module:function`, or a command line.
        processes: side by side; 0 calls a function in this process.
        seconds: that a call may take.
        setting: that gave the text.

    Raises:
        SettingError: there is no such function or command.
    """
    if FUNCTION.fullmatch(text):
        function = own_function(text, setting)
        if not processes:
            return Here(function, seconds)
        words = [sys.executable, str(WORKER), text, str(Path.cwd()), *filter(None, sys.path)]
        return There(words, processes, seconds)
    words = shlex.split(text)
    if not words:
        raise SettingError(setting, text, "must be module:function, or a command")
    return There(words, max(processes, 1), seconds)


class Here:
    """Calls in this process, each ended by an alarm where it takes too long.

    An alarm needs the main thread and a call that Python can interrupt; `processes=1` needs
    neither.

    Args:
        function: of the user's.
        seconds: that a call may take.
    """

    def __init__(self, function: Callable[..., Any], seconds: float) -> None:
        self.function, self.seconds = function, seconds

    def each(self, points: Sequence[Point]) -> Iterator[Any]:
        """What each call gave."""
        for point in points:
            try:
                with _alarm(self.seconds):
                    yield worker.units(self.function, point.theta, point.n, point.seed)
            except CallError as error:
                yield error
            except (Exception, SystemExit) as error:  # a user's code may raise anything
                yield CallError(told(error))


class There:
    """Calls in processes, some side by side.

    Args:
        words: the command and its arguments.
        processes: how many.
        seconds: that a call may take.
    """

    def __init__(self, words: Sequence[str], processes: int, seconds: float) -> None:
        self.words, self.processes, self.seconds = words, processes, seconds

    def each(self, points: Sequence[Point]) -> Iterator[Any]:
        """What each call gave."""
        free: SimpleQueue[Command] = SimpleQueue()
        commands = [Command(self.words, self.seconds) for _ in range(self.processes)]
        for command in commands:
            free.put(command)

        def ask(point: Point) -> Any:
            command = free.get()
            try:
                return command.ask(point.theta, point.n, point.seed)
            except CallError as error:
                return error
            finally:
                free.put(command)

        try:
            with ThreadPoolExecutor(self.processes) as pool:
                yield from pool.map(ask, points)
        finally:
            for command in commands:
                command.close()


def as_units(x: Any, n: int) -> NDArray[np.float64] | str:
    """Data as an array (n, C) of finite numbers, or what is wrong with them."""
    try:
        found = np.asarray(x, dtype=float)
    except (TypeError, ValueError):
        return f"gave no table of numbers but {type(x).__name__}"
    if found.ndim == 1 and n == 1:
        found = found[None]
    if found.ndim != 2 or len(found) != n or not found.shape[1]:
        return f"gave data of shape {found.shape} in place of ({n}, columns)"
    return found


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """End what takes longer, by an error; in another thread than the main one, let it go on."""
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield
        return

    def late(*_: object) -> NoReturn:
        raise CallError(f"gave no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
