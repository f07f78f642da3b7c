"""All draws count: log Z, E f and KL of a tilt from draws of several distributions at once.

Each draw is weighted as one of the mixture of all that was drawn from: the balance heuristic
(Veach & Guibas 1995; Owen & Zhou 2000). Where draws of the tilt itself are among them, whose
density has Z in it, the same equation is solved for Z: bridge sampling (Meng & Wong 1996), or MBAR
(Shirts & Chodera 2008). A weight is never larger than that of any one of the sources would be, so
that a
place which one of them has lost is not lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from btgm_cli.core.results import Reference
from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.tilt.estimates import few_repeats, pareto_k


@dataclass(frozen=True)
class Pool:
    """Draws of one distribution.

    Args:
        f: criterion on them, shape (G, m): G independent groups of m draws.
        log_ratio: log q̂ − log p on them, shape (G, m), nats; −inf where q̂ has nothing.
        count: how many independent draws they are worth.
        weights: of the draws, shape (G, m), of sum 1; None where all are alike.
    """

    f: Tensor
    log_ratio: Tensor
    count: float
    weights: Tensor | None = None

    @classmethod
    def independent(cls, f: Tensor, log_ratio: Tensor) -> Pool:
        """Independent draws with f and log q̂ − log p of shape (n,)."""
        return cls(f.double()[:, None], log_ratio.double()[:, None], float(f.numel()))

    def mean(self, values: Tensor) -> Tensor:
        """Over the draws, of values (G, m)."""
        return values.mean() if self.weights is None else (self.weights * values).sum()

    def error(self, values: Tensor) -> float:
        """Standard error of `mean(values)`, from the spread of the groups."""
        centred = values - self.mean(values)
        groups = len(values)
        weights = 1 / values.numel() if self.weights is None else self.weights
        each = groups * (weights * centred).sum(-1)
        return float(few_repeats(groups) * each.std().item() / math.sqrt(groups))


@dataclass(frozen=True)
class Pooled:
    """What the pools tell of a tilt.

    Args:
        reference: the tilt; whether to rely on it is for the caller to say.
        gap: KL(q̂ ‖ q_β), nats, from the loss L(β) on the second pool, q̂'s, and log Z.
        gap_se: its error; the two share draws.
        of_density: ∂ log Z / ∂ log q̂: how far an error of q̂'s constant reaches.
    """

    reference: Reference
    gap: float
    gap_se: float
    of_density: float

    def with_one_more(self, largest_f: float, n: float) -> Pooled:
        """The same, with errors as if one more of n draws of p had had the largest weight.

        Where q̂ has lost a little, p's draws are to tell of it; if none has come, their spread is
        silent. Of 100 repeats with 0.4 draws to be expected there, 69 errors of log Z were within
        two without this, and all with it.
        """
        own = self.reference
        share = math.exp(own.beta * largest_f - own.log_z) / n
        of_mean = share * (largest_f - own.mean)
        reference = replace(
            own,
            log_z_se=math.hypot(own.log_z_se, share),
            mean_se=math.hypot(own.mean_se, of_mean),
            kl_se=math.hypot(own.kl_se, own.beta * of_mean - share),
        )
        return replace(self, reference=reference, gap_se=math.hypot(self.gap_se, share))


def pooled(beta: float, of_p: Pool, of_q: Pool, of_tilt: Pool | None = None) -> Pooled:
    """The tilt at β from draws of p and of q̂, and of the tilt itself if there are any.

    Args:
        beta: the tilt.
        of_p: draws of p.
        of_q: draws of q̂.
        of_tilt: weighted draws of the tilt.
    """
    pools = [of_p, of_q] if of_tilt is None else [of_p, of_q, of_tilt]
    mixture = _Mixture(beta, pools, 0.0 if of_tilt is None else of_tilt.count)
    log_z = mixture.log_z()
    shares = mixture.shares(log_z)
    return _figures(beta, pools, mixture, shares, log_z)


@dataclass(frozen=True)
class _Mixture:
    """Weights of draws of the mixture of p, q̂, and the tilt, as shares of the tilt."""

    beta: float
    pools: Sequence[Pool]
    of_tilt: float

    def shares(self, log_z: float) -> list[Tensor]:
        """Of each pool's draws: e^{βf}/Z over the number of draws expected there, (G, m)."""
        log_n = [math.log(pool.count) for pool in self.pools[:2]]
        found = []
        for pool in self.pools:
            log_tilt = self.beta * pool.f - log_z
            log_mixture = torch.logaddexp(
                torch.full_like(log_tilt, log_n[0]), log_n[1] + pool.log_ratio
            )
            if self.of_tilt:
                log_mixture = torch.logaddexp(log_mixture, math.log(self.of_tilt) + log_tilt)
            found.append((log_tilt - log_mixture).exp())
        return found

    def total(self, shares: Sequence[Tensor]) -> float:
        """Sum over all draws; 1 at the right Z."""
        return sum(
            float(pool.count * pool.mean(share))
            for pool, share in zip(self.pools, shares, strict=True)
        )

    def log_z(self) -> float:
        """Where the shares add up to 1."""
        highest = max(float((self.beta * pool.f).max().item()) for pool in self.pools)
        if not self.of_tilt:
            return highest + math.log(self.total(self.shares(highest)))
        lowest = min(float((self.beta * pool.f).min().item()) for pool in self.pools)

        def too_low(log_z: float) -> bool:
            return self.total(self.shares(log_z)) > 1

        return half(*bisect(too_low, lowest, highest, 60))


def _figures(
    beta: float, pools: Sequence[Pool], mixture: _Mixture, shares: list[Tensor], log_z: float
) -> Pooled:
    def total(of: Callable[[Pool, Tensor], Tensor]) -> float:
        pairs = zip(pools, shares, strict=True)
        return sum(float(pool.count * pool.mean(of(pool, share))) for pool, share in pairs)

    mean = total(lambda pool, c: c * pool.f)
    var = total(lambda pool, c: c * (pool.f - mean).square())
    m3 = total(lambda pool, c: c * (pool.f - mean).pow(3))
    # Everything is linearised about the solution: a draw's influence on log Z, on the mean and on
    # the loss. Where the tilt's own draws take part, log Z moves the shares as well.
    firm = total(lambda _, c: c * (1 - mixture.of_tilt * c))
    drag = mixture.of_tilt * total(lambda pool, c: c.square() * (pool.f - mean))
    on_log_z = [share / firm for share in shares]
    on_mean = [
        share * (pool.f - mean) + drag * influence
        for pool, share, influence in zip(pools, shares, on_log_z, strict=True)
    ]
    of_q = pools[1]
    loss = of_q.log_ratio - beta * of_q.f
    on_gap = list(on_log_z)
    on_gap[1] = on_gap[1] + loss / of_q.count

    def error(influences: Sequence[Tensor]) -> float:
        pairs = zip(pools, influences, strict=True)
        return math.hypot(*(pool.count * pool.error(values) for pool, values in pairs))

    log_n = math.log(of_q.count)
    of_density = total(
        lambda pool, c: (2 * c.log() + log_n + pool.log_ratio - beta * pool.f + log_z).exp()
    )
    reference = Reference(
        beta=beta,
        mean=mean,
        mean_se=error(on_mean),
        var=var,
        m3=m3,
        kl=beta * mean - log_z + 0.0,
        kl_se=error([beta * b - a for a, b in zip(on_log_z, on_mean, strict=True)]),
        log_z=log_z,
        log_z_se=error(on_log_z),
        method="mis" if not mixture.of_tilt else "bridge",
        ess=1 / max(total(lambda _, c: c.square()), 1e-300),
        pareto_k=_tail(shares),
        reliable=True,
    )
    gap = float(of_q.mean(loss).item()) + log_z
    return Pooled(reference, gap, error(on_gap), -of_density / firm)


def _tail(shares: Sequence[Tensor]) -> float:
    """Shape k̂ of the tail of the shares of p's and q̂'s draws."""
    return pareto_k(torch.cat([share.flatten() for share in shares[:2]]).log())
