"""Ctrl-C and SIGTERM as an exception, so that files are whole and locks are freed behind them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Stopper:
    """What a signal does to a command: ends it at once while it imports, stops its work later.

    An exception amid the imports of large libraries comes out of them as any other. A second
    signal ends the process without waiting for what the first one began.

    Args:
        command: as typed, for the message.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self.working = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if not self.working:
            os.write(2, f"btgm {self.command}: interrupted\n".encode())
            os._exit(128 + number)
        self.working = False
        raise Stopped(number)


@contextmanager
def stoppable(command: str) -> Iterator[Stopper]:
    """Handle both signals within; none but the main thread may, nor what the caller ignores."""
    stopper, before = Stopper(command), {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, stopper)
    try:
        yield stopper
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
