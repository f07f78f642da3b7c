"""`btgm sample DIR n=… shard=range(16) -m`: one draw in shards, by any of the engines of a sweep.

A shard is a run of the draw's parts, each of which has a generator of its own. So shards share no
randomness, and where the parts are full, their union is the whole draw to the bit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btgm_cli.cli.draw_parts import SHARDS, DrawParts, Shard
from btgm_cli.cli.engines import Engine, engine_settings, own_settings
from btgm_cli.cli.work import silence
from btgm_cli.core import blame
from btgm_cli.core.errors import BtgmError, SettingError, WriteError, in_one_line
from btgm_cli.store.lock import is_held
from btgm_cli.store.sweeps import FAILED, note_failure


@dataclass(frozen=True)
class ShardWork:
    """What a launcher runs: the shard of a number, in silence.

    Args:
        sample: `btgm sample` of a run directory; importable by its name.
        argv: its arguments, but for the shard.
        out: the file of the whole draw, absolute.
        count: of the shards.
    """

    sample: Callable[[Sequence[str]], int]
    argv: tuple[str, ...]
    out: Path
    count: int

    def __call__(self, cfg: Any) -> str:
        """Draw the shard, or note why not; see `work.Work`."""
        with silence():
            try:
                return self.draw(int(cfg.number))
            except WriteError as error:
                return in_one_line(error)

    def draw(self, number: int) -> str:
        """Draw a shard here.

        Returns:
            Nothing: why it failed is noted beside its parts.

        Raises:
            WriteError: there is no room.
        """
        shard = Shard(number, self.count)
        folder = DrawParts(shard.of(self.out), ()).folder
        try:
            self.sample([*self.argv, f"out={self.out}", f"shard={number}/{self.count}"])
            reason = None if shard.of(self.out).with_suffix(".json").is_file() else "no draws"
        except (Exception, SystemExit) as error:
            if isinstance(error, WriteError) and error.no_room:
                raise
            reason = in_one_line(error) if isinstance(error, BtgmError) else blame.told(error)
        if reason:
            note_failure(folder, reason)
        return ""


class Shards:
    """All shards of a draw, as `watch.Jobs`.

    Args:
        work: what draws one.
        threads: CPU threads of each.
    """

    def __init__(self, work: ShardWork, threads: int) -> None:
        self.work, self._threads = work, threads
        self.path = work.out.parent

    def __len__(self) -> int:
        """How many there are."""
        return self.work.count

    def threads_of(self, numbers: Sequence[int]) -> int:
        """CPU threads of a shard, the same for all."""
        return self._threads

    def unfinished(self) -> list[int]:
        """Those whose last file is not there, or whose parts still are."""
        return [k for k in range(len(self)) if not self._is_finished(k)]

    def run(self, numbers: Sequence[int]) -> None:
        """Draw these here, one after the other."""
        for number in numbers:
            print(f"\nshard {number} of {len(self)}", flush=True)
            self.note(number, None)
            self.work.draw(number)

    def has_begun(self, number: int) -> bool:
        """Are parts of it there?"""
        return self._parts(number).are_there

    def is_held(self, number: int) -> bool:
        """Is a process at it now?"""
        return is_held(self._parts(number).folder)

    def has_ended(self, number: int) -> bool:
        """Is it drawn, or has it failed?"""
        return self._is_finished(number) or self.reason(number) is not None

    def note(self, number: int, reason: str | None) -> None:
        """Keep why it failed; None where it has not."""
        note_failure(self._parts(number).folder, reason)

    def told(self, numbers: Sequence[int]) -> list[str]:
        """A line for each of these."""
        return [self._line(number) for number in numbers]

    def reason(self, number: int) -> str | None:
        """Why a shard failed, or what there is to doubt about it; None where it is well."""
        with suppress(OSError):
            return (self._parts(number).folder / FAILED).read_text(encoding="utf-8").strip()
        with suppress(OSError, ValueError):
            doubt: str = json.loads(self._about(number).read_text(encoding="utf-8"))["doubt"]
            return doubt or None
        return None

    def _line(self, number: int) -> str:
        reason = self.reason(number)
        return f"  {self._about(number).stem}: {reason or 'drawn'}"

    def _is_finished(self, number: int) -> bool:
        return self._about(number).is_file() and not self._parts(number).folder.exists()

    def _about(self, number: int) -> Path:
        return Shard(number, len(self)).of(self.work.out).with_suffix(".json")

    def _parts(self, number: int) -> DrawParts:
        return DrawParts(Shard(number, len(self)).of(self.work.out), ())


def count_of(text: str) -> int:
    """N of `range(N)`.

    Raises:
        SettingError: something else.
    """
    found = re.fullmatch(r"range\((?:0,\s*)?(\d+)\)", text)
    if not found or int(found[1]) < 1:
        raise SettingError("shard", text, SHARDS)
    return int(found[1])


def draw_all(
    argv: Sequence[str],
    plan: Callable[[Sequence[str], int], tuple[Path, int | None]],
    sample: Callable[[Sequence[str]], int],
) -> int:
    """Draw all shards; finished ones are left alone.

    Args:
        argv: as typed, without `-m`.
        plan: checks the arguments for so many shards; the file of the whole draw, and the
            threads that are asked for.
        sample: `btgm sample` of a run directory.

    Returns:
        0, 3 where the draws cannot be relied on, 2 where there are shards without draws.

    Raises:
        SettingError: an argument that cannot be used, or draws that are all there.
    """
    engine = Engine(engine_settings(argv))
    own = own_settings(argv)
    named = [item.removeprefix("shard=") for item in own if item.startswith("shard=")]
    if not named:
        raise SettingError("shard", "", f"{SHARDS}; -m draws shards")
    count = count_of(named[-1])
    own = [item for item in own if not item.startswith(("shard=", "out="))]
    out, threads = plan(argv, count)
    if threads is None and not engine.here:
        own.append("threads=1")
    shards = Shards(ShardWork(sample, tuple(own), out.absolute(), count), threads or 1)
    if not shards.unfinished():
        expected = "exists already; choose another with out=FILE, or remove it"
        raise SettingError("out", str(Shard(0, count).of(out)), expected)
    engine.run(shards)
    return _told(shards)


def _told(shards: Shards) -> int:
    """The exit code, once it is told what is wrong."""
    lines = {k: reason for k in range(len(shards)) if (reason := shards.reason(k))}
    failed = shards.unfinished()
    for number, reason in lines.items():
        print(f"btgm sample: shard {number}: {reason}", file=sys.stderr)
    print(f"{len(shards) - len(failed)} of {len(shards)} shards are drawn: {shards.path}")
    return 2 if failed else 3 if lines else 0
