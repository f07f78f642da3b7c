"""Part `startup`: how long a user waits for what is typed first, as whole processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from experiments.bench.settings import Settings
from experiments.bench.table import Table

COLUMNS = ("command", "min_seconds", "median_seconds")
COMMANDS = ("--help", "list", "run --help")
RUNS, QUICK_RUNS = 5, 1


def run(settings: Settings) -> None:
    """The table of all commands."""
    table = Table(settings.folder / "startup.csv", COLUMNS, key=1)
    for command in COMMANDS:
        if not table.has(command):
            seconds = [_seconds(command) for _ in range(QUICK_RUNS if settings.quick else RUNS)]
            times = {"min_seconds": min(seconds), "median_seconds": statistics.median(seconds)}
            table.add({"command": command} | times)
    table.show()


def _seconds(command: str) -> float:
    started = time.perf_counter()
    process = [sys.executable, "-m", "btgm_cli", *command.split()]
    subprocess.run(process, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
