"""What a bench is asked for: `KEY=VALUE` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from btgm_cli.core.errors import SettingError

PARTS = ("steps", "gan", "targets", "energy")
KEYS = ("parts", "seeds", "out", "quick")


@dataclass(frozen=True)
class Settings:
    """What to measure, how often and where to keep it.

    Args:
        parts: which tables.
        seeds: how many seeds, from 0.
        out: folder of the tables; quick ones go into its folder `quick`, lest they pass for full.
        quick: sizes so small that the figures mean nothing.
    """

    parts: tuple[str, ...] = PARTS
    seeds: int = 3
    out: Path = Path("outputs/bench")
    quick: bool = False

    @property
    def folder(self) -> Path:
        """Where the tables lie."""
        return self.out / "quick" if self.quick else self.out


def parse(argv: Sequence[str]) -> Settings:
    """Settings from `KEY=VALUE` arguments.

    Raises:
        SettingError: an unknown key, or a value that cannot be used.
    """
    given: dict[str, str] = {}
    for argument in argv:
        key, equals, value = argument.partition("=")
        if key not in KEYS or not equals:
            close = get_close_matches(key, KEYS, n=1)
            hint = f" (did you mean {close[0]}=…?)" if close else ""
            raise SettingError(key, value, f"unknown setting{hint}; choose from {', '.join(KEYS)}")
        given[key] = value
    default = Settings()
    return Settings(
        parts=_parts(given["parts"]) if "parts" in given else default.parts,
        seeds=_count(given["seeds"]) if "seeds" in given else default.seeds,
        out=_folder(given["out"]) if "out" in given else default.out,
        quick=_switch(given["quick"]) if "quick" in given else default.quick,
    )


def _parts(value: str) -> tuple[str, ...]:
    named = value.split(",")
    if not set(named) <= set(PARTS):
        raise SettingError("parts", value, f"must be a comma list of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in named)


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise SettingError("seeds", value, "must be a whole number, 1 or more")
    return int(value)


def _folder(value: str) -> Path:
    path = Path(value)
    if not value or any(part.exists() and not part.is_dir() for part in (path, *path.parents)):
        raise SettingError("out", value, "must be a folder, or a new one's name")
    return path


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise SettingError("quick", value, "must be true or false")
    return value == "true"
