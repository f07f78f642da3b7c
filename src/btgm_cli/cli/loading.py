"""Models, criteria and finished runs by name, for Python: what the command line would use."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.config import build_criterion, build_object, compose_config
from btgm_cli.core.contracts import Criterion, GenerativeModel, Summed
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.store.journal import read_acceptance
from btgm_cli.store.rows import numbers_of
from btgm_cli.store.runs import Run, flow_file, read_run
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import load_flow
from btgm_cli.tuned.model import TunedModel


def load_model(name: str, **settings: Any) -> GenerativeModel:
    """The model that `btgm run model=NAME` uses.

    Args:
        name: an option of the group `model`, see `btgm list`.
        settings: of its YAML, such as `latent_dim=4` for `gaussian`.
    """
    model: GenerativeModel = _load("model", name, settings)
    return model


def load_criterion(name: str, **settings: Any) -> Criterion:
    """The criterion that `btgm run criterion=NAME` uses.

    Args:
        name: an option of the group `criterion`, see `btgm list`.
        settings: of its YAML, such as `label=7` for `log_class`.
    """
    criterion: Criterion = _load("criterion", name, settings)
    return criterion


class LoadedRun:
    """A run directory with its tables and its tuned models.

    Args:
        run: the tables.
        cfg: the configuration that the run was started with.
    """

    def __init__(self, run: Run, cfg: DictConfig) -> None:
        self.run = run
        self.cfg = cfg
        self.pareto = run.pareto
        self.summary = run.summary

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
        model: GenerativeModel = build_object(self.cfg.model, "model")
        return model

    def f(self, beta: float | None = None) -> LatentCriterion:
        """What the run favoured at one β of `pareto`, by default the last, as a function of z.

        Raises:
            SettingError: the run has no such β.
        """
        weights = numbers_of(self.pareto["weights"].iloc[self.index(beta)])
        criterion = build_criterion(self.cfg, self.model)
        if weights and isinstance(criterion, Summed):
            criterion = criterion.weighted(weights)
        return LatentCriterion(self.model, criterion, self.cfg.tuning.f_samples, self.cfg.seed)

    def tuned(self, beta: float | None = None) -> TunedModel:
        """The tuned model at one β of `pareto`, by default the last.

        Raises:
            SettingError: the run has no such β.
        """
        index = self.index(beta)
        acceptance = read_acceptance(self.run.path, index)
        return TunedModel(
            self.model,
            load_flow(flow_file(self.run.path, index)),
            Acceptance.of(acceptance) if acceptance else None,
        )


def load_run(path: Path | str) -> LoadedRun:
    """Read a run directory that `btgm run` left.

    Raises:
        SettingError: there is no run at `path`.
    """
    return LoadedRun(read_run(path), read_run_config(Path(path)))


def read_run_config(path: Path) -> DictConfig:
    """The configuration that a run was started with.

    Raises:
        SettingError: there is none at `path`.
    """
    file = path / ".hydra" / "config.yaml"
    if not file.is_file():
        raise SettingError("run directory", str(path), "holds no .hydra/config.yaml")
    cfg = OmegaConf.load(file)
    assert isinstance(cfg, DictConfig)
    return cfg


def _load(group: str, name: str, settings: dict[str, Any]) -> Any:
    node = compose_config("run", [f"{group}={name}"])[group]
    for key, value in settings.items():
        if key not in node:
            known = sorted(str(k) for k in node if not str(k).startswith("_"))
            raise SettingError(f"{group}.{key}", value, f"unknown; choose from {', '.join(known)}")
        node[key] = value
    return build_object(node, group)
