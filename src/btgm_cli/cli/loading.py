"""Models, criteria and finished runs by name, for Python: what the command line would use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from btgm_cli.cli.config import (
    build_criterion,
    build_object,
    compose_config,
    with_search_path,
)
from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import require_run
from btgm_cli.store.runs import read_run


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


def load_run(path: Path | str) -> LoadedRun:
    """Read a run directory that `btgm run` left.

    Raises:
        SettingError: there is no run at `path`.
        DataError: a damaged file.
    """
    path = Path(path)
    run, manifest = read_run(path), require_run(path)
    cfg = OmegaConf.create(manifest.settings)
    with_search_path([])  # a model of the user's own lies beside

    def build_model() -> GenerativeModel:
        manifest.require_same(
            path, replace(manifest, checkpoints=checkpoints_in(manifest.settings))
        )
        model: GenerativeModel = build_object(cfg.model, "model")
        return model

    def build_f(model: GenerativeModel) -> LatentCriterion:
        criterion = build_criterion(cfg, model)
        return LatentCriterion(model, criterion, cfg.tuning.f_samples, cfg.seed)

    return LoadedRun(run, manifest, build_model, build_f)


def _load(group: str, name: str, settings: dict[str, Any]) -> Any:
    node = compose_config("run", [f"{group}={name}"])[group]
    for key, value in settings.items():
        if key not in node:
            known = sorted(str(k) for k in node if not str(k).startswith("_"))
            raise SettingError(f"{group}.{key}", value, f"unknown; choose from {', '.join(known)}")
        node[key] = value
    return build_object(node, group)
