"""`btgm run`: the settings of a run, checked before anything is written; then one or many runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import hydra
import torch
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from btgm_cli import __version__
from btgm_cli.cli.config import compose_config, job_of, values_of, with_search_path
from btgm_cli.cli.execute import execute
from btgm_cli.cli.job import Job
from btgm_cli.cli.overrides import each_job
from btgm_cli.cli.tree import conf_dir
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.files import require_writable
from btgm_cli.store.manifest import Manifest, require_free, require_run
from btgm_cli.tuning import Gradient

PASSED_ON = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "-sc")
SWEEP = ("-m", "--multirun")
HYDRAS_OUT = ("hydra.run.dir=", "hydra.sweep.dir=")


def main(argv: list[str]) -> int:
    """Check the settings of every run asked for, then run them.

    Raises:
        SettingError: a setting that cannot be used, or a run directory that is taken.
    """
    if any(argument.startswith("resume=") for argument in argv):
        return _resume(argv)
    sweep = any(option in argv for option in SWEEP)
    argv = _with_output(argv, sweep=sweep)
    prepared: dict[str, Job] = {}
    if not any(argument.split("=")[0] in PASSED_ON for argument in argv):
        overrides = [argument for argument in argv if not argument.startswith("-")]
        for cfg in _configurations(overrides, sweep=sweep):
            prepared[_fingerprint(cfg)] = _prepare(cfg, sweep=sweep)
    return _run_under_hydra(argv, prepared)


def _with_output(argv: Sequence[str], *, sweep: bool) -> list[str]:
    """The arguments with `out=` as Hydra calls it.

    Hydra never sees `out=`: a folder of that name beside the user's own YAMLs would make it a
    group of options.
    """
    given = [argument for argument in argv if argument.startswith("out=")]
    if not given:
        return list(argv)
    folder = given[-1].removeprefix("out=")
    other = next((argument for argument in argv if argument.startswith(HYDRAS_OUT)), None)
    if other:
        raise SettingError("out", folder, f"and {other} say the same thing: give one")
    if not folder:
        raise SettingError("out", folder, "must be a folder")
    quoted = QuotedString(folder, Quote.single).with_quotes()
    rest = [argument for argument in argv if argument not in given]
    return [*rest, f"{HYDRAS_OUT[sweep]}{quoted}"]


def _configurations(overrides: Sequence[str], *, sweep: bool) -> Iterator[DictConfig]:
    """The composed configuration of each run that the overrides ask for."""
    if not sweep:
        yield compose_config("run", overrides, hydras=True)
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs = list(each_job(overrides))
    for number, job in enumerate(jobs):
        cfg = compose_config("run", job, hydras=True)
        cfg.hydra.job.num = number
        yield cfg


def _prepare(cfg: DictConfig, *, sweep: bool) -> Job:
    """The job of a composed configuration, once its directory is known to be free."""
    HydraConfig.instance().set_config(cfg)
    place = cfg.hydra.sweep if sweep else cfg.hydra.run
    path = Path(place.dir, place.subdir if sweep else "")
    job = job_of(cfg, cfg.hydra)
    require_writable("out", Path(place.dir))
    require_free(path, _manifest(cfg, job))
    chosen = job.problem.settings.gradient
    if cfg.tuning.gradient == Gradient.AUTO and chosen is Gradient.SCORE:
        print(f"the criterion has no gradient in z: tuning.gradient={chosen}")
    return job


def _manifest(cfg: DictConfig, job: Job) -> Manifest:
    """What the directory of a run is to belong to."""
    settings = json.loads(
        json.dumps(values_of(cfg), default=str)
    )  # as it comes back from the file
    settings["device"] = job.problem.device.type
    settings["threads"] = job.options.threads or torch.get_num_threads()
    return Manifest(
        version=__version__,
        model=job.names.model,
        criterion=job.names.criterion,
        settings=settings,
        overrides=list(job.overrides),
        checkpoints=checkpoints_in(settings),
    )


def _fingerprint(cfg: DictConfig) -> str:
    """What tells one run's configuration from another's: all of it, resolved."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return OmegaConf.to_yaml(own, resolve=True)


def _run_under_hydra(argv: list[str], prepared: dict[str, Job]) -> int:
    """Hand over to Hydra, which makes the run directory, the log and the sweep.

    Args:
        argv: as typed.
        prepared: jobs by the fingerprints of their configurations. Each is taken once; in another
            process, such as a launcher's, there are none.

    Raises:
        BtgmError: the only job came to no end.
    """
    codes, failures = [0], list[BtgmError]()
    sweep = any(option in argv for option in SWEEP)

    def task(cfg: DictConfig) -> None:
        about = HydraConfig.get()
        try:
            job = prepared.pop(_fingerprint(cfg), None) or job_of(cfg, about)
            codes.append(execute(job, _manifest(cfg, job), Path(about.runtime.output_dir)))
        except BtgmError as error:
            failures.append(error)
            codes.append(2)
            if sweep:  # the other jobs go on
                print(f"btgm run: {in_one_line(error)}", file=sys.stderr)

    arguments = sys.argv
    overrides = [argument for argument in argv if "=" in argument and argument[0] != "-"]
    # Overrides first: Hydra's parser refuses them on both sides of an option such as -m.
    options = [argument for argument in argv if argument not in overrides]
    sys.argv = ["btgm run", *with_search_path(overrides), *options]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(task)()
    finally:
        sys.argv = arguments
    if failures and not sweep:
        raise failures[0]
    return max(codes)


def _resume(argv: list[str]) -> int:
    """Go on with an interrupted run, in its own directory, from its own configuration."""
    if len(argv) != 1:
        others = " ".join(argument for argument in argv if not argument.startswith("resume="))
        raise SettingError("resume", others, "takes its settings from the run: give no others")
    path = Path(argv[0].removeprefix("resume="))
    there = require_run(path)
    asked = replace(there, version=__version__, checkpoints=checkpoints_in(there.settings))
    there.require_same(path, asked)
    with_search_path([])
    about = {
        "runtime": {"choices": {"model": there.model, "criterion": there.criterion}},
        "overrides": {"task": there.overrides},
    }
    job = job_of(OmegaConf.create(there.settings), OmegaConf.create(about))
    return execute(job, asked, path, resume=True)
