"""A table on disk that grows row by row, so that a bench that was killed goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from btgm_cli.core.errors import SettingError
from btgm_cli.store.tables import read_table, write_table


class Table:
    """The rows that are known so far, each on disk as soon as it is known.

    Args:
        path: of the CSV; its rows are taken as finished.
        columns: of every row.
        key: how many columns, the first ones, tell one row from another.

    Raises:
        SettingError: the file holds another table.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: int) -> None:
        self.path, self.columns, self._key = path, tuple(columns), key
        frame = read_table(path)
        if len(frame) and tuple(frame.columns) != self.columns:
            raise SettingError("out", str(path), "holds other columns; choose another folder")
        self.rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in frame.to_dict("records")
        ]

    def has(self, *key: object) -> bool:
        """Is the row with these first columns known?"""
        return [str(part) for part in key] in [self._key_of(row) for row in self.rows]

    def add(self, *rows: dict[str, Any]) -> None:
        """Keep rows, and tell that they are there; columns that they lack stay empty."""
        for row in rows:
            assert set(row) <= set(self.columns), f"no columns for {set(row) - set(self.columns)}"
        full = [{name: row.get(name) for name in self.columns} for row in rows]
        self.rows += full
        write_table(self.path, self.rows)
        for row in full:
            print(f"{self.path.stem}: {', '.join(self._key_of(row))}", flush=True)

    def frame(self) -> pd.DataFrame:
        """The rows as a frame."""
        return pd.DataFrame(self.rows, columns=list(self.columns))

    def show(self) -> None:
        """Print the table."""
        text = self.frame().to_string(index=False, float_format="{:.4g}".format, na_rep="")
        print(f"\n{self.path}\n{text}\n", flush=True)

    def _key_of(self, row: dict[str, Any]) -> list[str]:
        return [str(row[name]) for name in self.columns[: self._key]]
