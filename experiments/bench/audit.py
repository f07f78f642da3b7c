"""Part `audit`: planted faults and healthy draws, and what the audit says of each."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

import pandas as pd
import torch
from experiments.bench.faults import (
    Line,
    Profile,
    best_of,
    beta_at,
    drawn,
    linear,
    plateau,
    quadratic,
    rare,
    skewed,
    total_variation,
    two_modes,
    without,
    wrong_beta,
    wrong_scale,
)
from experiments.bench.settings import Settings
from experiments.bench.table import Table
from torch import Tensor

from btgm_cli import audit
from btgm_cli.core.results import Status
from btgm_cli.domains.analytic.gaussian import Gaussian

DIMS = (2, 8, 32, 64)
SIZES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
BESTS = (2, 3, 4, 8, 16, 64)
N = 2000
LIMITS = (1000, 5000, 10_000)
"""Other numbers of draws, that show what size of fault is seen at which."""

LIMIT_DIMS = (8, 64)

HEALTHY = 3
"""Files of each healthy kind to one of a faulty."""

PROFILES: dict[str, tuple[Profile, float]] = {
    "linear": (linear, 1.6),
    "quadratic": (quadratic, 3.0),
    "plateau": (plateau, 3.0),
    "rare": (rare, 1.0),
    "skewed": (skewed, 0.5),
    **{f"two modes, {share:.0%}": (two_modes(share), 1.0) for share in SIZES},
}
"""Profiles along the direction, with the β of their tilts; shares are the lower mode's."""

ALL = ("linear", "quadratic", "plateau", "rare", "skewed", "two modes, 30%")
FAR = ("linear", "rare", "two modes, 30%")
"""Whose tilts are far enough from p and from each other for a fault of any size."""

FAULTS = {
    "part dropped": ALL,
    "mode dropped": ("two modes",),
    "leak": FAR,
    "beta up": FAR,
    "beta down": FAR,
    "scale up": ALL,
    "scale down": ALL,
    "collapse": ALL,
    "repeats": ALL,
}
"""Of any size, and the profiles that each is planted in, in turn."""

RISING = ("linear", "plateau", "rare", "skewed")
"""Whose best of n draws is that of the largest coordinate."""

GIVEN = ("z", "z, log q", "x")
COLUMNS = (
    "kind",
    "profile",
    "dim",
    "asked",
    "n",
    "given",
    "seed",
    "size",
    "status",
    "reason",
)

FOUND = (Status.MODE_DROPPED, Status.UNDERTRAINED)
"""What is said of a fault that is caught; for want of a reference none is."""

LARGE = 0.1
"""Faults from here on are to be caught."""


@dataclass(frozen=True)
class Case:
    """Draws to audit.

    Args:
        kind: healthy, or of the fault.
        profile: one of `PROFILES`.
        dim: D.
        asked: size of the fault as total variation; of `repeats` the share of the rows; of `best
            of n` n itself.
        n: draws.
        given: what the audit is given: z, z and log q̂, or x.
        seed: of the draws and of the audit.
    """

    kind: str
    profile: str
    dim: int
    asked: float
    n: int
    given: str
    seed: int

    @property
    def generator(self) -> torch.Generator:
        """Its own, of the draws."""
        return torch.Generator().manual_seed(zlib.crc32(repr(self).encode()))

    @property
    def line(self) -> Line:
        """The tilts."""
        return Line(PROFILES[self.profile][0], self.dim, zlib.crc32(repr(self).encode()) + 1)


def run(settings: Settings) -> None:
    """The table of all cases, and what it comes to."""
    table = Table(settings.folder / "audit.csv", COLUMNS, key=7)
    for case in quick_cases() if settings.quick else cases(settings.seeds):
        if not table.has(*asdict(case).values()):
            table.add(measure(case))
    print(f"\n{table.path}\n{summary(table.frame())}", flush=True)


def cases(seeds: int) -> Iterator[Case]:
    """All of them."""
    for seed in range(seeds):
        for dim in DIMS:
            for given, k in product(GIVEN, range(HEALTHY)):
                own = HEALTHY * seed + k
                yield from (Case("healthy", each, dim, 0.0, N, given, own) for each in ALL)
            yield from (_best(dim, k, seed) for k in range(len(BESTS)))
            for size in SIZES:
                yield from _faulty(dim, size, N, seed)
    for n in LIMITS:
        for dim in LIMIT_DIMS:
            for size in SIZES[1:3]:
                yield from _faulty(dim, size, n, seed=0)


def quick_cases() -> Iterator[Case]:
    """One of each kind."""
    yield Case("healthy", "linear", 2, 0.0, 1000, "z", 0)
    yield Case("best of n", "linear", 2, 16.0, 1000, "z", 0)
    yield from _faulty(2, 0.3, 1000, 0)


def _faulty(dim: int, size: float, n: int, seed: int) -> Iterator[Case]:
    """A case of each fault that can have any size."""
    turn = DIMS.index(dim) + SIZES.index(size) + seed
    for kind, profiles in FAULTS.items():
        profile = profiles[turn % len(profiles)]
        if kind == "mode dropped":
            profile = f"two modes, {size:.0%}"
        yield Case(kind, profile, dim, size, n, "z", seed)


def _best(dim: int, k: int, seed: int) -> Case:
    """A case of the best of so many."""
    profile = RISING[(k + seed + DIMS.index(dim)) % len(RISING)]
    return Case("best of n", profile, dim, float(BESTS[k]), N, "z", seed)


def measure(case: Case) -> dict[str, object]:
    """What the audit says of a case: a row of the table."""
    x, beta, size = draws_of(case)
    log_q = case.line.log_density(x, beta) if case.given == "z, log q" else None
    found = audit(
        None if case.given == "x" else x,
        Gaussian(case.dim),
        case.line.criterion,
        beta,
        log_q,
        x=x,
        seed=case.seed,
    )
    told = {"size": size, "status": str(found.status), "reason": found.verdict.reason}
    return asdict(case) | told


def draws_of(case: Case) -> tuple[Tensor, float, float]:
    """The draws x (n, D) of a case, the β that they are said to have, and the fault's size."""
    line, generator, size = case.line, case.generator, case.asked
    beta = PROFILES[case.profile][1]
    right = line.tilt(beta)
    scale, wrong = 1.0, right
    if case.kind in ("part dropped", "mode dropped"):
        wrong = without(right, size)
    elif case.kind == "leak":
        prior = line.tilt(0.0)
        wrong = right + (prior - right) * size / total_variation(right, prior)
    elif case.kind in ("beta up", "beta down"):
        wrong = wrong_beta(line, beta, size, case.kind == "beta up")
    elif case.kind in ("scale up", "scale down"):
        scale = wrong_scale(case.dim - 1, size, case.kind == "scale up")
    elif case.kind == "best of n":
        wrong = best_of(int(size))
        beta = beta_at(line, line.mean(wrong))
        size = total_variation(wrong, line.tilt(beta))
    x = line.place(drawn(wrong, case.n, generator), scale, generator)
    if case.kind == "collapse":
        _collapse(x, line, size, generator)
    if case.kind == "repeats":
        kept = round(case.n * (1 - size))
        x[kept:] = x[torch.randint(kept, (case.n - kept,), generator=generator)]
    return x, beta, size


def _collapse(x: Tensor, line: Line, share: float, generator: torch.Generator) -> None:
    """Put a share of the draws x (n, D) where an optimizer would end: about one good draw."""
    best = x[line.criterion(x[:100]).argmax()].clone()
    stuck = torch.rand(len(x), generator=generator) < share
    x[stuck] = best + 0.05 * torch.randn(int(stuck.sum()), x.shape[1], generator=generator)


def summary(rows: pd.DataFrame) -> str:
    """False alarms, and the share caught by kind and size, and by size and n."""
    healthy, faulty = (rows[(rows["kind"] == "healthy") == each] for each in (True, False))
    alarms = int((healthy["status"] != Status.OK).sum())
    faulty = faulty.assign(size=_bins(faulty["size"]), caught=faulty["status"].isin(FOUND))
    main, large = faulty[faulty["n"] == N], faulty[faulty["size"] >= LARGE]
    parts = [
        f"healthy: {alarms} of {len(healthy)} alarms",
        f"faults of {LARGE:.0%} and more, n = {N}: {_share(large[large['n'] == N]['caught'])}",
        main.pivot_table("caught", "kind", "size", aggfunc=_share, fill_value="").to_string(),
    ]
    others = faulty[faulty["kind"] != "best of n"]
    table = others.pivot_table("caught", "n", "size", aggfunc=_share, fill_value="")
    words = main.groupby("kind")["status"].value_counts().unstack(fill_value=0)
    return "\n\n".join([*parts, table.to_string(), words.to_string()])


def _bins(size: pd.Series[float]) -> pd.Series[float]:
    """The largest of `SIZES` that is not above it; 0 below them all."""
    edges = [0.0, *(each - 5e-4 for each in SIZES), 1.1]
    return pd.cut(size, edges, labels=[0.0, *SIZES]).astype(float)


def _share(caught: pd.Series[bool]) -> str:
    return f"{int(caught.sum())} / {len(caught)}"
