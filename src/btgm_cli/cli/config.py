"""From `conf/` to objects: composing a configuration, checking it, and building what it names.

With `run`, the only place that handles configurations. Whatever is wrong with one comes out as one
`SettingError`, before any work starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from btgm_cli.cli.job import Job, Names, RunOptions, cpu_threads
from btgm_cli.cli.overrides import REFUSALS, fault, refuse_hydras, refuse_removed
from btgm_cli.cli.own import with_search_path
from btgm_cli.cli.settings import checked, unknown
from btgm_cli.cli.targets import TARGET_KEY, check_arguments, named, parts, takes_of, unbuilt
from btgm_cli.cli.threads import require_threads
from btgm_cli.cli.tree import conf_dir
from btgm_cli.core.blame import blaming, name_of
from btgm_cli.core.contracts import Criterion, Export, GenerativeModel, Tracker
from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.core.latent_criterion import settled, shape_of_x
from btgm_cli.core.memory import require_memory
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.report.trackers.nowhere import Nowhere
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuning import Problem, Tuning
from btgm_cli.tuning.checks import check_members

OBJECTS = ("model", "criterion", "flow")
SETTINGS = ("target", "tuning", "verdict")
TRACKER = "tracker"


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
        refuse_removed(overrides)
        try:
            cfg = compose(name, overrides=overrides, return_hydra_config=True)
        except REFUSALS as error:
            raise fault(name, overrides, error) from error
    for choice in map(str, cfg.hydra.runtime.choices):
        package = choice.partition("@")[2]
        if "." in package and not OmegaConf.is_dict(OmegaConf.select(cfg, package)):
            value = OmegaConf.select(cfg, package)
            raise SettingError(package, value, f"is chosen by {choice}=NAME")
    return cfg


def values_of(cfg: DictConfig, *without: str) -> dict[str, Any]:
    """A node as plain data, without the keys that are others' or Hydra's.

    Raises:
        SettingError: a value that is missing, or an interpolation that leads nowhere.
    """
    kept = [str(key) for key in cfg if key not in ("hydra", *without)]
    try:
        own = OmegaConf.masked_copy(cfg, kept)
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise SettingError(str(error.full_key), "???", "must be given") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise SettingError(str(error.full_key), "${…}", reason) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def job_of(cfg: DictConfig, names: Names, overrides: Sequence[str]) -> Job:
    """Check a `btgm run` configuration and build all that it names, once.

    Args:
        cfg: the configuration.
        names: the options that were chosen.
        overrides: by which.

    Raises:
        SettingError: a setting that is unknown, out of range or of the wrong type, or parts that
            do not go together.
    """
    _check_keys(cfg)
    exports = exports_in(cfg)
    options = checked(RunOptions, values_of(cfg, *OBJECTS, *SETTINGS, TRACKER, *exports))
    require_threads(options.threads)
    built = {name: build_export(cfg[name], name) for name in exports}
    tracker = _tracker(cfg)
    with cpu_threads(options.threads):
        problem = _problem(cfg, options)
    for name, export in built.items():
        with blaming(name, name_of(export), "check fails"):
            export.check(problem.f.model)
    floats = options.samples * math.prod(shape_of_x(problem.f.model, problem.device))
    require_memory("samples", options.samples, floats, problem.device)
    return Job(problem, names, options, built, tracker, tuple(overrides))


def exports_in(cfg: DictConfig) -> list[str]:
    """The top-level nodes that name a class, beside the parts of every run."""
    others = [str(key) for key in cfg if key not in ("hydra", *OBJECTS, *SETTINGS, TRACKER)]
    return [key for key in others if isinstance(cfg[key], DictConfig) and TARGET_KEY in cfg[key]]


def exports_of(cfg: DictConfig) -> list[Export]:
    """What a run leaves beside its tables: all further nodes that name a class.

    Raises:
        SettingError: as `build_export`.
    """
    return [build_export(cfg[name], name) for name in exports_in(cfg)]


def build_model(node: DictConfig, device: torch.device | str = "cpu") -> GenerativeModel:
    """The frozen generator that a node names, on its device.

    Raises:
        SettingError: as `build_object`.
    """
    model: Any = build_object(node, "model")
    with blaming("model", name_of(model), f"cannot be moved to {device}"):
        built: GenerativeModel = model.to(device) if hasattr(model, "to") else model
    check_members(built)
    return built


def build_criterion(
    cfg: DictConfig, model: GenerativeModel, device: torch.device | str = "cpu"
) -> Criterion:
    """The criterion of a run, normalized under the model where it asks for that.

    Raises:
        SettingError: as `build_object`.
    """
    criterion: Criterion = build_object(cfg.criterion, "criterion")
    with blaming("criterion", name_of(criterion), "fails under this model"):
        return settled(criterion, model, derived_generator(cfg.seed, "normalize"), device)


def untrained_flow(node: DictConfig, latent_dim: int, seed: int) -> Flow:
    """The untrained flow that a node names, on a latent space of this dimension.

    Raises:
        SettingError: as `build_object`, or a flow that takes no dimension or seed.
    """
    make = build_object(node, "flow")
    takes = takes_of(make)
    if not callable(make) or (takes is not None and not {"latent_dim", "seed"} <= set(takes)):
        raise SettingError("flow", node[TARGET_KEY], "must be made of a latent_dim and a seed")
    with blaming("flow", name_of(make), f"cannot be made for latent_dim={latent_dim}"):
        flow: Flow = make(latent_dim=latent_dim, seed=seed)
    return flow


def build_export(node: DictConfig, setting: str) -> Export:
    """The export that a node names, its settings checked.

    Raises:
        SettingError: no frozen dataclass, or settings of another type or out of range.
    """
    kind = named(node, setting)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        raise SettingError(f"{setting}.{TARGET_KEY}", node[TARGET_KEY], "must be a dataclass")
    with blaming(setting, name_of(kind), "cannot be made"):
        export: Any = checked(kind, values_of(node, TARGET_KEY), f"{setting}.")
    return cast(Export, export)


def _tracker(cfg: DictConfig) -> Tracker:
    """Where the run is sent; a run of before there were trackers is sent nowhere.

    Raises:
        SettingError: as `build_export`, or what it needs is missing.
    """
    if TRACKER not in cfg:
        return Nowhere()
    tracker = cast(Tracker, build_export(cfg[TRACKER], TRACKER))
    with blaming(TRACKER, name_of(tracker), "check fails"):
        tracker.check()
    return tracker


def build_object(node: DictConfig, setting: str) -> Any:
    """Instantiate a node with a `_target_`.

    Raises:
        SettingError: no `_target_`, one that cannot be imported, or arguments that do not fit.
    """
    if TARGET_KEY not in node:
        raise SettingError(setting, OmegaConf.to_container(node), "needs a _target_ to build")
    for part, name in parts(node, setting):
        check_arguments(part, name)
    try:
        return instantiate(node)
    except (Exception, SystemExit) as error:  # a user's class may raise anything
        cause = error.__cause__ if isinstance(error, InstantiationException) else None
        if isinstance(cause, BtgmError):
            raise cause from None
        raise unbuilt(node, setting, cause or error) from error


def _problem(cfg: DictConfig, options: RunOptions) -> Problem:
    """The parts of a run as one problem, tried on a few draws."""
    target = checked(Target, values_of(cfg.target), "target.")
    settings = checked(Tuning, values_of(cfg.tuning), "tuning.")
    thresholds = checked(Thresholds, values_of(cfg.verdict), "verdict.")
    device = pick_device(options.device)
    model = build_model(cfg.model, device)
    return Problem.checked(
        model,
        build_object(cfg.criterion, "criterion"),
        target=target,
        settings=settings,
        thresholds=thresholds,
        flow=untrained_flow(cfg.flow, model.latent_dim, options.seed),
        seed=options.seed,
        device=device,
    )


def _check_keys(cfg: DictConfig) -> None:
    """Refuse a configuration with a setting too many, or one too few."""
    values_of(cfg)  # no interpolation leads nowhere
    needed = (*OBJECTS, *SETTINGS, *(field.name for field in fields(RunOptions)))
    exports = exports_in(cfg)
    known = (*needed, *exports, TRACKER, "experiment")
    for key in cfg:
        if key not in ("hydra", *known):
            raise SettingError(str(key), cfg[key], unknown(str(key), known))
    for key in needed:
        if key not in cfg or (key in (*OBJECTS, *SETTINGS) and not OmegaConf.is_dict(cfg[key])):
            raise SettingError(key, cfg.get(key), "must be given: a run cannot do without")
