"""`btgm run`: the settings of a run, checked before anything is written; then one or many runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.config import (
    GROUPS,
    build,
    build_scenarios,
    compose_config,
    conf_dir,
    with_search_path,
)
from btgm_cli.cli.execute import Names, execute
from btgm_cli.cli.loading import read_run_config
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.runs import PARETO
from btgm_cli.tuning.checks import check_pair, check_target, chosen_gradient

PASSED_ON = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "-sc")
SETTINGS = {"seed": 0, "samples": 0, "threads": 1}
"""Whole-number settings of the run itself, and the least of each."""


def main(argv: list[str]) -> int:
    """Check the settings of every run asked for, then run them."""
    if any(argument.startswith("resume=") for argument in argv):
        return _resume(argv)
    if not any(argument.split("=")[0] in PASSED_ON for argument in argv):
        overrides = [argument for argument in argv if not argument.startswith("-")]
        for cfg in _jobs(overrides, sweep="-m" in argv or "--multirun" in argv):
            check(cfg)
    return _run_under_hydra(argv)


def check(cfg: DictConfig) -> None:
    """Build what a composed configuration names, once, so that its faults show before any work.

    Raises:
        SettingError: a setting that cannot be used, or a run directory that is taken.
    """
    HydraConfig.instance().set_config(cfg)
    run_dir = Path(cfg.hydra.run.dir)
    if (run_dir / PARETO).exists() or (run_dir / ".hydra").exists():
        expected = "already holds a run; choose another directory, or go on with resume=DIR"
        raise SettingError("hydra.run.dir", str(run_dir), expected)
    check_own_settings(cfg)
    objects = build(cfg)
    build_scenarios(cfg).check(objects.model)
    check_target(objects.target, objects.criterion)
    has_gradient = check_pair(
        objects.f, derived_generator(cfg.seed, "check", device=objects.device)
    )
    gradient = chosen_gradient(objects.tuning.gradient, has_gradient, objects.criterion)
    if gradient is not objects.tuning.gradient and not has_gradient:
        print(f"the criterion has no gradient in z: tuning.gradient={gradient}")


def check_own_settings(cfg: DictConfig) -> None:
    """Refuse unknown settings at the top level, and values of the wrong type."""
    known = [*GROUPS, "device", *SETTINGS]
    for key in cfg:
        if key not in ("hydra", *known):
            expected = f"unknown setting; choose from {', '.join(known)}"
            raise SettingError(str(key), cfg[key], expected)
    for key, least in SETTINGS.items():
        value = cfg[key]
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not whole and not (key == "threads" and value is None):
            raise SettingError(key, value, f"must be a whole number, {least} or more")


def _jobs(overrides: Sequence[str], *, sweep: bool) -> Iterator[DictConfig]:
    """The composed configuration of each run that the overrides ask for."""
    if not sweep:
        yield compose_config("run", overrides)
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        try:
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
        except HydraException as error:
            raise SettingError("sweep", " ".join(overrides), str(error).splitlines()[0]) from error
    for job in batches[0]:
        yield compose_config("run", job)


def _run_under_hydra(argv: list[str]) -> int:
    """Hand over to Hydra, which makes the run directory, the log and the sweep."""
    codes = [0]

    def task(cfg: DictConfig) -> float | None:
        settings = HydraConfig.get()
        names = Names(settings.runtime.choices["model"], settings.runtime.choices["criterion"])
        try:
            codes.append(execute(cfg, Path(settings.runtime.output_dir), names))
        except BtgmError as error:
            logging.getLogger(__name__).error("%s", error)
            codes.append(2)
        return None

    arguments = sys.argv
    overrides = [argument for argument in argv if "=" in argument and argument[0] != "-"]
    # Overrides first: Hydra's parser refuses them on both sides of an option such as -m.
    options = [argument for argument in argv if argument not in overrides]
    sys.argv = ["btgm run", *with_search_path(overrides), *options]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(task)()
    finally:
        sys.argv = arguments
    return max(codes)


def _resume(argv: list[str]) -> int:
    """Go on with an interrupted run, in its own directory, from its own configuration."""
    if len(argv) != 1:
        others = " ".join(argument for argument in argv if not argument.startswith("resume="))
        raise SettingError("resume", others, "takes its settings from the run: give no others")
    path = Path(argv[0].removeprefix("resume="))
    cfg = read_run_config(path)
    with_search_path([])
    runtime = OmegaConf.load(path / ".hydra" / "hydra.yaml").hydra.runtime.choices
    handler = logging.FileHandler(path / "run.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        return execute(cfg, path, Names(runtime.model, runtime.criterion))
    finally:
        root.removeHandler(handler)
        handler.close()
