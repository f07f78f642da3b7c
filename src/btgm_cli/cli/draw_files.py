"""The files that draws are written to: whole ones, numbered where there are several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.store.files import replacing, require_writable
from btgm_cli.tuned.correction import Draws

BYTES_PER_FILE = 200_000_000
"""About; more draws go to the next file."""


class DrawFiles:
    """The files that draws go to, each written whole once it is full.

    Args:
        path: a .npz or .parquet file; several get a number in their names.
        n: draws to come.
        shape: of one x.

    Raises:
        SettingError: a name that cannot be used, or files in the way.
    """

    def __init__(self, path: Path, n: int, shape: tuple[int, ...]) -> None:
        self.path = path
        _check_format(path, shape)
        require_writable("out", path.parent)
        per_file = max(1, BYTES_PER_FILE // (4 * math.prod(shape) + 64))
        self.per_file = min(n, per_file)
        self.count = -(-n // self.per_file)
        self.written: list[Path] = []
        self._blocks: list[Draws] = []
        self._held = 0
        for name in [*map(self._name, range(self.count)), self.beside(".png")]:
            if name.exists():
                expected = "exists already; choose another with out=FILE"
                raise SettingError("out", str(name), expected)

    def beside(self, suffix: str) -> Path:
        """A file of the same name with another suffix."""
        return self.path.with_suffix(suffix)

    def add(self, draws: Draws) -> None:
        """Take in draws; writes a file when enough are held."""
        while len(draws):
            room = self.per_file - self._held
            self._blocks.append(draws.at(torch.arange(min(room, len(draws)))))
            self._held += len(self._blocks[-1])
            draws = draws.at(torch.arange(len(self._blocks[-1]), len(draws)))
            if self._held == self.per_file:
                self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if not self._blocks:
            return
        path = self._name(len(self.written))
        draws = joined(self._blocks)
        self._blocks, self._held = [], 0
        with replacing(path) as temporary:
            _write(temporary, draws)
        self.written.append(path)

    def _name(self, index: int) -> Path:
        if self.count == 1:
            return self.path
        return self.path.with_stem(f"{self.path.stem}-{index:05d}")


def joined(parts: Sequence[Draws]) -> Draws:
    """The draws of all parts, in order."""
    names = [field.name for field in fields(Draws)]
    return Draws(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _check_format(path: Path, shape: tuple[int, ...]) -> None:
    if path.suffix not in (".npz", ".parquet"):
        raise SettingError("out", str(path), "must end in .npz or .parquet")
    if path.suffix == ".parquet":
        if len(shape) != 1:
            raise SettingError("out", str(path), "Parquet holds vectors; choose .npz for images")
        if find_spec("pyarrow") is None:
            raise SettingError("out", str(path), "needs pyarrow: pip install 'btgm[parquet]'")


def _write(path: Path, draws: Draws) -> None:
    arrays = {field.name: getattr(draws, field.name).cpu().numpy() for field in fields(Draws)}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    columns = {
        f"{name}{k}": arrays[name][:, k] for name in "xz" for k in range(arrays[name].shape[1])
    }
    columns |= {name: arrays[name] for name in ("log_q", "log_weight", "f")}
    pd.DataFrame(columns).to_parquet(path)
