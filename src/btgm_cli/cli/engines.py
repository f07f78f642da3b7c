"""The processes that do many jobs: this one, or those of a launcher of Hydra's.

A launcher is told the numbers of jobs alone; what came of them is read from what they left. So all
launchers serve alike, and a worker that dies leaves a job that can be gone on with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from btgm_cli.cli.overrides import REFUSALS, fault, line_of
from btgm_cli.cli.own import with_search_path
from btgm_cli.cli.prepare import HERE
from btgm_cli.cli.tree import conf_dir
from btgm_cli.cli.watch import Jobs, Watch
from btgm_cli.cli.work import PATIENCE
from btgm_cli.core import blame
from btgm_cli.core.errors import BtgmError, SettingError

JOB = "sweep_job"
"""The primary configuration of what a launcher runs."""

LAUNCHER = "hydra/launcher"
OWN = ("extra", "at_once")
"""What a launcher's YAML has for this package alone: which extra installs it, and how many jobs it
is given at a time."""


def engine_settings(settings: Sequence[str]) -> list[str]:
    """Those settings that say how jobs are launched, and leave the jobs as they are."""
    return [item for item in settings if _launches(item)]


def own_settings(settings: Sequence[str]) -> list[str]:
    """The others, which are the jobs' own."""
    return [item for item in settings if not _launches(item)]


def _launches(item: str) -> bool:
    return item.lstrip("+~").startswith((LAUNCHER, "hydra.launcher."))


class Engine:
    """What does the jobs of a sweep, or the shards of many draws.

    Args:
        settings: those of `engine_settings`.

    Attributes:
        here: does this process do them?

    Raises:
        SettingError: no such launcher or setting of it, or its package is not installed.
    """

    def __init__(self, settings: Sequence[str]) -> None:
        self._settings = with_search_path(settings)
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = _composed(self._settings)
        chosen = [item.partition("=")[2] for item in settings if item.startswith(f"{LAUNCHER}=")]
        self.name = chosen[-1] if chosen else "basic"
        self.here = cfg.hydra.launcher.get("_target_") == HERE
        self._at_once = int(cfg.hydra.launcher.get("at_once") or 0) or None
        self._started = False
        if not self.here:
            _require_installed(self.name, cfg)

    def run(self, jobs: Jobs) -> None:
        """Do all that is left.

        Raises:
            BtgmError: the launcher does not start, or there is no room for any job.
        """
        left = jobs.unfinished()
        if self.here or not left:
            jobs.run(left)
            return
        for number in left:  # lest the failure of an earlier sitting passes for one of this
            jobs.note(number, None)
        with Watch(jobs, left):
            most = self._at_once or len(left)
            while left:
                batch, left = left[:most], left[most:]
                left = [*self._round(jobs, batch), *left]

    def _round(self, jobs: Jobs, batch: Sequence[int]) -> list[int]:
        """Have these jobs done; those that are left where a worker died amid others."""
        fault = self._launch(jobs, batch)
        left = [k for k in batch if not jobs.has_ended(k)]
        if fault is None or not left:
            return []
        held = [k for k in left if jobs.is_held(k)]
        begun = [k for k in left if k not in held and jobs.has_begun(k)]
        self._started |= len(left) < len(batch) or bool(held or begun)
        if not self._started:
            raise SettingError(LAUNCHER, self.name, f"does not start ({fault})")
        if len(left) == len(batch) and not begun:
            if held:
                time.sleep(PATIENCE)
                return left
            begun = left
        # One of these took the others with it, perhaps: each once more, with nobody beside it.
        for number in begun:
            again = self._launch(jobs, [number])
            if again is not None and not jobs.has_ended(number):
                jobs.note(number, f"its process was lost ({again})")
        return [k for k in left if k not in begun]

    def _launch(self, jobs: Jobs, numbers: Sequence[int]) -> str | None:
        """Hand jobs over and wait for them; why the launcher gave up, if it did.

        Raises:
            BtgmError: there is no room for any job.
        """
        place = QuotedString(str(jobs.path), Quote.single).with_quotes()
        threads = jobs.threads_of(numbers)
        sized = [f"threads={threads}", f"workers={max(1, _cores() // threads)}"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="btgm"):
            cfg = _composed([*self._settings, *sized, f"hydra.sweep.dir={place}"])
            with open_dict(cfg):
                for name in OWN:
                    cfg.hydra.launcher.pop(name, None)
            loader = GlobalHydra.instance().config_loader()
            context = HydraContext(config_loader=loader, callbacks=Callbacks(cfg))
            try:
                launcher = Plugins.instance().instantiate_launcher(
                    hydra_context=context, task_function=jobs.work, config=cfg
                )
                ends = launcher.launch([[f"number={k}"] for k in numbers], numbers[0])
            except Exception as error:
                return blame.told(error)
        for told in (_told(end) for end in ends):
            if told:
                raise BtgmError(told)
        return None


def _told(end: Any) -> str:
    """What a job says of the place where it is; an exception is one of the launcher's."""
    text = end._return_value
    return text if isinstance(text, str) else blame.told(text)


def _composed(overrides: list[str]) -> DictConfig:
    """The configuration of what a launcher runs; Hydra must be initialized."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        return hydra.compose_config(
            JOB, overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
    except REFUSALS as error:
        raise fault(JOB, overrides, error) from error


def _require_installed(name: str, cfg: DictConfig) -> None:
    """Refuse a launcher whose package is not there.

    Raises:
        SettingError: tells how to install it.
    """
    try:
        module = str(cfg.hydra.launcher["_target_"]).rpartition(".")[0]
        extra = cfg.hydra.launcher.get("extra")
    except OmegaConfBaseException as error:
        raise SettingError(LAUNCHER, name, line_of(error)) from error
    try:
        there = find_spec(module) is not None
    except ImportError:
        there = False
    if not there:
        way = f"pip install 'btgm[{extra}]'" if extra else f"it needs {module}"
        raise SettingError(LAUNCHER, name, f"is not installed: {way}")


def _cores() -> int:
    """What this process may use of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
