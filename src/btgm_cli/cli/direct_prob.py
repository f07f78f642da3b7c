"""`btgm prob` without a run: it finds its own proposals, and keeps every evaluation of f."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from btgm_cli.cli.asked_probabilities import Asked, grids_read
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.options import Options
from btgm_cli.cli.places import dated
from btgm_cli.cli.prepare import Prepared, prepared_of
from btgm_cli.cli.probability_files import Answer, Remedy, answered, require_place
from btgm_cli.cli.settings import apart, arguments, checked, require_least, require_none_of
from btgm_cli.cli.signals import Stopped
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.memory import sparing
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.files import remove_leftovers
from btgm_cli.store.lock import locked
from btgm_cli.store.paid import PAID, PaidValues
from btgm_cli.truth.exceeding import Trust
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.rare import Effort, Search, searched


@dataclass(frozen=True, kw_only=True)
class Request(Asked):
    """What is asked for beside the settings of a run; see `cli.prob.USAGE`."""

    precision: float = 0.02
    evaluations: int = 200_000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, evaluations=10_000)
        if not 0 < self.precision < 1:
            raise SettingError("precision", self.precision, "must be between 0 and 1")


def without_run(argv: Sequence[str]) -> int:
    """Tell the probabilities under the model that the settings name.

    Returns:
        0, or 3 where one of them cannot be relied on.

    Raises:
        SettingError: a setting that cannot be used, files in the way, or f that is NaN.
    """
    typed = Options("btgm prob").read(argv).settings
    own, of_run = apart(typed, Request)
    request = checked(Request, grids_read(arguments(own)))
    cfg = compose_config("run", of_run)
    takes = "takes a run: btgm run, and then btgm prob DIR"
    require_none_of(typed, ("target", "scenarios"), takes)
    prepared = prepared_of(cfg, cfg.hydra)
    names = prepared.job.names
    out = request.out or dated("prob", names.model, names.criterion)
    require_place(out)
    with (
        cpu_threads(prepared.job.options.threads),
        sparing({"evaluations": request.evaluations}),
        locked(out, "out"),
    ):
        try:
            return _answer(request, prepared, out)
        except Stopped as stopped:
            stopped.add_note(f"the same command with out={out} goes on")
            raise


def _answer(request: Request, prepared: Prepared, out: Path) -> int:
    """Search, and answer; the exit code."""
    remove_leftovers(out)
    remove_leftovers(out / PAID)
    paid = PaidValues(out, prepared.manifest)
    for line in paid.damaged:
        print(line)
    try:
        return answered(_found(request, prepared, paid), out)
    finally:
        paid.flush()


def _found(request: Request, prepared: Prepared, paid: PaidValues) -> Answer:
    """Search, and what is to be said of it."""
    problem, names = prepared.job.problem, prepared.job.names
    f = problem.f.remembering(paid, "prob")
    search = _searched(request, problem, f)
    halves = search.halves(search.pooled)
    return Answer(
        asked=request,
        pooled=search.pooled,
        halves=halves,
        lost=lambda whole, t: "",
        about={
            "model": names.model,
            "criterion": names.criterion,
            "overrides": list(prepared.job.overrides),
            "seed": problem.seed,
            "precision": request.precision,
        },
        remedy=_remedy(request),
        evaluations=search.evaluations,
        f=f,
        generator=derived_generator(problem.seed, "design points", device=problem.device),
    )


def _searched(request: Request, problem: Problem, f: LatentCriterion) -> Search:
    """Draws of ±f for all that is asked."""
    generators = partial(derived_generator, problem.seed, "prob", device=problem.device)
    return searched(
        f,
        request.thresholds,
        request.rare,
        generators,
        Effort(request.precision, request.evaluations),
        request.noises,
        request.sign,
        told=partial(print, flush=True),
    )


def _remedy(request: Request) -> Remedy:
    """What mends an interval here."""

    def remedy(trust: Trust, t: float) -> str:
        if trust is Trust.DISAGREE:
            return (
                "another seed=, and see which half it agrees with; then precision= half as large"
            )
        if trust is Trust.UPPER_BOUND:
            return f"{request.sign * t:g} may be beyond what f can reach; ask for one nearer"
        half, more = request.precision / 2, 4 * request.evaluations
        return f"precision={half:g} evaluations={more}, or noises= where the decoder is stochastic"

    return remedy
