"""`btgm collect DIR`: the rows of a sweep in one table, as far as its jobs are."""

from __future__ import annotations

from btgm_cli.cli.sweep_folders import sweeps_named
from btgm_cli.store.manifest import PARETO
from btgm_cli.store.sweeps import INDEX, collect

USAGE = f"""usage: btgm collect DIR [DIR ...]

Writes {PARETO}, all finished rows, and {INDEX}, a row a job, into the folder of a sweep. A
sweep does so itself after each job; here it is done for one that was killed."""


def main(argv: list[str]) -> int:
    """Collect the rows of one or more sweeps.

    Returns:
        0.

    Raises:
        SettingError: a folder without a sweep.
        DataError: a damaged plan of a sweep.
    """
    if argv in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    for path, jobs in sweeps_named("collect", argv).items():
        collect(path, jobs)
        print(f"{path / PARETO}\n{path / INDEX}")
    return 0
