"""`btgm status DIR`: how far the jobs of a sweep are."""

from __future__ import annotations

from collections import Counter

from btgm_cli.cli.sweep_folders import sweeps_named
from btgm_cli.store.sweeps import table_of

USAGE = """usage: btgm status DIR [DIR ...]

Tells of each job of a sweep how far it is, how it ended, and what it cost; writes nothing."""


def main(argv: list[str]) -> int:
    """Tell how far one or more sweeps are.

    Returns:
        0.

    Raises:
        SettingError: a folder without a sweep.
        DataError: a damaged plan of a sweep.
    """
    if argv in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    for path, jobs in sweeps_named("status", argv).items():
        index, _ = table_of(path, jobs)
        counts = Counter(str(state) for state in index["state"])
        print(f"{path}: " + ", ".join(f"{n} {state}" for state, n in counts.items()))
        for row in index.to_dict("records"):
            told = [row["folder"], row["state"], row["status"], row["message"]]
            print("  " + ": ".join(str(word) for word in told if word))
    return 0
