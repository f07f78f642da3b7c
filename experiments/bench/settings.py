"""What a bench is asked for: `KEY=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from btgm_cli.cli.settings import arguments, checked, require_least
from btgm_cli.core.errors import SettingError
from btgm_cli.store.files import require_writable

PARTS = (
    "startup",
    "steps",
    "gan",
    "targets",
    "energy",
    "calibration",
    "audit",
    "corrected",
    "refine",
    "sweeps",
)


@dataclass(frozen=True)
class Settings:
    """What to measure, how often and where to keep it.

    Args:
        parts: which tables, a comma between them.
        seeds: how many seeds, from 0.
        out: folder of the tables; quick ones go into its folder `quick`, lest they pass for full.
        quick: sizes so small that the figures mean nothing.

    Raises:
        SettingError: a value that cannot be used.
    """

    parts: str = ",".join(PARTS)
    seeds: int = 3
    out: Path = Path("outputs/bench")
    quick: bool = False

    def __post_init__(self) -> None:
        if not set(self.parts.split(",")) <= set(PARTS):
            expected = f"must be a comma list of {', '.join(PARTS)}"
            raise SettingError("parts", self.parts, expected)
        require_least(self, seeds=1)
        require_writable("out", self.out)

    @property
    def chosen(self) -> list[str]:
        """The parts, in order."""
        return [part for part in PARTS if part in self.parts.split(",")]

    @property
    def folder(self) -> Path:
        """Where the tables lie."""
        return self.out / "quick" if self.quick else self.out


def parse(argv: Sequence[str]) -> Settings:
    """Settings from `KEY=VALUE` arguments.

    Raises:
        SettingError: an unknown key, or a value that cannot be used.
    """
    return checked(Settings, arguments(argv))
