"""Writing files so that a kill at any moment leaves the old file or the new one, never a half."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from btgm_cli.core.errors import BtgmError, DataError, SettingError, WriteError, reason_of

TEMPORARY = ".btgm-tmp-"
PAGE = 4096
"""Bytes; what a disk gives at least."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` if the block succeeds.

    The temporary name keeps the suffix of `path`, which writers such as matplotlib read as the
    format. On an exception the temporary file is removed and `path` stays as it was.

    Raises:
        WriteError: the system refuses, for lack of room or permission or whatever else.
    """
    try:
        with _temporary_beside(path) as temporary:
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
    except BtgmError:
        raise
    except Exception as error:  # each library has its own way to say that a disk is full
        code = reason_of(error)
        if code is None:
            raise
        raise WriteError(path, code) from error


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{TEMPORARY}{path.stem}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(setting: str, folder: Path) -> None:
    """Refuse a folder that cannot be written to, nor made: tried, and nothing is left of it.

    Raises:
        SettingError: names the setting, the place and the system's reason.
    """
    there = folder.absolute()
    try:
        while not _exists(there):
            there = there.parent
        if not there.is_dir():
            raise SettingError(setting, str(folder), "must be a folder, or a new one's name")
        with tempfile.TemporaryFile(prefix=TEMPORARY, dir=there) as file:
            file.write(bytes(PAGE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        told = str(WriteError(there, error.errno or 0))
        raise SettingError(setting, str(folder), told) from error


def require_room(setting: str, value: object, needed: float, folder: Path) -> None:
    """Refuse what the disk of a folder, which may be yet to be made, cannot hold.

    Args:
        setting: its name.
        value: what it is.
        needed: bytes.
        folder: where to write.

    Raises:
        SettingError: says how much is needed, and how much there is.
    """
    there = folder.absolute()
    while not _exists(there):
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        expected = f"needs {needed / 1e9:,.0f} GB in {folder}, and {free / 1e9:,.0f} GB are free"
        raise SettingError(setting, value, f"{expected}; give less, or choose another place")


def _exists(path: Path) -> bool:
    """An `OSError` where the system does not even look, as for a name that is too long."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove what kills left half-written in a folder that no other process writes to now."""
    for file in folder.glob(f"{TEMPORARY}*"):
        file.unlink(missing_ok=True)


def remove_leftovers_of(path: Path) -> None:
    """Remove what kills left half-written of a file that no other process writes now."""
    pattern = f"{re.escape(TEMPORARY + path.stem)}-\\w{{8}}{re.escape(path.suffix)}"
    for file in path.parent.glob(f"{TEMPORARY}*"):
        if re.fullmatch(pattern, file.name):
            file.unlink(missing_ok=True)


def require_free_of(folder: Path, names: Iterable[str], way_on: str = "") -> None:
    """Refuse to write over what is in the folder that `out` named.

    Args:
        folder: where to write.
        names: of the files to be written.
        way_on: what else to do than to choose another folder.

    Raises:
        SettingError: names the first file that is there.
    """
    for name in names:
        if (folder / name).exists():
            ways = f"{way_on}choose another folder, or remove it"
            raise SettingError("out", str(folder), f"already holds {name}; {ways}")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text`, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def npy_bytes(array: np.ndarray) -> bytes:
    """A `.npy` file's content; numpy's own way to a file does not tell why a disk is full."""
    held = BytesIO()
    np.save(held, array)
    return held.getvalue()


def write_sealed(path: Path, content: bytes) -> None:
    """Write bytes so that `read_sealed` finds out whether they are still the same, atomically."""
    write_bytes(path, content + hashlib.sha256(content).digest())


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote.

    Raises:
        DataError: the file is damaged, or cannot be read.
    """
    try:
        found = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    size = hashlib.sha256().digest_size
    if hashlib.sha256(found[:-size]).digest() != found[-size:]:
        raise DataError(path, "is damaged")
    return found[:-size]
