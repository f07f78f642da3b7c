"""From `conf/` to objects: finding, composing and checking configurations.

With `cli`, the only place that knows Hydra. Whatever is wrong with a configuration comes out as
one `SettingError`, before any work starts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.load.scenarios import Scenarios
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuning import Tuning

GROUPS = (
    *("model", "criterion", "flow", "target", "tuning", "verdict", "scenarios"),
    "experiment",
)


@dataclass(frozen=True)
class Objects:
    """What one run needs, built from its configuration."""

    f: LatentCriterion
    flow: Flow
    target: Target
    tuning: Tuning
    thresholds: Thresholds
    device: torch.device

    @property
    def model(self) -> GenerativeModel:
        """The frozen generator."""
        return self.f.model

    @property
    def criterion(self) -> Criterion:
        """f."""
        return self.f.criterion


def conf_dir() -> Path:
    """The configuration tree: the copy inside an installed package, else the repository's."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


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


def compose_config(name: str, overrides: Sequence[str], *, root: Path | None = None) -> DictConfig:
    """Compose the primary configuration `name`, with Hydra's own node.

    Raises:
        SettingError: an override that names no setting, no choice, or cannot be parsed.
    """
    overrides = with_search_path(overrides)
    try:
        with initialize_config_dir(str(root or conf_dir()), version_base="1.3"):
            return compose(name, overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, name, overrides, root) from error


def choices(group: str, root: Path | None = None) -> list[str]:
    """The options of a configuration group, sorted."""
    return sorted(path.stem for path in ((root or conf_dir()) / group).glob("*.yaml"))


def build(cfg: DictConfig) -> Objects:
    """Instantiate everything that a `btgm run` configuration names.

    Raises:
        SettingError: a setting of the wrong type, out of range or unknown.
    """
    device = pick_device(cfg.device)
    model = build_object(cfg.model, "model")
    if hasattr(model, "to"):
        model = model.to(device)
    criterion = build_criterion(cfg, model, device)
    target = Target(**_typed(cfg.target, "target", Target))
    tuning = Tuning(**_typed(cfg.tuning, "tuning", Tuning))
    thresholds = Thresholds(**_typed(cfg.verdict, "verdict", Thresholds))
    make_flow = build_object(cfg.flow, "flow")
    try:
        flow = make_flow(latent_dim=model.latent_dim, seed=cfg.seed).to(device)
    except TypeError as error:
        raise _unexpected("flow", error, cfg.flow) from error
    f = LatentCriterion(model, criterion, tuning.f_samples, cfg.seed, device)
    return Objects(f, flow, target, tuning, thresholds, device)


def build_scenarios(cfg: DictConfig) -> Scenarios:
    """What `scenarios.csv` is to hold; nothing where the run is older than the setting.

    Raises:
        SettingError: a setting of the wrong type, out of range or unknown.
    """
    if "scenarios" not in cfg:
        return Scenarios()
    return Scenarios(**_typed(cfg.scenarios, "scenarios", Scenarios))


def build_criterion(
    cfg: DictConfig, model: GenerativeModel, device: torch.device | str = "cpu"
) -> Criterion:
    """The criterion of a run, normalized under the model where it asks for that.

    Raises:
        SettingError: as `build_object`.
    """
    criterion: Criterion = build_object(cfg.criterion, "criterion")
    return settled(criterion, model, derived_generator(cfg.seed, "normalize"), device)


def build_object(node: DictConfig, setting: str) -> Any:
    """Instantiate a node with a `_target_`.

    Raises:
        SettingError: no `_target_`, one that cannot be imported, or arguments that do not fit.
    """
    if "_target_" not in node:
        raise SettingError(setting, OmegaConf.to_container(node), "needs a _target_ to build")
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, BtgmError):
            raise cause from None
        if isinstance(cause, TypeError):
            raise _unexpected(setting, cause, node) from error
        reason = " ".join(str(cause or error).split())
        raise SettingError(f"{setting}._target_", node["_target_"], reason) from error


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device.

    Raises:
        SettingError: another name, or cuda where there is none.
    """
    available = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda"):
        raise SettingError("device", name, "choose one of auto, cpu, cuda")
    if name == "cuda" and not available:
        raise SettingError("device", name, "this machine has no CUDA device; choose auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _typed(node: DictConfig, setting: str, kind: type) -> dict[str, Any]:
    """A node as keyword arguments of a dataclass, each of the type that the dataclass declares."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    types = {field.name: str(field.type).split(" | ") for field in fields(kind)}
    for key, value in values.items():
        if key not in types:
            raise SettingError(f"{setting}.{key!s}", value, _unknown(str(key), list(types)))
        if value is None and "None" in types[key]:
            continue
        if types[key][0] == "int" and not _is_number(value, int):
            raise SettingError(f"{setting}.{key}", value, "must be a whole number")
        if types[key][0] == "float" and not _is_number(value, int | float):
            raise SettingError(f"{setting}.{key}", value, "must be a number")
        if types[key][0].startswith("Mapping") and not isinstance(value, dict):
            raise SettingError(f"{setting}.{key}", value, "must be {NAME: NUMBER, …}")
        if types[key][0].startswith("Sequence") and not isinstance(value, list):
            raise SettingError(f"{setting}.{key}", value, "must be a list of numbers")
    return {str(key): value for key, value in values.items()}


def _is_number(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown setting{hint}; choose from {', '.join(known)}"


def _unexpected(setting: str, error: TypeError, node: DictConfig) -> SettingError:
    """A call that does not fit its target's signature."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found:
        text = f"{node['_target_']} takes no such setting"
        return SettingError(f"{setting}.{found[1]}", node[found[1]], text)
    return SettingError(setting, node["_target_"], str(error))


def _explained(
    error: Exception, name: str, overrides: Sequence[str], root: Path | None
) -> SettingError:
    """Hydra's several lines as one that names the setting, its value and the choices."""
    text = str(error)
    missing = re.search(r"Could not find '([\w/]+)/([^']*)'", text)
    if missing:
        group, value = missing[1].split("/")[-1], missing[2]
        options = re.findall(r"^\t(\S+)$", text, flags=re.M) or choices(group, root)
        return SettingError(group, value, _unknown(value, options).replace(" setting", ""))
    found = re.search(r"Could not (?:override|append to config) '?([\w.]+)", text)
    found = found or re.search(r"No match for '?([\w/]+)'? in the defaults list", text)
    if found:
        setting = found[1].rstrip(".")
        known = _keys(name, setting, overrides, root)
        value = _value_of(setting, overrides)
        return SettingError(setting, value, _unknown(setting.split(".")[-1], known))
    at_fault = next((item for item in overrides if not _parses(item)), " ".join(overrides))
    return SettingError("override", at_fault, " ".join(text.partition("See https")[0].split()))


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _value_of(setting: str, overrides: Sequence[str]) -> object:
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group == setting:
            return override.get_value_element_as_str()
    return None


def _keys(name: str, setting: str, overrides: Sequence[str], root: Path | None) -> list[str]:
    """The settings beside the one that was asked for, under the groups that were chosen."""
    chosen = [item for item in overrides if item.split("=")[0] in (*GROUPS, "hydra.searchpath")]
    with initialize_config_dir(str(root or conf_dir()), version_base="1.3"):
        try:
            node: Any = compose(name, overrides=chosen)
        except HydraException:  # one of them is a group that this command does not have
            node = compose(name)
    for part in setting.split(".")[:-1]:
        node = node.get(part) if OmegaConf.is_dict(node) else None
    return [str(key) for key in node if not str(key).startswith("_")] if node else list(GROUPS)
