"""The `btgm` command: one module a subcommand, each with `main(argv) -> exit code`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import btgm_cli
from btgm_cli.cli.signals import Stopped, stoppable
from btgm_cli.cli.streams import lost_output, patient_streams
from btgm_cli.core.blame import from_outside
from btgm_cli.core.errors import BtgmError, DataError, in_one_line, reason_of

COMMANDS = {
    "run": "tune a model towards a criterion",
    "rank": "compare criteria before a run, from draws of the model alone",
    "sample": "draw from a tuned model, corrected or not",
    "calibrate": "hold posteriors of simulated data against the truths behind them",
    "audit": "hold anyone's draws against the exact tilt",
    "free-energy": "free energies of a tuned model along a coordinate, or of two of them",
    "prob": "probabilities of f beyond thresholds, return periods and levels",
    "status": "tell how far the jobs of a sweep are",
    "collect": "put the rows of a sweep into one table",
    "report": "redraw the pictures of a run directory",
    "figure": "make one of the paper's figures",
    "list": "show the models and criteria",
    "train": "train a base model or classifier",
    "data": "fetch or build the data that training needs",
}

USAGE = "usage: btgm COMMAND [SETTING=VALUE ...]\n\n" + "\n".join(
    f"  {name:11} {text}" for name, text in COMMANDS.items()
)


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0 where all went well, 2 for a setting that cannot be used, 3 for a run whose target or
        a training whose gates were missed or for draws that fail an audit, 130 after an interrupt
        and 143 after SIGTERM.
    """
    argv = sys.argv[1:] if argv is None else argv
    patient_streams()
    # Before torch is imported: threads that spin while they wait take the cores from those that
    # work, and from other programs, and make two slower than one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if argv in (["--version"], ["-V"]):
        print(f"btgm {btgm_cli.__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n`btgm COMMAND --help` tells the settings of one.")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(
            f"btgm: {argv[0]!r} is no command; choose from {', '.join(COMMANDS)}", file=sys.stderr
        )
        return 2
    return _run(argv[0], argv[1:])


def _run(name: str, argv: list[str]) -> int:
    """The exit code of one subcommand; what ends it is told in a line."""
    with stoppable(name) as stopper:
        try:
            command = import_module(f"btgm_cli.cli.{name.replace('-', '_')}")
            stopper.working = True
            code: int = command.main(argv)
            if lost := lost_output():
                raise DataError("standard output", f"not all could be written ({lost})")
        except KeyboardInterrupt as stopped:
            notes = "".join(f": {note}" for note in getattr(stopped, "__notes__", ()))
            text = f"interrupted; what was finished is kept{notes}"
            code = stopped.exit_code if isinstance(stopped, Stopped) else 130
        except (Exception, SystemExit) as error:
            text = _line(error)
            if not text:  # a fault of this package's
                raise
            code = 2
        else:
            return code
    print(f"btgm {name}: {text}", file=sys.stderr)
    return code


def _line(error: BaseException) -> str:
    """An error in one line; empty where it is a fault of this package's."""
    if isinstance(error, BtgmError):
        return in_one_line(error)
    if isinstance(error, OSError) and reason_of(error) is not None:
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return from_outside(error)
