"""What a run directory belongs to, and what each of its rows was made with.

`manifest.json` is the first file of a run. A directory without one holds no run; one that has it
holds the run of these settings and no other's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.store.files import file_hash
from btgm_cli.store.sealed import RESTORE, read_sealed_json, write_sealed_json

MANIFEST, PARETO = "manifest.json", "pareto.csv"
FORMAT = 2
ABSENT = object()


@dataclass(frozen=True)
class Manifest:
    """The configuration that a run directory belongs to.

    Args:
        version: of btgm.
        model: the option that was chosen.
        criterion: likewise.
        settings: all of them, resolved, as plain data; threads and device as they were used.
        overrides: what was typed.
        checkpoints: SHA-256 of every checkpoint that the settings name, by setting.
        rows: for each row of `pareto.csv`, SHA-256 of the files that it was made with, by their
            paths in the directory, and of the row itself, by the table's. A kill may leave one
            more than there are rows.
        files: SHA-256 of what the end of the run made from the rows, by name; empty before.
        seconds: of wall time, over all sittings.
        format: of this file.
        folder: the working directory, where own modules and checkpoints lie; empty if unknown.
    """

    version: str
    model: str
    criterion: str
    settings: dict[str, Any]
    overrides: list[str]
    checkpoints: dict[str, str]
    rows: tuple[dict[str, str], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    format: int = FORMAT
    folder: str = ""

    def with_row(self, path: Path, index: int, files: list[Path], row_hash: str) -> Manifest:
        """The same, once row `index` has been made with these files of the directory `path`."""
        row = {file.relative_to(path).as_posix(): file_hash(file) for file in files}
        return replace(self, rows=(*self.rows[:index], row | {PARETO: row_hash}))

    def row_files(self, path: Path, index: int) -> list[Path]:
        """What row `index` of the directory `path` was made with.

        Raises:
            DataError: no such row was made.
        """
        if index >= len(self.rows):
            raise DataError(path / PARETO, f"row {index} is unknown to {MANIFEST}")
        return [path / name for name in self.rows[index] if name != PARETO]

    def require_row(self, path: Path, index: int, row_hash: str) -> None:
        """Refuse a row of `pareto.csv` that is not as it was made.

        Raises:
            DataError: names the row.
        """
        self.row_files(path, index)
        if self.rows[index].get(PARETO, row_hash) != row_hash:
            raise DataError(path / PARETO, f"row {index} is not as it was made; {RESTORE}")

    def require_rows(self, path: Path, n: int) -> None:
        """Refuse a `pareto.csv` of n rows where more were finished.

        Raises:
            DataError: names the table.
        """
        made = len(self.rows)
        if n < (made if self.files else made - 1):
            fault = f"has {n} rows, {MANIFEST} knows {made}; {RESTORE}"
            raise DataError(path / PARETO, fault if n else f"is missing or empty; {RESTORE}")

    def require_row_file(self, path: Path, index: int, file: Path) -> None:
        """Refuse a file that is not the one that row `index` was made with.

        Raises:
            DataError: names the file.
        """
        made = f"row {index} of {PARETO} was made with"
        content = self.rows[index][file.relative_to(path).as_posix()]
        if not file.is_file():
            raise DataError(file, f"is missing; {made} it")
        if _hash(file) != content:
            raise DataError(file, f"is not the file that {made}")

    def is_row_file(self, path: Path, index: int, file: Path, content: bytes) -> bool:
        """Would this content be that of the file that row `index` was made with?"""
        found = hashlib.sha256(content).hexdigest()
        return self.rows[index][file.relative_to(path).as_posix()] == found

    def require_file(self, file: Path) -> None:
        """Refuse what the end of the run made, if it is not as it was made.

        Raises:
            DataError: names the file, and how to make it again.
        """
        content = self.files.get(file.name)
        anew = f"btgm run resume={file.parent} makes it again"
        if content and not file.is_file():
            raise DataError(file, f"is missing; {anew}")
        if content and _hash(file) != content:
            raise DataError(file, f"is not as the run left it; {anew}")

    def knows(self, path: Path, index: int, file: Path) -> bool:
        """Was row `index` of the directory `path` made with this file?"""
        return file.relative_to(path).as_posix() in self.rows[index]

    def require_same(self, path: Path, asked: Manifest) -> None:
        """Refuse another configuration than that of the directory `path`.

        Raises:
            SettingError: names the first setting that differs.
        """
        found = first_difference(asked._identity(), self._identity())
        if found:
            name, value, own = found
            has = f"a run with {name}={own!r}" if own is not ABSENT else f"a run with no {name}"
            expected = f"{path} belongs to {has}; choose another directory"
            raise SettingError(name, None if value is ABSENT else value, expected)
        for name, content in self.checkpoints.items():
            if asked.checkpoints.get(name) != content:
                value = dict(_leaves(self.settings)).get(name)
                expected = f"this file has changed since the run in {path} began"
                raise SettingError(name, value, expected)

    def _identity(self) -> dict[str, Any]:
        choices = {"model": self.model, "criterion": self.criterion}
        return {"version": self.version, **choices, **dict(_leaves(self.settings))}


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of the directory `path`; None where no run has begun.

    Raises:
        SettingError: rows that no manifest accounts for.
        DataError: a damaged manifest, or one of another format.
    """
    file = path / MANIFEST
    if not file.is_file():
        if (path / PARETO).exists():
            text = f"has rows and no {MANIFEST} that says what made them; run it again elsewhere"
            raise SettingError("run directory", str(path), text)
        return None
    found = read_sealed_json(file, FORMAT)
    try:
        manifest = Manifest(**found | {"rows": tuple(found["rows"])})
    except (KeyError, TypeError) as error:
        raise DataError(file, f"is damaged ({type(error).__name__})") from error
    for name, hint in get_type_hints(Manifest).items():
        if not isinstance(getattr(manifest, name), get_origin(hint) or hint):
            raise DataError(file, f"is damaged ({name})")
    if not all(isinstance(row, dict) for row in manifest.rows):
        raise DataError(file, "is damaged (rows)")
    return manifest


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of the directory `path`, sealed by the hash of its own content."""
    write_sealed_json(path / MANIFEST, asdict(manifest))


def _hash(file: Path) -> str:
    try:
        return file_hash(file)
    except OSError as error:
        raise DataError(file, f"cannot be read ({error.strerror})") from error


def require_run(path: Path) -> Manifest:
    """The manifest of a directory that must have one.

    Raises:
        SettingError: no run has begun there.
        DataError: a damaged manifest.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise SettingError("run directory", str(path), f"holds no {MANIFEST}, so no run")
    return manifest


def require_free(path: Path, asked: Manifest) -> None:
    """Refuse a directory that another run, or this one, has begun in.

    Raises:
        SettingError: names the first setting that differs, or the way to go on.
    """
    there = read_manifest(path)
    if there is not None:
        there.require_same(path, asked)
        expected = f"already holds a run; choose another directory, or go on with resume={path}"
        raise SettingError("out", str(path), expected)


def claim(path: Path, asked: Manifest, *, resume: bool = False) -> Manifest:
    """Make `path` the directory of a configuration, or go on in it; the caller holds its lock.

    Returns:
        What stands there now.

    Raises:
        SettingError: the directory is another's, or there is nothing to go on with.
        DataError: a damaged manifest.
    """
    if resume:
        there = require_run(path)
        there.require_same(path, asked)
        return there
    require_free(path, asked)
    write_manifest(path, asked)
    return asked


def first_difference(
    asked: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """The first setting that differs, by its dotted name, with both values; `ABSENT` for none."""
    ours, theirs = dict(_leaves(asked)), dict(_leaves(own))
    for name in ours | theirs:
        value, other = ours.get(name, ABSENT), theirs.get(name, ABSENT)
        if value != other:
            return name, value, other
    return None


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting by its dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
