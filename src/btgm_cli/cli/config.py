"""From `conf/` to objects: composing a configuration, checking it, and building what it names.

With `run`, the only place that handles configurations. Whatever is wrong with one comes out as one
`SettingError`, before any work starts.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from btgm_cli.cli.job import Job, Names, RunOptions, cpu_threads
from btgm_cli.cli.overrides import REFUSALS, fault, refuse_hydras
from btgm_cli.cli.settings import checked, unknown
from btgm_cli.cli.tree import conf_dir
from btgm_cli.core.contracts import Criterion, Export, GenerativeModel
from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.store.checkpoints import checkpoint_hash
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuning import Problem, Tuning

OBJECTS = ("model", "criterion", "flow")
SETTINGS = ("target", "tuning", "verdict")
TARGET_KEY = "_target_"


def search_path() -> list[str]:
    """The override that makes a user's YAMLs in the working directory, or its `conf/`, found."""
    here = Path.cwd()
    folders = [folder for folder in (here, here / "conf") if folder.is_dir()]
    listed = ",".join(f'"file://{folder}"' for folder in folders)
    return [f"hydra.searchpath=[{listed}]"]


def with_search_path(overrides: Sequence[str]) -> list[str]:
    """`overrides`, with the working directory searched unless they say where to search.

    Also lets a `_target_` name a module in the working directory, as under `python -m`.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if any(override.lstrip("+").startswith("hydra.searchpath") for override in overrides):
        return list(overrides)
    return [*overrides, *search_path()]


def compose_config(
    name: str, overrides: Sequence[str], *, root: Path | None = None, hydras: bool = False
) -> DictConfig:
    """Compose the primary configuration `name`, with Hydra's own node.

    Args:
        name: of the file in `root`.
        overrides: as typed.
        root: of the tree; by default `conf_dir()`.
        hydras: may the overrides change Hydra's own settings?

    Raises:
        SettingError: an override that names no setting, no choice, or cannot be parsed.
    """
    if not hydras:
        refuse_hydras(overrides)
    overrides = with_search_path(overrides)
    with initialize_config_dir(str(root or conf_dir()), version_base="1.3"):
        try:
            return compose(name, overrides=overrides, return_hydra_config=True)
        except REFUSALS as error:
            raise fault(name, overrides, error) from error


def values_of(cfg: DictConfig, *without: str) -> dict[str, Any]:
    """A node as plain data, without the keys that are others' or Hydra's.

    Raises:
        SettingError: an interpolation that leads nowhere.
    """
    kept = [str(key) for key in cfg if key not in ("hydra", *without)]
    try:
        plain = OmegaConf.to_container(OmegaConf.masked_copy(cfg, kept), resolve=True)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise SettingError(str(error.full_key), "${…}", reason) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def job_of(cfg: DictConfig, about: Any) -> Job:
    """Check a `btgm run` configuration and build all that it names, once.

    Args:
        cfg: the configuration.
        about: Hydra's node on it: which options were chosen, and by which overrides.

    Raises:
        SettingError: a setting that is unknown, out of range or of the wrong type, or parts that
            do not go together.
    """
    values_of(cfg)  # no interpolation leads nowhere
    exports = [str(key) for key in cfg if _is_export(cfg, str(key))]
    known = (*OBJECTS, *SETTINGS, *exports, "experiment", *(f.name for f in fields(RunOptions)))
    for key in cfg:
        if key not in ("hydra", *known):
            raise SettingError(str(key), cfg[key], unknown(str(key), known))
    options = checked(RunOptions, values_of(cfg, *OBJECTS, *SETTINGS, *exports))
    built = {name: build_export(cfg[name], name) for name in exports}
    with cpu_threads(options.threads):
        problem = _problem(cfg, options)
    for export in built.values():
        export.check(problem.f.model)
    return Job(
        problem=problem,
        names=Names(about.runtime.choices.model, about.runtime.choices.criterion),
        options=options,
        exports=built,
        hashes={
            "checkpoint_hash": _hash(cfg.model, "checkpoint"),
            "classifier_hash": _hash(cfg.criterion, "classifier"),
        },
        overrides=tuple(about.overrides.task),
    )


def exports_of(cfg: DictConfig) -> list[Export]:
    """What a run leaves beside its tables: all further nodes that name a class.

    Raises:
        SettingError: as `build_export`.
    """
    names = [str(key) for key in cfg if _is_export(cfg, str(key))]
    return [build_export(cfg[name], name) for name in names]


def build_model(node: DictConfig, device: torch.device | str = "cpu") -> GenerativeModel:
    """The frozen generator that a node names, on its device.

    Raises:
        SettingError: as `build_object`.
    """
    model: Any = build_object(node, "model")
    built: GenerativeModel = model.to(device) if hasattr(model, "to") else model
    return built


def build_criterion(
    cfg: DictConfig, model: GenerativeModel, device: torch.device | str = "cpu"
) -> Criterion:
    """The criterion of a run, normalized under the model where it asks for that.

    Raises:
        SettingError: as `build_object`.
    """
    criterion: Criterion = build_object(cfg.criterion, "criterion")
    return settled(criterion, model, derived_generator(cfg.seed, "normalize"), device)


def untrained_flow(node: DictConfig, latent_dim: int, seed: int) -> Flow:
    """The untrained flow that a node names, on a latent space of this dimension.

    Raises:
        SettingError: as `build_object`, or a flow that takes no dimension or seed.
    """
    make = build_object(node, "flow")
    takes = _takes(make)
    if not callable(make) or (takes is not None and not {"latent_dim", "seed"} <= set(takes)):
        raise SettingError("flow", node[TARGET_KEY], "must be made of a latent_dim and a seed")
    flow: Flow = make(latent_dim=latent_dim, seed=seed)
    return flow


def build_export(node: DictConfig, setting: str) -> Export:
    """The export that a node names, its settings checked.

    Raises:
        SettingError: no frozen dataclass, or settings of another type or out of range.
    """
    kind = _named(node, setting)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise SettingError(f"{setting}.{TARGET_KEY}", node[TARGET_KEY], "must be a dataclass")
    export: Any = checked(kind, values_of(node, TARGET_KEY), f"{setting}.")
    return cast(Export, export)


def build_object(node: DictConfig, setting: str) -> Any:
    """Instantiate a node with a `_target_`.

    Raises:
        SettingError: no `_target_`, one that cannot be imported, or arguments that do not fit.
    """
    if TARGET_KEY not in node:
        raise SettingError(setting, OmegaConf.to_container(node), "needs a _target_ to build")
    for part, name in _parts(node, setting):
        _check_arguments(part, name)
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, BtgmError):
            raise cause from None
        raise SettingError(setting, node[TARGET_KEY], _one_line(cause or error)) from error


def _problem(cfg: DictConfig, options: RunOptions) -> Problem:
    """The parts of a run as one problem, tried on a few draws."""
    target = checked(Target, values_of(cfg.target), "target.")
    settings = checked(Tuning, values_of(cfg.tuning), "tuning.")
    thresholds = checked(Thresholds, values_of(cfg.verdict), "verdict.")
    device = pick_device(options.device)
    model = build_model(cfg.model, device)
    return Problem.checked(
        model,
        build_criterion(cfg, model, device),
        target=target,
        settings=settings,
        thresholds=thresholds,
        flow=untrained_flow(cfg.flow, model.latent_dim, options.seed),
        seed=options.seed,
        device=device,
    )


def _is_export(cfg: DictConfig, key: str) -> bool:
    if key in ("hydra", *OBJECTS, *SETTINGS):
        return False
    return isinstance(cfg[key], DictConfig) and TARGET_KEY in cfg[key]


def _hash(node: DictConfig, key: str) -> str | None:
    """SHA-256 of the checkpoint that a configuration node names, if it names one."""
    return checkpoint_hash(node[key], key) if key in node else None


def _parts(node: Any, setting: str) -> Iterator[tuple[DictConfig, str]]:
    """A node and all within it that have a `_target_`, with their names."""
    if isinstance(node, DictConfig):
        if TARGET_KEY in node:
            yield node, setting
        for key in node:
            yield from _parts(node[key], f"{setting}.{key!s}")


def _check_arguments(node: DictConfig, setting: str) -> None:
    """Refuse settings that what a node names does not take."""
    takes = _takes(_named(node, setting))
    for key in map(str, node):
        special = key.startswith("_") and key.endswith("_")
        if takes is not None and key not in takes and not special:
            text = f"{node[TARGET_KEY]} takes no such setting"
            raise SettingError(f"{setting}.{key}", node[key], unknown(key, takes, text))


def _takes(target: Any) -> list[str] | None:
    """The names of the arguments of a class or function; None where it takes or tells any."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return None
    if any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
        return None
    unnamed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    return [name for name, item in parameters.items() if item.kind not in unnamed]


def _named(node: DictConfig, setting: str) -> Any:
    """The class or function that a node names."""
    try:
        return resolve_name(str(node[TARGET_KEY]))
    except Exception as error:  # a user's module may raise anything as it is imported
        reason = _one_line(error)
        raise SettingError(f"{setting}.{TARGET_KEY}", node[TARGET_KEY], reason) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
