"""What fits into memory, asked before the work; what did not is told by the setting behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from btgm_cli.core.blame import is_full
from btgm_cli.core.errors import SettingError

FLOAT = 4
"""Bytes."""


def available(device: torch.device | str = "cpu") -> float:
    """Bytes that could be had now on this device; infinite where nobody can tell."""
    if torch.device(device).type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    known = [float("inf")]
    with suppress(OSError, ValueError, AttributeError):
        known.append(float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    with suppress(OSError, ValueError, StopIteration):  # Linux alone knows what caches would free
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
        known.append(1024.0 * int(free))
    with suppress(OSError, ValueError):  # of a container; "max" where there is none
        known.append(float(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(known)


def require_memory(
    setting: str, value: object, floats: float, device: torch.device | str = "cpu"
) -> None:
    """Refuse a value for which not even the least that it needs is there.

    Args:
        setting: its name.
        value: what it is.
        floats: numbers of 4 bytes held at once, at least.
        device: where.

    Raises:
        SettingError: says how much is needed, and how much there is.
    """
    needed, free = FLOAT * floats, available(device)
    if needed > free:
        expected = f"needs {needed / 1e9:,.0f} GB of memory or more, and {free / 1e9:,.0f} GB are "
        raise SettingError(setting, value, f"{expected}free; give less")


@contextmanager
def sparing(counts: Mapping[str, float]) -> Iterator[None]:
    """Tell a want of memory in the block as one of the largest of these counts.

    Args:
        counts: how many things are held at once, by the settings that say so.

    Raises:
        SettingError: memory was not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_full(error):
            raise
        name = max(counts, key=lambda key: counts[key])
        expected = "memory was not enough for so many; give less"
        raise SettingError(name, counts[name], expected) from error
