"""One process at a time in a run directory."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from btgm_cli.core.errors import SettingError
from btgm_cli.store.files import write_json

LOCK, HOLDER = ".lock", ".lock.json"


class InUseError(SettingError):
    """Another process holds the folder."""


@contextmanager
def locked(path: Path, setting: str = "run directory") -> Iterator[None]:
    """Hold the folder `path`, which messages call by this setting; made if there is none.

    The kernel holds the lock and frees it when the process dies, however it does; who holds it
    stands in a file beside, for those who wait. What a dead process left there is overwritten.

    Raises:
        InUseError: another process holds it.
        SettingError: nobody can hold it.
    """
    lock = FileLock(path / LOCK, timeout=0)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        text = f"is in use by {_holder(path / HOLDER)}"
        raise InUseError(setting, str(path), text) from None
    except OSError as error:
        file = error.filename or path / LOCK
        text = f"cannot be held: {file} cannot be written ({error.strerror})"
        raise SettingError(setting, str(path), text) from error
    try:
        write_json(path / HOLDER, _identity())
        yield
    finally:
        (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Does a process hold the folder now? It is left as it is."""
    if not (path / LOCK).is_file():
        return False
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def names_holder(path: Path) -> bool:
    """Is a process at work there, or was it killed? Unlike of a lock, all file systems tell."""
    return (path / HOLDER).is_file()


def _identity() -> dict[str, str | int]:
    """This process, as the message to another one tells it."""
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": since,
        "command": shlex.join(sys.argv),
    }


def _holder(file: Path) -> str:
    """Who holds the lock; the file comes a moment after the lock."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        by = json.loads(file.read_text(encoding="utf-8"))
        return f"process {by['pid']} on {by['host']} since {by['since']} ({by['command']})"
    return "another process"
