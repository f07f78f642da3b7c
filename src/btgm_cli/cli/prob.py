"""`btgm prob DIR`: how likely, how often and how far, from the tuned models of a run.

Without a run before it: see `direct_prob`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from btgm_cli.cli.asked_probabilities import Asked, grids_read
from btgm_cli.cli.direct_prob import without_run
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.probability_files import Answer, Remedy, answered, require_place
from btgm_cli.cli.settings import arguments, checked, path_of, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.tilt.exceedance import WeightedDraws
from btgm_cli.truth.exceeding import OfPrior, Pooled, Source, Trust, drawn
from btgm_cli.truth.trust import LOST

USAGE = """usage: btgm prob DIR above=30,35,40 [SETTING=VALUE ...]
       btgm prob model=NAME criterion=NAME above=30,35,40 [SETTING=VALUE ...]

P(f > t) under the untuned model p, with 95 % intervals, from draws of p and of the tuned models at
all β of a run, each weighted as a draw of their mixture. f is of x with fresh noise.

  above=          one t or several, as 30,35,40
  below=          P(f < t) instead
  per=, rate=     also return periods, in a unit of time that has so many draws of p: per=year
                  rate=52 where a draw is a week
  levels=         return levels: what is passed once in so many units of time, or draws: 10,50,100
  n=100000        draws of all sources together
  noises=64       fresh noises for each draw, where the decoder is stochastic
  seed=0
  threads=        CPU threads; by default torch's choice. Other counts may change the last bits
  out=            a folder; by default DIR/probabilities/…

Without a run, by the settings of btgm run that the model and the criterion have, beside those
above: proposals are fitted on two ways up to t, and draws of them all tell P. A killed call goes
on by the same command with its out=, and finds every value of f that it paid for.

  precision=0.02        relative standard error to reach
  evaluations=200000    of f̂, at most, give or take a few thousand
  out=                  a folder; by default outputs/prob/<model>/<criterion>/<time>

The design points of the rarest t that can be told, which are the likeliest z above it, are in
design_points.csv, one for each separate region.

An interval that cannot be trusted is not printed: its status says why, a remedy what to do, and
the exit code is 3. What no draw reaches has an upper bound."""

Lost = Callable[[WeightedDraws, float], str]

TOO_MUCH = 0.5
"""Share of P above t that rests on models which have lost a mode: half of it is too much."""


@dataclass(frozen=True, kw_only=True)
class Request(Asked):
    """What was asked of a run; see `USAGE`."""

    n: int = 100_000
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_least(self, n=1000, seed=0)
        require_threads(self.threads)


def main(argv: Sequence[str]) -> int:
    """Tell probabilities, return periods and return levels.

    Returns:
        0, or 3 where one of them cannot be relied on.

    Raises:
        SettingError: no such run, a setting out of range, files in the way, or f that is NaN.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    folder, *typed = argv
    if "=" in folder and not path_of(folder).exists():
        return without_run(argv)
    request = checked(Request, grids_read(arguments(typed)))
    with cpu_threads(request.threads), sparing({"n": request.n}):
        return _of_run(request, load_run(path_of(folder)))


def _of_run(request: Request, run: LoadedRun) -> int:
    """Draw of all β, and answer; the exit code."""
    out = request.out or run.path / "probabilities" / request.name
    require_place(out)
    model, criterion = (str(run.summary.get(name, "?")) for name in ("model", "criterion"))
    f = run.f()
    pooled, betas, statuses = _drawn(request, run, f)
    about: dict[str, Any] = {
        "run": str(run.path),
        "model": model,
        "criterion": criterion,
        "betas": betas,
        "n": request.n,
        "seed": request.seed,
    }
    answer = Answer(
        asked=request,
        pooled=pooled,
        halves=[pooled.halves(range(1, len(betas) + 1, 2)), pooled.random_halves()],
        lost=_lost(statuses),
        about=about,
        remedy=_remedy(request, model, criterion),
        evaluations=pooled.evaluations,
        f=f,
        generator=derived_generator(request.seed, "design points", device=pooled.z.device),
    )
    return answered(answer, out)


def _drawn(
    request: Request, run: LoadedRun, f: LatentCriterion
) -> tuple[Pooled, list[float], list[Status]]:
    """Draws of p and of every tuned model, as many of each, with the β and the verdicts."""
    rows = run.pareto[run.pareto["beta"] > 0]
    betas = [float(beta) for beta in rows["beta"]]
    tuned = [run.tuned(beta) for beta in betas]
    if len({str(weights) for weights in rows["weights"]}) > 1:
        expected = "tells of one f, and this run's weights differ from β to β"
        raise SettingError("run directory", str(run.path), expected)
    sources: list[Source] = [OfPrior(f.model), *tuned]
    each = len(sources)
    counts = [request.n // each + (index < request.n % each) for index in range(each)]

    def generators(source: int, block: int) -> torch.Generator:
        return derived_generator(request.seed, "probability", source, block)

    constants = [one.acceptance.log_mean_se.item() for one in tuned if one.acceptance]
    pooled = drawn(
        f, sources, counts, request.noises, generators, max(constants, default=0.0), request.sign
    )
    return pooled, betas, [Status(status) for status in rows["status"]]


def _lost(statuses: Sequence[Status]) -> Lost:
    """Why P above a t rests on models that have lost a mode; empty where it does not."""

    def lost(whole: WeightedDraws, t: float) -> str:
        y = whole.above(t)
        ill = [index for index, status in enumerate(statuses, 1) if status in LOST]
        share = y[torch.isin(whole.source, torch.tensor(ill).to(whole.source))].sum() / y.sum()
        if ill and share > TOO_MUCH:
            worst = statuses[ill[-1] - 1]
            return f"{share:.0%} of it is told by tuned models whose verdict is {worst}"
        return ""

    return lost


def _remedy(request: Request, model: str, criterion: str) -> Remedy:
    """What mends an interval of this run."""
    pair = f"model={model} criterion={criterion}"

    def remedy(trust: Trust, t: float) -> str:
        at = f"{request.sign * t:g}"
        if trust is Trust.HEAVY_WEIGHTS:
            return f"more draws, as n={4 * request.n}, or a run with β between those of this one"
        if trust is Trust.DISAGREE:
            return "train longer, by tuning.first_steps and tuning.steps, or more draws by n="
        if request.sign < 0:
            return f"tune the negated criterion further, until E f is about {at}"
        return f"tune further, as btgm run {pair} target.C_f={at}"

    return remedy
