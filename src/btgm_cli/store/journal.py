"""The journal of a run on disk: each β's flow, samples and row as soon as it is finished."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from btgm_cli.core.errors import DataError
from btgm_cli.core.results import PathPoint, State
from btgm_cli.store.files import (
    file_hash,
    npy_bytes,
    read_sealed,
    replacing,
    write_bytes,
    write_sealed,
)
from btgm_cli.store.manifest import MANIFEST, PARETO, Manifest, write_manifest
from btgm_cli.store.paid import PaidValues
from btgm_cli.store.rows import result_of, row_hash, row_of
from btgm_cli.store.runs import (
    FLOWS,
    WEIGHTS,
    acceptance_file,
    flow_file,
    paid_file,
    read_rows,
    samples_file,
)
from btgm_cli.store.tables import write_table
from btgm_cli.tuned.flows import save_flow


class RunJournal:
    """A `core.results.Journal` in a run directory.

    Args:
        path: the run directory, whose lock the caller holds.
        manifest: what stands there.
        flow_settings: what builds the flow again, stored with its weights.
        draw: samples to show, an array (n, *X), of a finished point.

    Attributes:
        warnings: what was damaged and is made again.

    What is damaged and can be made again is: samples of a row, to the bit, and a training from its
    start.

    Raises:
        DataError: a row that is not as it was made, or whose files are not.
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
        self.paid = PaidValues(path, manifest)
        self._told: Callable[[PathPoint], None] = lambda point: None
        self.warnings: list[str] = []
        rows = read_rows(path, manifest).to_dict("records")
        self._points = [self._read(k, row) for k, row in enumerate(rows)]
        self._training = self._read_training()

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
        write_bytes(files[-1], npy_bytes(self.draw(point)))
        content = row_hash(PathPoint, row_of(point), **WEIGHTS)
        self._keep(self._manifest.with_row(self.path, index, files, content))
        self._points.append(point)
        write_table(self.path / PARETO, [row_of(point) for point in self._points])
        self._training_file.unlink(missing_ok=True)
        self._told(point)

    def training_state(self, index: int) -> dict[str, Any] | None:
        """The checkpoint of the point in flight, if it is this one."""
        state: dict[str, Any] = self._training
        return state["training"] if state.get("index") == index else None

    def save_training_state(self, index: int, state: dict[str, Any]) -> None:
        """Keep the checkpoint of the point in flight."""
        held = io.BytesIO()
        torch.save({"index": index, "training": state}, held)
        write_sealed(self._training_file, held.getvalue())
        self.keep_seconds()

    def begin_tables(self) -> None:
        """Declare all that is made from the rows as unfinished."""
        self._keep(replace(self._manifest, files={}))

    def keep_tables(self) -> None:
        """Declare it finished: the tables, arrays and JSON files beside the manifest."""
        made = [*self.path.glob("*.csv"), *self.path.glob("*.npy"), *self.path.glob("*.json")]
        own = (MANIFEST, PARETO)
        names = sorted(file.name for file in made if file.name not in own and file.name[0] != ".")
        self._keep(
            replace(self._manifest, files={name: file_hash(self.path / name) for name in names})
        )

    def keep_seconds(self) -> None:
        """Keep the seconds until now, which later sittings add to."""
        self._keep(self._manifest)

    def finish(self) -> None:
        """Keep the seconds of the whole run, and no checkpoint of a point that is finished."""
        self._training_file.unlink(missing_ok=True)
        self.keep_seconds()

    def _keep(self, manifest: Manifest) -> None:
        """Write what is known of the directory, and begin to count anew from here."""
        self._manifest = replace(manifest, seconds=self.seconds)
        self._started = time.perf_counter()
        self.paid.flush()
        write_manifest(self.path, self._manifest)

    def _read(self, index: int, row: dict[Any, Any]) -> PathPoint:
        """The point of a row, with the weights that it was made with."""
        for file in self._manifest.row_files(self.path, index):
            if file != samples_file(self.path, index):
                self._manifest.require_row_file(self.path, index, file)
        point = result_of(
            PathPoint,
            {str(name): value for name, value in row.items()},
            flow_state=_weights(flow_file(self.path, index)),
            acceptance_state=read_acceptance(self.path, self._manifest, index),
            paid=_read_if_known(paid_file(self.path, index), self.path, self._manifest, index),
        )
        self._mend_samples(index, point)
        return point

    def _mend_samples(self, index: int, point: PathPoint) -> None:
        """Draw a row's samples again where they are damaged and come out as they were."""
        file = samples_file(self.path, index)
        try:
            self._manifest.require_row_file(self.path, index, file)
        except DataError as error:
            content = npy_bytes(self.draw(point))
            if not self._manifest.is_row_file(self.path, index, file, content):
                raise
            write_bytes(file, content)
            self.warnings.append(f"{error}; drawn again")

    def _read_training(self) -> dict[str, Any]:
        """The checkpoint of an interrupted training; empty where there is none of use."""
        if not self._training_file.is_file():
            return {}
        try:
            content = read_sealed(self._training_file)
        except DataError as error:
            self.warnings.append(f"{error}; this β is trained again from its start")
            return {}
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
        return state

    @property
    def _training_file(self) -> Path:
        return self.path / FLOWS / "training.pt"


def read_acceptance(path: Path, manifest: Manifest, index: int) -> State:
    """Weights of a row's learned acceptance; empty for a row that was made without one."""
    return _read_if_known(acceptance_file(path, index), path, manifest, index)


def _read_if_known(file: Path, path: Path, manifest: Manifest, index: int) -> State:
    """What is in a file of a row; empty for a row that was made without it."""
    return _weights(file) if manifest.knows(path, index, file) else {}


def _weights(file: Path) -> State:
    """Weights of a file that is known to be whole, or made by hand."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(file, f"is damaged ({error})") from error
