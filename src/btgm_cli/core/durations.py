"""Times as a person says them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """In the unit that leaves two or three digits."""
    for unit, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        if seconds < 100 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:.2g} d"
