"""What was typed as checked jobs, each with what its directory is to belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from btgm_cli import __version__
from btgm_cli.cli.config import compose_config, job_of, values_of
from btgm_cli.cli.job import Job, Names
from btgm_cli.cli.options import Asked
from btgm_cli.cli.overrides import each_job
from btgm_cli.cli.tree import conf_dir
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.manifest import Manifest

HERE = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""The launcher whose jobs this process does itself."""


@dataclass(frozen=True)
class Prepared:
    """A run that can start, and what its directory is to belong to."""

    job: Job
    manifest: Manifest


def configurations(asked: Asked) -> Iterator[DictConfig]:
    """The composed configuration of each run that is asked for."""
    if not asked.sweep:
        yield compose_config("run", asked.settings, hydras=True)
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs = list(each_job(asked.settings))
    for number, job in enumerate(jobs):
        cfg = compose_config("run", job, hydras=True)
        cfg.hydra.job.num = number
        if cfg.threads is None and cfg.hydra.launcher.get("_target_") != HERE:
            cfg.threads = 1  # jobs side by side are faster with a core each than with all
        yield cfg


def about(cfg: DictConfig) -> HydraConf:
    """Hydra's node on a configuration."""
    HydraConfig.instance().set_config(cfg)
    return HydraConfig.get()


def prepared_of(cfg: DictConfig, about: HydraConf) -> Prepared:
    """The job of a configuration, and what its directory is to belong to.

    Args:
        cfg: the configuration.
        about: Hydra's node on it: which options were chosen, and by which overrides.
    """
    choices = about.runtime.choices
    job = job_of(cfg, Names(choices["model"], choices["criterion"]), about.overrides.task)
    # As it comes back from the file.
    settings = json.loads(json.dumps(values_of(cfg), default=str))
    settings["device"] = job.problem.device.type
    settings["threads"] = job.options.threads or torch.get_num_threads()
    manifest = Manifest(
        version=__version__,
        model=job.names.model,
        criterion=job.names.criterion,
        settings=settings,
        overrides=list(job.overrides),
        checkpoints=checkpoints_in(settings),
        folder=str(Path.cwd()),
    )
    return Prepared(job, manifest)
