"""`python -m experiments.bench [parts=PARTS] [seeds=3] [out=outputs/bench] [quick=true]`.

PARTS is a comma list of startup, steps, gan, targets, energy, calibration, audit, corrected,
refine and sweeps; all of them where it is left out.

Each part fills a table of its own in the folder `out`. Rows that are there are not computed
again: delete a table to measure it anew.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from experiments.bench import (
    audit,
    calibration,
    corrected,
    energy,
    gan,
    refine,
    standard,
    startup,
    steps,
    sweeps,
)
from experiments.bench.settings import parse

from btgm_cli.core.errors import BtgmError


def main(argv: Sequence[str]) -> int:
    """Fill and print the tables.

    Returns:
        0, or 2 for a setting that cannot be used, or 130 after an interrupt.
    """
    if "-h" in argv or "--help" in argv:
        print(__doc__)
        return 0
    try:
        settings = parse(argv)
        print(machine(), flush=True)
        runs = {
            "startup": startup.run,
            "steps": steps.run,
            "gan": gan.run,
            "targets": standard.run,
            "energy": energy.run,
            "calibration": calibration.run,
            "audit": audit.run,
            "corrected": corrected.run,
            "refine": refine.run,
            "sweeps": sweeps.run,
        }
        for part in settings.chosen:
            runs[part](settings)
    except BtgmError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; the rows that were finished are kept", file=sys.stderr)
        return 130
    return 0


def machine() -> str:
    """What the figures of time hold for."""
    return f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    """The processor's model; Linux does not tell it by `platform`."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
