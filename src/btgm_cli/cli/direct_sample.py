"""`btgm sample` without a run: the cheapest way to draws of the exact tilt, told and taken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from btgm_cli.cli.config import compose_config, values_of
from btgm_cli.cli.draw_files import DrawFiles
from btgm_cli.cli.exact_files import Question, write_draws
from btgm_cli.cli.execute import execute
from btgm_cli.cli.forecast import table
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.options import Options
from btgm_cli.cli.places import dated
from btgm_cli.cli.prepare import Prepared, prepared_of
from btgm_cli.cli.settings import apart, arguments, checked, require_least, require_none_of
from btgm_cli.cli.signals import Stopped
from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import shape_of_x
from btgm_cli.core.memory import sparing
from btgm_cli.core.target import Target
from btgm_cli.store.files import remove_leftovers
from btgm_cli.store.manifest import read_manifest
from btgm_cli.store.paid import PAID, PaidValues
from btgm_cli.tuning.choice import aim, cheapest, from_here, way_by, yet_to_pay
from btgm_cli.tuning.forecast import Forecast, begun
from btgm_cli.tuning.ways import Method, Way

MOST = 1e10
"""Evaluations of f beyond which a way leads nowhere: a day, of the fastest criteria."""

OfRun = Callable[[Sequence[str]], int]
"""`btgm sample` of a run directory, by its arguments."""


@dataclass(frozen=True)
class Request:
    """What is asked for beside the settings of a run.

    Raises:
        SettingError: a value out of range.
    """

    n: int = 10_000
    method: Method = Method.AUTO
    out: Path | None = None

    def __post_init__(self) -> None:
        require_least(self, n=1)


def without_run(argv: Sequence[str], of_run: OfRun) -> int:
    """Write draws of the exact tilt that the settings ask for.

    Returns:
        0, or 3 where the draws cannot be relied on, or there are none.

    Raises:
        SettingError: a setting that cannot be used, or files in the way.
    """
    typed = Options("btgm sample").read(argv).settings
    require_none_of(typed, ("scenarios",), "takes a run: btgm run writes scenarios.csv")
    own, others = apart(typed, Request)
    request = checked(Request, arguments(own))
    cfg = compose_config("run", others)
    _require_one(cfg)
    prepared = prepared_of(cfg, cfg.hydra)
    job, problem = prepared.job, prepared.job.problem
    out = request.out or dated("sample", job.names.model, job.names.criterion) / "draws.npz"
    with cpu_threads(job.options.threads), sparing({"n": request.n}):
        files = DrawFiles(out, request.n, shape_of_x(problem.f.model, problem.device))
        try:
            return _sample(request, prepared, files, of_run)
        except Stopped as stopped:
            stopped.add_note(f"the same command with out={out} goes on")
            raise


def _require_one(cfg: DictConfig) -> None:
    """Refuse a target that is not one tilt."""
    target = checked(Target, values_of(cfg.target), "target.")
    one = "must be one β, such as target.betas=[0.5], or target.C_D, target.C_f or target.rho"
    for name, several in (("at_least", target.at_least), ("views", target.views)):
        if several is not None:
            expected = "takes a run: btgm run, and then btgm sample DIR"
            raise SettingError(f"target.{name}", several, expected)
    if target.path is not None and (target.betas is None or len(target.betas) > 1):
        given = None if target.betas is None else list(target.betas)
        raise SettingError("target.betas", given, one)


def _sample(request: Request, prepared: Prepared, files: DrawFiles, of_run: OfRun) -> int:
    """Choose a way and take it; the exit code."""
    work, parts = files.beside(".run"), files.parts
    with parts.held(_identity(request, prepared)):
        files.remove_leftovers()
        # A run that was begun has what its reference paid for.
        home = work if (work / PAID).is_dir() else parts.folder
        remove_leftovers(home / PAID)
        paid = PaidValues(home, prepared.manifest)
        try:
            done = _drawn(request, prepared, files, paid)
        finally:
            paid.flush()
        if done.method is Method.TUNING and home != work and paid.folder.is_dir():
            work.mkdir(exist_ok=True)
            paid.folder.rename(work / PAID)
    if done.method is Method.TUNING and not done.trouble:
        return _tuned(request, prepared.job.overrides, done.beta, files, of_run)
    if done.trouble:
        print(f"btgm sample: {done.trouble}", file=sys.stderr)
    return 3 if done.trouble else 0


@dataclass(frozen=True)
class _Done:
    """How far the draws are.

    Args:
        beta: the tilt.
        method: the way that was chosen, and taken but for a tuning.
        trouble: why the draws cannot be relied on, or there are none; empty where they can.
    """

    beta: float
    method: Method
    trouble: str


def _drawn(request: Request, prepared: Prepared, files: DrawFiles, paid: PaidValues) -> _Done:
    """Find β, choose a way, and take it where that is no tuning."""
    problem = prepared.job.problem
    reference, ahead = begun(problem, paid)
    beta, trouble = aim(problem, reference)
    if trouble:
        return _Done(beta, Method.REJECTION, f"no draws: {trouble}")
    method, trouble = _method(request, ahead, reference, beta)
    if trouble:
        return _Done(beta, Method.REJECTION, f"no draws: {trouble}")
    if method is not Method.TUNING:
        question = Question(prepared, method, beta, request.n)
        trouble = write_draws(question, problem.f.remembering(paid), reference, files)
    return _Done(beta, method, trouble)


def _identity(request: Request, prepared: Prepared) -> dict[str, Any]:
    """All that the draws depend on, so that parts of other draws are never taken for them."""
    manifest = prepared.manifest
    return {
        "version": manifest.version,
        "settings": manifest.settings,
        "checkpoints": manifest.checkpoints,
        "method": str(request.method),
        "n": request.n,
    }


def _method(
    request: Request, ahead: Forecast | None, reference: ReferenceSource, beta: float
) -> tuple[Method, str]:
    """The way to take, and why it leads nowhere; empty where it does not."""
    if ahead is None or beta == 0:
        method = Method.REJECTION if request.method is Method.AUTO else request.method
        print(f"method={method}: the tilt is p itself", flush=True)
        return method, ""
    ahead = from_here(ahead, reference, beta)
    ways = yet_to_pay(ahead, reference)
    print(table(ahead, ways, (request.n,)))
    way, why = cheapest(ways, request.n), "the fewest evaluations of f; method=… decides otherwise"
    if request.method is not Method.AUTO:
        way, why = way_by(ways, request.method), "as asked"
    print(f"method={way.method}: {why}", flush=True)
    return way.method, _too_dear(way, request.n)


def _too_dear(way: Way, n: int) -> str:
    if way.evaluations(n) > MOST:
        count = f"{way.evaluations(n):.2g} evaluations of f"
        return f"{way.method} would take {'at least ' * way.at_least}{count}"
    return ""


def _tuned(
    request: Request, typed: Sequence[str], beta: float, files: DrawFiles, of_run: OfRun
) -> int:
    """A run at β beside the file, begun or gone on with, and draws of it."""
    kept = [item for item in typed if not item.startswith("target")]
    other = [str(name) for name, value in compose_config("run", kept).target.items() if value]
    kept += [f"target.{name}=null" for name in other]  # of an experiment
    cfg = compose_config("run", [*kept, f"target.betas=[{beta!r}]"])
    prepared, work = prepared_of(cfg, cfg.hydra), files.beside(".run")
    begun_before = read_manifest(work) is not None
    execute(prepared.job, prepared.manifest, work, resume=begun_before, told=True)
    seed = prepared.job.options.seed
    asked = [f"n={request.n}", f"seed={seed}", f"out={files.path}", "correct=resample"]
    return of_run([str(work), *asked])
