"""Likelihoods of the queue's five quantiles, tried beside brute force before one was chosen.

    python -m experiments.simulators.alternatives [SEED …]

Each has 10⁵ queues but the semi-parametric one (An, Nott & Drovandi, *Statistics and Computing*
30, 2020: a normal copula of kernel densities), which simulates at each θ anew: it and a normal
beside it have 10⁶, at θ about the posterior that brute force has found, and so begin where the
others have to end. Writes `alternatives_SEED.csv` where it stands; that of seed 1 is
`alternatives.csv`.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from experiments.simulators.__main__ import exact, observed
from experiments.simulators.queue_truths import NAMES, statistics
from experiments.simulators.truths import Exact, Floats
from scipy.special import ndtr, ndtri
from scipy.stats import gaussian_kde, multivariate_normal, rankdata

from btgm_cli import load_model
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator, derived_seed
from btgm_cli.domains.simulators.fit import Fit
from btgm_cli.domains.simulators.fitted import FittedDensity, FittedLikelihood
from btgm_cli.domains.simulators.model import Parameters, load_simulator
from btgm_cli.domains.simulators.shipped import queue, queue_summary
from btgm_cli.report.markdown import Row
from btgm_cli.store.tables import write_table

Found = tuple[Floats, Floats, str]
"""Mean and deviation of θ, shapes (3,), and what is said of them."""

SIMULATIONS = 100_000
PLACES, UNITS = 2000, 500
"""θ of an importance sample, and queues at each."""

WIDER = 1.5
"""Than the posterior's deviations, those of the importance sample."""

FITS: dict[str, dict[str, object]] = {
    "normal, emulated": {"method": "synthetic"},
    "normal, of learned statistics": {"method": "synthetic", "learned": True},
    "density": {"method": "neural"},
    "density of learned statistics": {"method": "neural", "learned": True},
}


def quantiles(theta: Mapping[str, float], n: int, rng: np.random.Generator) -> Floats:
    """The queue's five log-quantiles as columns, shape (n, 5), of which statistics are learned."""
    return queue_summary(queue(theta, n, rng))


def normal(s: Floats, data: Floats) -> float:
    """log-likelihood of data (5,) by a normal with the moments of s (n, 5)."""
    return float(multivariate_normal(s.mean(0), np.cov(s.T)).logpdf(data))


def semi_parametric(s: Floats, data: Floats) -> float:
    """The same by kernel densities of each statistic and a normal copula, by ranks."""
    kernels = [gaussian_kde(column) for column in s.T]
    scores = ndtri(rankdata(s, axis=0) / (len(s) + 1))
    below = np.array([k.integrate_box_1d(-np.inf, x) for k, x in zip(kernels, data, strict=True)])
    at = ndtri(np.clip(below, ndtr(-8), ndtr(8)))
    copula = multivariate_normal(np.zeros(5), np.corrcoef(scores.T)).logpdf(at)
    alone = sum(k.logpdf(x)[0] for k, x in zip(kernels, data, strict=True))
    return float(copula + alone + 0.5 * (at**2).sum() + 2.5 * np.log(2 * np.pi))


def by_importance(truth: Exact, seed: int) -> dict[str, Found]:
    """Mean and deviation by both, of θ about the truth."""
    model = load_model("queue")
    assert isinstance(model, Parameters)
    low, high = np.array([each.numbers for each in model.simulator.prior.parameters]).T
    rng = np.random.default_rng(derived_seed(seed, "alternatives"))
    z = rng.standard_normal((4 * PLACES, 3))
    theta = truth.mean + WIDER * truth.sd * z
    inside = ((theta > low) & (theta < high)).all(1)
    theta, z = theta[inside][:PLACES], z[inside][:PLACES]
    data = queue_summary(observed("queue", seed))[0]
    likelihoods: dict[str, Callable[[Floats, Floats], float]]
    likelihoods = {"normal, at each θ": normal, "semi-parametric": semi_parametric}
    log_l = np.empty((len(likelihoods), PLACES))
    for k, one in enumerate(theta):
        s = statistics(np.tile(one, (UNITS, 1)), rng)
        log_l[:, k] = [likelihood(s, data) for likelihood in likelihoods.values()]
    log_w = log_l + 0.5 * (z**2).sum(1)
    found = {}
    for name, each in zip(likelihoods, log_w, strict=True):
        w = np.exp(each - each.max())
        w /= w.sum()
        mean = w @ theta
        sd = np.sqrt(w @ (theta - mean) ** 2)
        found[name] = mean, sd, f"{1 / (w**2).sum():.0f} effective draws"
    return found


def by_fit(seed: int, name: str) -> dict[str, Found]:
    """Mean and deviation of 1,000 draws by tempered SMC, and what the fit says of itself."""
    shipped = load_model("queue")
    assert isinstance(shipped, Parameters)
    prior = {p.name: {p.family: p.numbers} for p in shipped.simulator.prior.parameters}
    model = load_simulator("experiments.simulators.alternatives:quantiles", prior)
    with TemporaryDirectory() as folder:
        data = Path(folder) / "quantiles.npy"
        np.save(data, queue_summary(observed("queue", seed)))
        fit = Fit(str(data), SIMULATIONS, folder, **FITS[name])  # type: ignore[arg-type]
        made = settled(fit, model, derived_generator(seed, "alternatives"))
    assert isinstance(made, FittedLikelihood | FittedDensity)
    theta = made.fitted.theta
    return {name: (theta.mean(0).numpy(), theta.std(0).numpy(), made.doubt or "ok")}


def rows(seed: int) -> list[Row]:
    """A row for each likelihood and parameter."""
    truth = exact("queue", seed)
    if truth is None:
        raise SystemExit(f"queue_truths.csv has no data of seed {seed}")
    ways: list[Callable[[], dict[str, Found]]] = [lambda: by_importance(truth, seed)]
    ways += [partial(by_fit, seed, name) for name in FITS]
    found: list[Row] = []
    for way in ways:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        told = way()
        seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
        for name, (mean, sd, verdict) in told.items():
            off, ratio = (mean - truth.mean) / truth.sd, sd / truth.sd
            for k, parameter in enumerate(NAMES):
                row: Row = {"data": seed, "likelihood": name, "parameter": parameter}
                row |= {"off": float(off[k]), "ratio": float(ratio[k]), "says": verdict}
                found.append(row | {"processor_seconds": seconds})
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for word in sys.argv[1:] or ["1"]:
        write_table(Path(f"alternatives_{word}.csv"), rows(int(word)))
