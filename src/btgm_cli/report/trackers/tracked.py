"""What any tracker is sent of a run: numbers by β, words, settings and pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from btgm_cli.core.errors import SettingError
from btgm_cli.report.style import column
from btgm_cli.store.manifest import require_run
from btgm_cli.store.runs import read_run


@dataclass(frozen=True)
class Tracked:
    """A finished run.

    Args:
        name: model, criterion and directory.
        rows: the finite numbers of each row of `pareto.csv`, β among them, by column.
        words: status, message, remedy and the like.
        settings: all of them, by their dotted names.
        pictures: PNG files.
    """

    name: str
    rows: list[dict[str, float]]
    words: dict[str, str]
    settings: dict[str, str]
    pictures: list[Path]


def tracked(path: Path) -> Tracked:
    """What the directory of a finished run has to tell.

    Raises:
        BtgmError: it holds no run, or a damaged one.
    """
    manifest, run = require_run(path), read_run(path)
    told = {name: value for name, value in run.summary.items() if isinstance(value, str | int)}
    hashes = {f"sha256 {name}": content for name, content in manifest.checkpoints.items()}
    return Tracked(
        f"{manifest.model} / {manifest.criterion} / {path.resolve().name}",
        [_finite(run.pareto.iloc[[k]]) for k in range(len(run.pareto))],
        {name: str(value) for name, value in told.items()} | hashes,
        dict(_leaves(manifest.settings, "")),
        sorted(path.glob("*.png")),
    )


def require_library(name: str, tracker: str) -> None:
    """Refuse a tracker whose library is not installed.

    Raises:
        SettingError: says how to install it.
    """
    if find_spec(name) is None:
        needs = f"needs {name}: pip install 'btgm[{tracker}]'"
        raise SettingError("tracker", tracker, needs)


def _finite(row: Any) -> dict[str, float]:
    numbers = row.select_dtypes("number")
    values = {str(name): float(column(numbers, name)[0]) for name in numbers}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, str(node)
