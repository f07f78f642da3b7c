"""JSON that says its own format and hash, so that what was changed or cut is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from btgm_cli.core.errors import DataError
from btgm_cli.store.files import write_json

SEAL = "sha256"
RESTORE = "put it back, or run again in another directory"


def write_sealed_json(file: Path, content: dict[str, Any]) -> None:
    """Write what `read_sealed_json` reads; `content` has a `format`."""
    write_json(file, content | {SEAL: _seal(content)})


def read_sealed_json(file: Path, version: int) -> dict[str, Any]:
    """What was written, without its seal.

    Args:
        file: what to read.
        version: the format that the caller knows.

    Raises:
        DataError: the file is damaged, or of another format.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != version:
            raise DataError(
                file, f"has format {found['format']}; this btgm reads format {version}"
            )
        seal = found.pop(SEAL)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(file, f"is damaged ({type(error).__name__})") from error
    if _seal(found) != seal:
        raise DataError(file, f"is not as it was written; {RESTORE}")
    return found


def _seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of the content, in its order."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
