"""Writing files so that a kill at any moment leaves the old file or the new one, never a half."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from btgm_cli.core.errors import SettingError

TEMPORARY = ".btgm-tmp-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` if the block succeeds.

    The temporary name keeps the suffix of `path`, which writers such as matplotlib read as the
    format. On an exception the temporary file is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{TEMPORARY}{path.stem}-"
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
