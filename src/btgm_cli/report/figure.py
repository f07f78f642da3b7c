"""What one of the paper's figures is to the command that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from btgm_cli.store.loaded import LoadedRun


class PaperFigure(Protocol):
    """One of the paper's figures: what the `_target_` of `conf/figure/NAME.yaml` names.

    `claim` is what the paper says that it shows. The other entries of the YAML are its settings,
    beside `name`, which is NAME; with quick=true those under `quick` take their places.
    """

    def runs(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for, by the names of the runs."""
        ...

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Write NAME.md, the tables and the pictures into `out`, from the finished runs.

        Returns:
            What was written, pictures last.
        """
        ...


def path_of(betas: list[float] | None) -> list[str]:
    """What makes a run follow these β in place of its own target; nothing for None."""
    if betas is None:
        return []
    return ["target.rho=null", f"target.betas=[{','.join(map(repr, betas))}]"]
