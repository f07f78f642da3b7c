"""Raw meter readings from CSV and Parquet files, in pieces that fit in memory.

Two forms are known: the publisher's of *SmartMeter Energy Consumption Data in London Households*
(`LCLid,tstp,energy(kWh/hh)`; its time stamps are UTC) and `household,timestamp,kWh` or `kW`, whose
stamps are local time unless they tell an offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from btgm_cli.core.errors import DataError, SettingError

CHUNK_ROWS = 500_000
OFFSET = r"(?:[zZ]|[+-]\d\d:?\d\d)\s*$"


@dataclass(frozen=True)
class Form:
    """What the columns of a file are called, and what they hold.

    Attributes:
        household: Column of the household's name.
        stamp: Column of the time stamps, the start of each reading's step.
        value: Column of the readings.
        is_energy: The readings are kWh of the step; else mean kW.
        utc: Stamps without an offset are UTC; else local time.
        published: The form of the London data, which must be credited.
    """

    household: str
    stamp: str
    value: str
    is_energy: bool = True
    utc: bool = False
    published: bool = False


FORMS = (
    Form("LCLid", "tstp", "energy(kWh/hh)", utc=True, published=True),
    Form("household", "timestamp", "kWh"),
    Form("household", "timestamp", "kW", is_energy=False),
)


@dataclass(frozen=True)
class Piece:
    """Some rows of a file, with the line of each as index.

    Attributes:
        path: The file.
        form: Its form.
        rows: Columns `household`, `stamp`, `value` and its `text`; the index is the line in a CSV
            file, the row (from 1) in a Parquet file.
    """

    path: Path
    form: Form
    rows: pd.DataFrame

    def local(self, timezone: str) -> pd.Series[pd.Timestamp]:
        """Local time of each row without its offset; NaT where the stamp cannot be read."""
        stamp = self.rows["stamp"]
        told = stamp.str.contains(OFFSET, na=False) | self.form.utc
        moment = pd.to_datetime(stamp.where(told), errors="coerce", format="ISO8601", utc=True)
        plain = pd.to_datetime(stamp.where(~told), errors="coerce", format="ISO8601")
        return moment.dt.tz_convert(timezone).dt.tz_localize(None).fillna(plain)


def read_pieces(files: Sequence[Path]) -> Iterator[Piece]:
    """All rows of `files`, a piece at a time.

    Raises:
        DataError: A file is missing, cannot be read, or has none of the known forms.
        SettingError: A Parquet file without pyarrow.
    """
    for path in files:
        if not path.is_file():
            raise DataError(path, "not found")
        try:
            yield from _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
        except (OSError, ValueError) as error:  # among them all that pandas and pyarrow raise
            fault = str(error).strip().replace("\n", " ")
            raise DataError(path, f"cannot be read ({fault})") from error


def _read_csv(path: Path) -> Iterator[Piece]:
    chunks = pd.read_csv(
        path, dtype=str, chunksize=CHUNK_ROWS, skip_blank_lines=False, keep_default_na=False
    )
    with chunks:
        for chunk in chunks:
            yield _piece(path, chunk, first=int(chunk.index[0]) + 2 if len(chunk) else 2)


def _read_parquet(path: Path) -> Iterator[Piece]:
    if find_spec("pyarrow") is None:
        raise SettingError("--input", str(path), "needs pyarrow: pip install 'btgm[parquet]'")
    table = pd.read_parquet(path)
    for first in range(0, len(table), CHUNK_ROWS):
        yield _piece(path, table.iloc[first : first + CHUNK_ROWS], first + 1)


def _piece(path: Path, chunk: pd.DataFrame, first: int) -> Piece:
    columns = [str(name).strip() for name in chunk.columns]
    chunk = chunk.set_axis(columns, axis=1)
    fits = [form for form in FORMS if {form.household, form.stamp, form.value} <= set(columns)]
    if len(fits) != 1:
        known = " or ".join(f"{f.household},{f.stamp},{f.value}" for f in FORMS)
        raise DataError(path, f"has the columns {','.join(columns)}; expected just one of {known}")
    (form,) = fits
    rows = pd.DataFrame(
        {
            "household": chunk[form.household].astype(str).str.strip(),
            "stamp": chunk[form.stamp].astype(str).str.strip(),
            "value": pd.to_numeric(chunk[form.value], errors="coerce"),
            "text": chunk[form.value].astype(str),
        }
    )
    rows.index = pd.RangeIndex(first, first + len(rows))
    return Piece(path, form, rows)
