"""The journal of a run on disk: each β's flow, samples and row as soon as it is finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from btgm_cli.core.results import PathPoint, State
from btgm_cli.store.files import replacing
from btgm_cli.store.manifest import Manifest, write_manifest
from btgm_cli.store.rows import result_of, row_of
from btgm_cli.store.runs import (
    FLOWS,
    PARETO,
    acceptance_file,
    flow_file,
    paid_file,
    read_table,
    samples_file,
    write_table,
)
from btgm_cli.tuned.flows import save_flow


class RunJournal:
    """A `core.results.Journal` in a run directory.

    Args:
        path: the run directory, whose lock the caller holds.
        manifest: what stands there.
        flow_settings: what builds the flow again, stored with its weights.
        draw: samples to show, an array (n, *X), of a finished point.

    Raises:
        DataError: a row whose files are not those that it was made with.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        flow_settings: dict[str, Any],
        draw: Callable[[PathPoint], np.ndarray],
    ) -> None:
        self.path = path
        self._manifest = manifest
        self._started = time.perf_counter()
        self.flow_settings = flow_settings
        self.draw = draw
        self._told: Callable[[PathPoint], None] = lambda point: None
        rows = read_table(path / PARETO).to_dict("records")
        self._points = [self._read(k, row) for k, row in enumerate(rows)]

    @property
    def seconds(self) -> float:
        """Wall time of this sitting and of all before it."""
        return self._manifest.seconds + time.perf_counter() - self._started

    def watch(self, told: Callable[[PathPoint], None]) -> None:
        """Call `told` with each point once it is on disk."""
        self._told = told

    def points(self) -> list[PathPoint]:
        """The finished points, in order."""
        return self._points

    def add_point(self, index: int, point: PathPoint) -> None:
        """Write the flow and the samples, then the row that declares the point finished."""
        files = [flow_file(self.path, index)]
        with replacing(files[0]) as temporary:
            save_flow(temporary, self.flow_settings, point.flow_state)
        if point.acceptance_state:
            files.append(acceptance_file(self.path, index))
            with replacing(files[-1]) as temporary:
                save_file(point.acceptance_state, temporary)
        if point.paid:
            files.append(paid_file(self.path, index))
            with replacing(files[-1]) as temporary:
                save_file(point.paid, temporary)
        files.append(samples_file(self.path, index))
        with replacing(files[-1]) as temporary:
            np.save(temporary, self.draw(point))
        self._keep(self._manifest.with_row(self.path, index, files))
        self._points.append(point)
        write_table(self.path / PARETO, [row_of(point) for point in self._points])
        self._training_file.unlink(missing_ok=True)
        self._told(point)

    def training_state(self, index: int) -> dict[str, Any] | None:
        """The checkpoint of the point in flight, if it is this one."""
        if not self._training_file.is_file():
            return None
        state: dict[str, Any] = torch.load(self._training_file, weights_only=True)
        return state["training"] if state["index"] == index else None

    def save_training_state(self, index: int, state: dict[str, Any]) -> None:
        """Keep the checkpoint of the point in flight."""
        with replacing(self._training_file) as temporary:
            torch.save({"index": index, "training": state}, temporary)
        self.keep_seconds()

    def keep_seconds(self) -> None:
        """Keep the seconds until now, which later sittings add to."""
        self._keep(self._manifest)

    def _keep(self, manifest: Manifest) -> None:
        """Write what is known of the directory, and begin to count anew from here."""
        self._manifest = replace(manifest, seconds=self.seconds)
        self._started = time.perf_counter()
        write_manifest(self.path, self._manifest)

    def _read(self, index: int, row: dict[Any, Any]) -> PathPoint:
        """The point of a row, with the weights that it was made with."""
        self._manifest.require_row(self.path, index)
        return result_of(
            PathPoint,
            {str(name): value for name, value in row.items()},
            flow_state=load_file(flow_file(self.path, index)),
            acceptance_state=read_acceptance(self.path, self._manifest, index),
            paid=_read_if_known(paid_file(self.path, index), self.path, self._manifest, index),
        )

    @property
    def _training_file(self) -> Path:
        return self.path / FLOWS / "training.pt"


def read_acceptance(path: Path, manifest: Manifest, index: int) -> State:
    """Weights of a row's learned acceptance; empty for a row that was made without one."""
    return _read_if_known(acceptance_file(path, index), path, manifest, index)


def _read_if_known(file: Path, path: Path, manifest: Manifest, index: int) -> State:
    """What is in a file of a row; empty for a row that was made without it."""
    return load_file(file) if manifest.knows(path, index, file) else {}
