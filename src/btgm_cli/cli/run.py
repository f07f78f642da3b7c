"""`btgm run`: the settings of a run, checked before anything is written; then one or many runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import hydra
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from btgm_cli.cli.engines import Engine, engine_settings
from btgm_cli.cli.execute import execute
from btgm_cli.cli.options import Asked, read_run
from btgm_cli.cli.overrides import REFUSALS, line_of
from btgm_cli.cli.own import with_search_path
from btgm_cli.cli.prepare import Prepared, about, configurations, prepared_of
from btgm_cli.cli.resume import RESUME, resume
from btgm_cli.cli.settings import path_of
from btgm_cli.cli.sweep import Sweep, require_no_sweep
from btgm_cli.cli.tree import conf_dir
from btgm_cli.cli.viewed import with_criteria
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.store.files import require_writable
from btgm_cli.store.manifest import require_free
from btgm_cli.store.sweeps import Planned
from btgm_cli.tuning import Gradient

HYDRAS_OUT = ("hydra.run.dir=", "hydra.sweep.dir=")


def main(argv: list[str]) -> int:
    """Check the settings of every run asked for, then run them.

    Raises:
        BtgmError: a setting that cannot be used, or a run directory that is taken.
    """
    asked = read_run(argv)
    if any(item.startswith(RESUME) for item in asked.settings):
        return resume(asked)
    settings = with_criteria(_with_output(asked.settings, sweep=asked.sweep))
    asked = replace(asked, settings=settings)
    if asked.sweep and not asked.shown:
        return _sweep(asked)
    if asked.shown:
        return _show(asked)
    (cfg,) = configurations(asked)
    return _run(cfg, _prepare(cfg, _place(cfg, sweep=False)))


def _sweep(asked: Asked) -> int:
    """Check every job, then have them done.

    What is built for the check of a job goes before the next: hundreds would not fit in memory.
    """
    engine = Engine(engine_settings(asked.settings))
    places: dict[str, int] = {}
    jobs: list[Planned] = []
    for number, cfg in enumerate(configurations(asked)):
        path, part = _place(cfg, sweep=True), str(cfg.hydra.sweep.subdir)
        if not jobs:  # by default its name is the time
            folder = Path(str(cfg.hydra.sweep.dir))
            require_no_sweep(folder)
        _require_own(number, cfg, places)
        jobs.append(Planned(part, _prepare(cfg, path).manifest))
    with Sweep(folder, jobs) as sweep:
        engine.run(sweep)
    return sweep.code


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
    prepared = prepared_of(cfg, about(cfg))
    require_free(path, prepared.manifest)
    chosen = prepared.job.problem.settings.gradient
    if cfg.tuning.gradient == Gradient.AUTO and chosen is Gradient.SCORE:
        print(f"the criterion has no gradient in z: tuning.gradient={chosen}")
    return prepared


def _run(cfg: DictConfig, prepared: Prepared) -> int:
    """Do a run as a job of Hydra's, in the directory that Hydra makes for it.

    `hydra.main` does the same once it has composed the configuration twice more.

    Raises:
        BtgmError: a callback of Hydra's that cannot be made, or the job came to no end.
    """
    failures = list[BaseException]()

    def task(_: DictConfig) -> int | None:
        path = Path(HydraConfig.get().runtime.output_dir)
        try:
            return execute(prepared.job, prepared.manifest, path)
        except (Exception, SystemExit) as error:  # Hydra would keep some and let others pass
            failures.append(error)
            return None

    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="btgm"):
        try:
            callbacks = Callbacks(cfg)
        except REFUSALS as error:
            raise BtgmError(line_of(error)) from error
        loader = GlobalHydra.instance().config_loader()
        context = HydraContext(config_loader=loader, callbacks=callbacks)
        callbacks.on_run_start(config=cfg, config_name="run")
        done = run_job(task, cfg, "hydra.run.dir", None, context)
        callbacks.on_run_end(config=cfg, config_name="run", job_return=done)
    if failures:
        raise failures[0]
    return int(done.return_value)


def _show(asked: Asked) -> int:
    """Have Hydra show what is asked for, as --cfg and --help do.

    Raises:
        BtgmError: settings that Hydra refuses.
    """
    if "--help" not in asked.shown and "--hydra-help" not in asked.shown:
        for _ in configurations(asked):  # lest Hydra refuse one in many lines
            pass
    # Settings first: Hydra's parser refuses them on both sides of an option such as -m.
    arguments = [*with_search_path(asked.settings), *["-m"] * asked.sweep, *asked.shown]
    shown = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="run")
    with _as_hydra_wants(arguments):
        try:
            shown(_nothing)()
        except REFUSALS as error:
            raise BtgmError(line_of(error)) from error
        except SystemExit as done:
            return int(done.code or 0)
    return 0


def _nothing(_: DictConfig) -> None:
    """What Hydra would run if nothing were to be shown."""


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
