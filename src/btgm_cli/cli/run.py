"""`btgm run`: the settings of a run, checked before anything is written; then one or many runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import hydra
import torch
from hydra import initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from btgm_cli import __version__
from btgm_cli.cli.config import compose_config, job_of, values_of
from btgm_cli.cli.execute import execute
from btgm_cli.cli.job import Job, Names
from btgm_cli.cli.options import Asked, read_run
from btgm_cli.cli.overrides import REFUSALS, each_job, line_of
from btgm_cli.cli.own import found_again, with_search_path
from btgm_cli.cli.settings import path_of
from btgm_cli.cli.sweep import Sweep
from btgm_cli.cli.tree import conf_dir
from btgm_cli.core.blame import told
from btgm_cli.core.errors import BtgmError, SettingError, in_one_line
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.files import require_writable
from btgm_cli.store.manifest import Manifest, require_free, require_run
from btgm_cli.tuning import Gradient

HYDRAS_OUT = ("hydra.run.dir=", "hydra.sweep.dir=")


@dataclass(frozen=True)
class Prepared:
    """A run that can start, and what its directory is to belong to."""

    job: Job
    manifest: Manifest


def main(argv: list[str]) -> int:
    """Check the settings of every run asked for, then run them.

    Raises:
        BtgmError: a setting that cannot be used, or a run directory that is taken.
    """
    asked = read_run(argv)
    if any(item.startswith("resume=") for item in asked.settings):
        return _resume(asked)
    asked = replace(asked, settings=_with_output(asked.settings, sweep=asked.sweep))
    prepared: dict[str, Prepared] = {}
    places: dict[str, int] = {}
    if "--help" not in asked.shown and "--hydra-help" not in asked.shown:
        for number, cfg in enumerate(_configurations(asked)):
            if not asked.shown:
                path = _place(cfg, sweep=asked.sweep)
                _require_own(number, cfg, places)
                prepared[_fingerprint(cfg)] = _prepare(cfg, path)
    return _run_under_hydra(asked, prepared)


def _with_output(settings: Sequence[str], *, sweep: bool) -> list[str]:
    """The settings with `out=` as Hydra calls it.

    Hydra never sees `out=`, whose value would have to be quoted.
    """
    given = [item for item in settings if item.startswith("out=")]
    if not given:
        return list(settings)
    folder = given[-1].removeprefix("out=")
    other = next((item for item in settings if item.startswith(HYDRAS_OUT)), None)
    if other:
        raise SettingError("out", folder, f"and {other} say the same thing: give one")
    if not folder or "${" in folder:
        raise SettingError("out", folder, "must be a folder, with no ${ in its name")
    quoted = QuotedString(str(path_of(folder)), Quote.single).with_quotes()
    rest = [item for item in settings if item not in given]
    return [*rest, f"{HYDRAS_OUT[sweep]}{quoted}"]


def _configurations(asked: Asked) -> Iterator[DictConfig]:
    """The composed configuration of each run that is asked for."""
    if not asked.sweep:
        yield compose_config("run", asked.settings, hydras=True)
        return
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs = list(each_job(asked.settings))
    for number, job in enumerate(jobs):
        cfg = compose_config("run", job, hydras=True)
        cfg.hydra.job.num = number
        yield cfg


def _place(cfg: DictConfig, *, sweep: bool) -> Path:
    """The directory of a run, as Hydra will make it.

    Raises:
        SettingError: no folder, or settings of Hydra that would lead elsewhere.
    """
    HydraConfig.instance().set_config(cfg)
    if cfg.hydra.job.chdir:
        expected = "must be false: paths are those of the working directory"
        raise SettingError("hydra.job.chdir", cfg.hydra.job.chdir, expected)
    place = cfg.hydra.sweep if sweep else cfg.hydra.run
    try:
        folder, part = str(place.dir), str(place.subdir) if sweep else ""
    except OmegaConfBaseException as error:
        raise SettingError(str(error.full_key), "${…}", line_of(error)) from error
    if not folder:
        raise SettingError("out", folder, "must be a folder")
    require_writable("out", Path(folder))
    return Path(folder, part)


def _require_own(number: int, cfg: DictConfig, places: dict[str, int]) -> None:
    """Refuse a job the place of another one in the folder of their sweep."""
    part = str(cfg.hydra.sweep.subdir)
    other = places.setdefault(os.path.normpath(part), number)
    if other != number:
        expected = f"is the place of jobs {other} and {number} of the sweep: give each its own"
        raise SettingError("hydra.sweep.subdir", part, expected)


def _prepare(cfg: DictConfig, path: Path) -> Prepared:
    """The job of a composed configuration, once its directory is known to be free."""
    prepared = prepared_of(cfg, HydraConfig.get())
    require_free(path, prepared.manifest)
    chosen = prepared.job.problem.settings.gradient
    if cfg.tuning.gradient == Gradient.AUTO and chosen is Gradient.SCORE:
        print(f"the criterion has no gradient in z: tuning.gradient={chosen}")
    return prepared


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


def _fingerprint(cfg: DictConfig) -> str:
    """What tells one run's configuration from another's: all of it, resolved."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return OmegaConf.to_yaml(own, resolve=True)


def _run_under_hydra(asked: Asked, prepared: dict[str, Prepared]) -> int:
    """Hand over to Hydra, which makes the run directory and the sweep, or shows what is asked for.

    Args:
        asked: what was typed.
        prepared: by the fingerprints of the configurations. Each is taken once; in another
            process, such as a launcher's, there are none.

    Raises:
        BtgmError: the only job came to no end.
    """
    codes, failures = [0], list[BaseException]()
    sweep = Sweep(own.manifest for own in prepared.values())

    def task(cfg: DictConfig) -> None:
        about = HydraConfig.get()
        try:
            own = prepared.pop(_fingerprint(cfg), None) or prepared_of(cfg, about)
            decoded = sweep.decoded(own.manifest, Path(about.sweep.dir)) if asked.sweep else None
            path = Path(about.runtime.output_dir)
            codes.append(execute(own.job, own.manifest, path, decoded=decoded))
        except (Exception, SystemExit) as error:  # Hydra would print it, in many lines
            failures.append(error)
            codes.append(2)
            if asked.sweep:  # the other jobs go on
                text = in_one_line(error) if isinstance(error, BtgmError) else told(error)
                print(f"btgm run: {text}", file=sys.stderr)

    # Settings first: Hydra's parser refuses them on both sides of an option such as -m.
    arguments = [*with_search_path(asked.settings), *["-m"] * asked.sweep, *asked.shown]
    with _as_hydra_wants(arguments), sweep:
        try:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")(task)()
        except REFUSALS as error:
            raise BtgmError(line_of(error)) from error
        except SystemExit as done:  # of what only shows something
            return int(done.code or 0)
    if failures and not asked.sweep:
        raise failures[0]
    return max(codes)


@contextmanager
def _as_hydra_wants(arguments: list[str]) -> Iterator[None]:
    """The arguments where Hydra reads them, and its exceptions raised, not printed."""
    variable = "HYDRA_FULL_ERROR"
    before, setting = sys.argv, os.environ.get(variable)
    sys.argv = ["btgm run", *arguments]
    os.environ[variable] = "1"
    try:
        yield
    finally:
        sys.argv = before
        os.environ.pop(variable)
        if setting is not None:
            os.environ[variable] = setting


def _resume(asked: Asked) -> int:
    """Go on with an interrupted run, in its own directory, from its own configuration."""
    others = [item for item in asked.settings if not item.startswith("resume=")] + asked.shown
    if len(asked.settings) > 1 or others or asked.sweep:
        text = " ".join([*others, *["-m"] * asked.sweep]) or " ".join(asked.settings)
        raise SettingError("resume", text, "takes its settings from the run: give no others")
    path = path_of(asked.settings[0].removeprefix("resume="))
    there = require_run(path)
    settings = found_again(there.settings, there.folder)
    now = replace(there, version=__version__, checkpoints=checkpoints_in(settings))
    there.require_same(path, now)
    job = job_of(OmegaConf.create(settings), Names(there.model, there.criterion), there.overrides)
    return execute(job, now, path, resume=True)
