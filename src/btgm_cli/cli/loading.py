"""Models, criteria and finished runs by name, for Python: what the command line would use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.config import build_criterion, build_object, compose_config
from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.store.loaded import LoadedRun
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
    """
    run, cfg = read_run(path), read_run_config(Path(path))
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))

    def build_f(model: GenerativeModel) -> LatentCriterion:
        criterion = build_criterion(cfg, model)
        return LatentCriterion(model, criterion, cfg.tuning.f_samples, cfg.seed)

    return LoadedRun(run, config, lambda: build_object(cfg.model, "model"), build_f)


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
