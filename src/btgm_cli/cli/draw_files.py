"""The files that draws are written to: whole ones, numbered where there are several."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from btgm_cli.cli.draw_parts import WHOLE, DrawParts, Shard, fields_of, read_part
from btgm_cli.core.errors import SettingError
from btgm_cli.report import draw_draws
from btgm_cli.store.files import remove_leftovers_of, replacing, require_room, require_writable
from btgm_cli.truth.tally import Tally

BYTES_PER_FILE = 200_000_000
"""About; more draws go to the next file."""

SHOWN = 64
"""Draws in the picture."""

BYTES_PER_PART, MOST_PER_PART = 64_000_000, 100_000
"""What a kill may cost, and what is held in memory. Each part has a generator of its own."""


class DrawFiles:
    """The files that draws go to, once all their parts are there.

    Args:
        path: a .npz or .parquet file; several get a number in their names.
        n: draws to come.
        shape: of one x.
        shard: of these draws; the others are other files'.

    Attributes:
        n: draws of these files.
        first: number of their first part among those of all shards.

    Raises:
        SettingError: a name that cannot be used, or files in the way.
    """

    def __init__(self, path: Path, n: int, shape: tuple[int, ...], shard: Shard = WHOLE) -> None:
        self.path = path = shard.of(path)
        _check_format(path, shape)
        require_writable("out", path.parent)
        each = 4 * math.prod(shape) + 64
        per_file = max(1, BYTES_PER_FILE // each)
        per_part = min(
            per_file, MOST_PER_PART, max(1, BYTES_PER_PART // each), -(-n // shard.count)
        )
        # The parts, and the files made of them.
        require_room("n", n, 2 * (n // shard.count) * each, path.parent)
        sizes = _sizes(n, per_part)
        chosen = shard.chosen(len(sizes))
        self.parts_each, self.first = per_file // per_part, chosen.start
        self.parts = DrawParts(path, [sizes[k] for k in chosen])
        self.n = sum(self.parts.sizes)
        self._require_free()

    def beside(self, suffix: str) -> Path:
        """A file of the same name with another suffix."""
        return self.path.with_suffix(suffix)

    @property
    def names(self) -> list[Path]:
        """The files, in order."""
        count = -(-len(self.parts.sizes) // self.parts_each)
        if count == 1:
            return [self.path]
        return [self.path.with_stem(f"{self.path.stem}-{index:05d}") for index in range(count)]

    def write(self) -> None:
        """Put the parts together."""
        for index, name in enumerate(self.names):
            chosen = slice(index * self.parts_each, (index + 1) * self.parts_each)
            sizes, parts = self.parts.sizes[chosen], self.parts.files[chosen]
            with replacing(name) as temporary:
                if name.suffix == ".npz":
                    _write_npz(temporary, parts, sum(sizes))
                else:
                    _write_parquet(temporary, parts)

    def tally(self) -> Tally:
        """How often each draw is among the parts, and the mean of f."""
        tally = Tally()
        for part in self.parts.files:
            tally.add(read_part(part, "z"), read_part(part, "f"))
        return tally

    def picture(self, heading: str) -> None:
        """Draw the first of them."""
        first = read_part(self.parts.files[0], "x")[:SHOWN]
        draw_draws(first.astype(np.float32), heading, self.beside(".png"))

    def tell(self) -> None:
        """Name the files on the terminal."""
        print("\n".join(str(path) for path in [*self.names, self.beside(".png")]))

    def remove_leftovers(self) -> None:
        """Remove what a kill left half-written, by the process that holds the parts."""
        for path in self._all:
            remove_leftovers_of(path)

    @property
    def _all(self) -> list[Path]:
        """All that is written, what is written last at the end."""
        return [*self.names, self.beside(".png"), self.beside(".json")]

    def _require_free(self) -> None:
        """Refuse files that are in the way, unless a call for them did not end."""
        begun = self.parts.are_there
        if begun and all(path.exists() for path in self._all):  # killed amid the tidying up
            self.parts.remove()
            begun = False
        for path in self._all:
            if path.exists() and not begun:
                expected = "exists already; choose another with out=FILE, or remove it"
                raise SettingError("out", str(path), expected)


def _sizes(n: int, each: int) -> list[int]:
    return [each] * (n // each) + [n % each] * (n % each > 0)


def _check_format(path: Path, shape: tuple[int, ...]) -> None:
    if path.suffix not in (".npz", ".parquet"):
        raise SettingError("out", str(path), "must end in .npz or .parquet")
    if path.suffix == ".parquet":
        if len(shape) != 1:
            raise SettingError("out", str(path), "Parquet holds vectors; choose .npz for images")
        if find_spec("pyarrow") is None:
            raise SettingError("out", str(path), "needs pyarrow: pip install 'btgm[parquet]'")


def _write_npz(path: Path, parts: Sequence[Path], n: int) -> None:
    """What `np.savez` would write of n draws, with one field of one part in memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in fields_of(parts[0]):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                for index, part in enumerate(parts):
                    array = np.ascontiguousarray(read_part(part, name))
                    if index == 0:
                        header = np.lib.format.header_data_from_array_1_0(array)
                        header["shape"] = (n, *array.shape[1:])
                        np.lib.format.write_array_header_1_0(file, header)
                    file.write(array.tobytes())


def _write_parquet(path: Path, parts: Sequence[Path]) -> None:
    """One row group for each part."""
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    tables = (pyarrow.Table.from_pandas(frame, preserve_index=False) for frame in _frames(parts))
    first = next(tables)
    with parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _frames(parts: Sequence[Path]) -> Iterator[pd.DataFrame]:
    """Each part as a table of vectors' coordinates and numbers."""
    for part in parts:
        arrays: dict[str, Any] = {name: read_part(part, name) for name in fields_of(part)}
        columns = {
            f"{name}{k}": arrays[name][:, k] for name in "xz" for k in range(arrays[name].shape[1])
        }
        numbers = {name: array for name, array in arrays.items() if name not in ("x", "z")}
        yield pd.DataFrame(columns | numbers)
