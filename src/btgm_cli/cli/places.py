"""Where a command writes that was told no `out=`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path


def dated(*names: str) -> Path:
    """`outputs/NAMES/NOW`, to the microsecond, so that no two calls share it."""
    return Path("outputs", *names, f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
