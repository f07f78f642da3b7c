"""The journal of a run on disk: each β's flow, samples and row as soon as it is finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from btgm_cli.core.results import PathPoint, State
from btgm_cli.store.files import replacing
from btgm_cli.store.rows import result_of, row_of
from btgm_cli.store.runs import (
    FLOWS,
    PARETO,
    acceptance_file,
    flow_file,
    read_table,
    samples_file,
    write_table,
)
from btgm_cli.tuned.flows import save_flow


class RunJournal:
    """A `core.Journal` in a run directory.

    Args:
        path: the run directory.
        flow_settings: what builds the flow again, stored with its weights.
        draw: samples to show, an array (n, *X), of a finished point.
    """

    def __init__(
        self, path: Path, flow_settings: dict[str, Any], draw: Callable[[PathPoint], np.ndarray]
    ) -> None:
        self.path = path
        self.flow_settings = flow_settings
        self.draw = draw
        self._told: Callable[[PathPoint], None] = lambda point: None
        rows = read_table(path / PARETO).to_dict("records")
        self._points = [
            result_of(
                PathPoint,
                {str(name): value for name, value in row.items()},
                flow_state=load_file(flow_file(path, k)),
                acceptance_state=read_acceptance(path, k),
            )
            for k, row in enumerate(rows)
        ]

    def watch(self, told: Callable[[PathPoint], None]) -> None:
        """Call `told` with each point once it is on disk."""
        self._told = told

    def points(self) -> list[PathPoint]:
        """The finished points, in order."""
        return self._points

    def add_point(self, index: int, point: PathPoint) -> None:
        """Write the flow and the samples, then the row that declares the point finished."""
        with replacing(flow_file(self.path, index)) as temporary:
            save_flow(temporary, self.flow_settings, point.flow_state)
        if point.acceptance_state:
            with replacing(acceptance_file(self.path, index)) as temporary:
                save_file(point.acceptance_state, temporary)
        with replacing(samples_file(self.path, index)) as temporary:
            np.save(temporary, self.draw(point))
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

    @property
    def _training_file(self) -> Path:
        return self.path / FLOWS / "training.pt"


def read_acceptance(path: Path, index: int) -> State:
    """Weights of a row's learned acceptance; empty where there is none."""
    file = acceptance_file(path, index)
    return load_file(file) if file.is_file() else {}
