"""A finished run with its tables and its tuned models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from btgm_cli.core.contracts import GenerativeModel, Summed
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.viewed import weighted
from btgm_cli.core.views import View
from btgm_cli.store.journal import read_acceptance
from btgm_cli.store.manifest import Manifest
from btgm_cli.store.rows import numbers_of
from btgm_cli.store.runs import (
    REFERENCE,
    Run,
    acceptance_file,
    flow_file,
    no_rows,
    read_array,
    read_rows,
    read_run,
    read_summary,
)
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import load_flow
from btgm_cli.tuned.model import TunedModel


@dataclass(frozen=True)
class Kept:
    """Draws of the exact tilt that a run has left.

    Args:
        z: shape (m, D), float32.
        independent: how many independent draws they are worth.
    """

    z: NDArray[np.float32]
    independent: float


class LoadedRun:
    """A run directory with its tables and its tuned models.

    Args:
        path: the directory.
        manifest: the settings that the run was started with, and what its rows were made with.
        build_model: makes the frozen generator, when it is first asked for.
        build_f: makes f̂ of that model, as the run was started with it.

    Raises:
        SettingError: there is no finished β.
        DataError: a row or the summary is damaged.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        build_model: Callable[[], GenerativeModel],
        build_f: Callable[[GenerativeModel], LatentCriterion],
    ) -> None:
        self.path, self.manifest, self.config = path, manifest, manifest.settings
        self._build_model, self._build_f = build_model, build_f
        self.pareto = read_rows(path, manifest)
        self.summary = read_summary(path, manifest)
        if not len(self.pareto):
            raise no_rows(path)

    @cached_property
    def run(self) -> Run:
        """All tables, and the draws shown.

        Raises:
            DataError: a file that is missing, damaged or not as the run left it.
        """
        return read_run(self.path)

    def index(self, beta: float | None = None) -> int:
        """Which row of `pareto` has this β; by default the last.

        Raises:
            SettingError: the run has no such β.
        """
        betas = self.pareto["beta"].to_numpy()
        index = len(betas) - 1
        if beta is not None:
            index = int(np.argmin(np.abs(betas - beta)))
            if not np.isclose(betas[index], beta):
                listed = ", ".join(f"{value:g}" for value in betas)
                raise SettingError("beta", beta, f"this run has {listed}")
        return index

    @cached_property
    def model(self) -> GenerativeModel:
        """The frozen generator of the run."""
        return self._build_model()

    def f(self, beta: float | None = None) -> LatentCriterion:
        """What the run favoured at one β of `pareto`, by default the last, as a function of z.

        Raises:
            SettingError: the run has no such β.
        """
        weights = numbers_of(self.pareto["weights"].iloc[self.index(beta)])
        f = self._build_f(self.model)
        if weights and isinstance(f.criterion, Summed):
            return f.of(weighted(f.criterion, self._views, weights))
        return f

    @property
    def _views(self) -> tuple[View, ...]:
        """What the run was asked for by `target.views`; empty where it was not."""
        statements = self.config["target"].get("views") or ()
        return tuple(map(View.parsed, statements))

    def reference(self, index: int) -> Kept | None:
        """The draws of the exact tilt at a row of `pareto`: kept of the last, where it is known.

        Raises:
            DataError: they are damaged.
        """
        file, row = self.path / REFERENCE, self.pareto.iloc[index]
        if index != len(self.pareto) - 1 or not file.is_file():
            return None
        self.manifest.require_file(file)
        z = read_array(file)
        # Importance sampling keeps half of its draws for what q̂ may learn from.
        worth = float(row["ref_ess"]) / (2 if row["ref_method"] == "psis" else 1)
        return Kept(z, min(float(len(z)), worth))

    def tuned(self, beta: float | None = None) -> TunedModel:
        """The tuned model at one β of `pareto`, by default the last.

        Raises:
            SettingError: the run has no such β.
            DataError: a file that its row was made with is missing or another.
        """
        index = self.index(beta)
        flow = flow_file(self.path, index)
        for file in (flow, acceptance_file(self.path, index)):
            if self.manifest.knows(self.path, index, file):
                self.manifest.require_row_file(self.path, index, file)
        acceptance = read_acceptance(self.path, self.manifest, index)
        return TunedModel(
            self.model,
            load_flow(flow),
            Acceptance.of(acceptance) if acceptance else None,
        )
