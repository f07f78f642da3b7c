"""Models, criteria and finished runs by name, for Python: what the command line would use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.config import build_criterion, build_object, compose_config
from btgm_cli.cli.own import found_again
from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import MANIFEST, PARETO, require_run
from btgm_cli.store.runs import no_rows


def load_model(name: str, **settings: Any) -> GenerativeModel:
    """The model that `btgm run model=NAME` uses.

    Args:
        name: an option of the group `model`, see `btgm list`.
        settings: of its YAML, such as `latent_dim=4` for `gaussian`.

    Raises:
        SettingError: there is no such model, or it has no such setting.

    Examples:
        >>> from btgm_cli import load_model
        >>> load_model("gaussian", latent_dim=4).latent_dim
        4
        >>> load_model("gaussian", dim=4)
        Traceback (most recent call last):
        btgm_cli.core.errors.SettingError: model.dim=4: unknown; choose from latent_dim
    """
    model: GenerativeModel = _load("model", name, settings)
    return model


def load_criterion(name: str, **settings: Any) -> Criterion:
    """The criterion that `btgm run criterion=NAME` uses.

    Args:
        name: an option of the group `criterion`, see `btgm list`.
        settings: of its YAML, such as `label=7` for `log_class`.

    Raises:
        SettingError: there is no such criterion, or it has no such setting.

    Examples:
        >>> import torch
        >>> from btgm_cli import load_criterion
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> load_criterion("quadratic", k=2.0)(x)  # −k|x|²/2
        tensor([-25.])
        >>> load_criterion("linear", direction=[0, 1])(x)
        tensor([4.])
    """
    criterion: Criterion = _load("criterion", name, settings)
    return criterion


def load_run(path: Path | str) -> LoadedRun:
    """Read a run directory that `btgm run` left.

    Raises:
        SettingError: there is no run at `path`.
        DataError: a damaged file.

    Examples:
        After `btgm run model=gaussian criterion=linear 'target.betas=[0,0.5]' out=shifted`:

        >>> import torch
        >>> from btgm_cli import load_run
        >>> run = load_run("shifted")
        >>> run.pareto["kl_ref"].tolist()  # the exact tilt's, β²/2
        [0.0, 0.125]
        >>> run.tuned(beta=0.5).sample(16, torch.Generator().manual_seed(0)).shape
        torch.Size([16, 8])
        >>> load_run("elsewhere")
        Traceback (most recent call last):
        btgm_cli.core.errors.SettingError: run directory='elsewhere': ...
    """
    path = Path(path)
    if not (path / PARETO).is_file() and not (path / MANIFEST).is_file():
        raise no_rows(path)
    manifest = require_run(path)

    def settings() -> DictConfig:
        found = found_again(manifest.settings, manifest.folder)
        now = replace(manifest, checkpoints=checkpoints_in(found))
        manifest.require_same(path, now)
        return OmegaConf.create(found)

    def build_model() -> GenerativeModel:
        model: GenerativeModel = build_object(settings().model, "model")
        return model

    def build_f(model: GenerativeModel) -> LatentCriterion:
        cfg = settings()
        criterion = build_criterion(cfg, model)
        return LatentCriterion(model, criterion, cfg.tuning.f_samples, cfg.seed)

    return LoadedRun(path, manifest, build_model, build_f)


def _load(group: str, name: str, settings: dict[str, Any]) -> Any:
    node = compose_config("run", [f"{group}={name}"])[group]
    for key, value in settings.items():
        known = sorted(str(k) for k in node if not str(k).startswith("_"))
        if key not in known:  # `in node` says no of what must be given
            raise SettingError(f"{group}.{key}", value, f"unknown; choose from {', '.join(known)}")
        node[key] = value
    return build_object(node, group)
