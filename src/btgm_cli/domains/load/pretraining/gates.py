"""The gates of the load VAE: its curves against real aggregates of the held-out weeks.

Differences are relative: 0.05 says that the model has 5 % more than the real curves.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.generator import StochasticVae
from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.weekly import HOURS_PER_WEEK, Aggregates, WeeklyLoad
from btgm_cli.domains.pretraining.elbo import held_out_bound
from btgm_cli.domains.pretraining.gates import CHUNK, SAMPLE_SEED, Gate, GateReport

SAMPLES = 20_000
BOUND_SAMPLES = 4_000
QUANTILES = {50: 0.05, 90: 0.05, 99: 0.10}
"""Quantile in per cent, and how far it may be off."""

PROFILE = 0.05
SPLITS = 5
SPLIT_SAMPLES = 5_000
UNITS = {"peak": "kw", "energy": "kwh", "variation": "1"}


def evaluate_vae(network: VaeNetwork, load: WeeklyLoad, households: int) -> GateReport:
    """Quantiles of peak, energy and variation, the daily profile, the ELBO; sampled decoder.

    Beside them, as yardsticks: the same differences of the mean decoder, of the real training
    weeks, and between two halves of the households.
    """
    real = real_curves(load, households)
    sampled, mean = model_curves(network)
    ours, theirs = statistics(sampled), statistics(real)
    differences = relative(ours, theirs)
    gates = [
        Gate(name, value, -limit, limit)
        for (name, value), limit in zip(differences.items(), _limits(), strict=True)
    ]
    profile = profile_difference(sampled, real)
    gates.append(
        Gate("daily profile, largest difference", profile.abs().max().item(), high=PROFILE)
    )
    metrics = {
        **_named("real", theirs),
        **_named("sampled", ours),
        **_named("mean_decoder", statistics(mean)),
        "profile_mean_difference": profile.abs().mean().item(),
        **_bounds(network, real),
        "noise_correlation": network.rho().item(),
        **_yardsticks(load, households, real),
    }
    return GateReport(gates, metrics)


def real_curves(load: WeeklyLoad, households: int) -> Tensor:
    """Real aggregates of the held-out weeks, kW, shape (SAMPLES, points)."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    return Aggregates(load.held_out(), households).draw(SAMPLES, rng)


def model_curves(network: VaeNetwork) -> tuple[Tensor, Tensor]:
    """Sampled curves of the model and mean ones, of the same z, kW, each (SAMPLES, points)."""
    vae = StochasticVae(network)
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    z, noise = vae.sample_prior(SAMPLES, rng), vae.noise(SAMPLES, rng)
    with torch.no_grad():
        pairs = zip(z.split(CHUNK), noise.split(CHUNK), strict=True)
        sampled = torch.cat([vae.decode_with(*pair) for pair in pairs])
        return sampled, torch.cat([vae.decode(part) for part in z.split(CHUNK)])


def statistics(x: Tensor) -> dict[str, float]:
    """Quantiles of the weekly peak (kW), energy (kWh) and coefficient of variation of x, kW."""
    values = {
        "peak": x.amax(1),
        "energy": x.mean(1) * HOURS_PER_WEEK,
        "variation": x.std(1) / x.mean(1),
    }
    return {
        f"{name} {percent} %": value.double().quantile(percent / 100).item()
        for name, value in values.items()
        for percent in QUANTILES
    }


def relative(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Each of our numbers over the other, less 1."""
    return {name: ours[name] / theirs[name] - 1 for name in ours}


def profile_difference(x: Tensor, real: Tensor) -> Tensor:
    """Relative difference of the mean day of x from that of real curves, shape (points / 7,)."""
    return mean_day(x) / mean_day(real) - 1


def mean_day(x: Tensor) -> Tensor:
    """The mean day of curves x (n, points), kW, shape (points / 7,)."""
    day: Tensor = x.mean(0).unflatten(0, (7, -1)).mean(0)
    return day


def autocorrelation(x: Tensor, lags: int) -> Tensor:
    """Mean over curves x (n, points) of the autocorrelation at lags 0 to `lags`."""
    centred = x - x.mean(1, keepdim=True)
    products = [
        (centred[:, : x.shape[1] - lag] * centred[:, lag:]).mean(1) for lag in range(lags + 1)
    ]
    return (torch.stack(products) / products[0]).mean(1)


def _bounds(network: VaeNetwork, real: Tensor) -> dict[str, float]:
    elbo, kl = held_out_bound(network, real[:BOUND_SAMPLES])
    return {"held_out_elbo_nats": elbo, "held_out_kl_nats": kl}


def _limits() -> Iterator[float]:
    """The limit of each number of `statistics`, in its order."""
    return (limit for _ in UNITS for limit in QUANTILES.values())


def _named(whose: str, numbers: dict[str, float]) -> dict[str, float]:
    """As metrics: `real_peak_q90_kw`."""
    named = {}
    for name, value in numbers.items():
        what, percent, _ = name.split()
        unit = "" if UNITS[what] == "1" else f"_{UNITS[what]}"
        named[f"{whose}_{what}_q{percent}{unit}"] = value
    return named


def _yardsticks(load: WeeklyLoad, households: int, real: Tensor) -> dict[str, float]:
    """How far real curves differ from real curves: what no model of these data can know."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    training = Aggregates(load.training(), households).draw(SAMPLES, rng)
    weeks = relative(statistics(training), statistics(real))
    profile = profile_difference(training, real).abs().max().item()
    return {
        **{f"training_weeks_{_key(name)}": value for name, value in weeks.items()},
        "training_weeks_profile_largest": profile,
        **_household_split(load, households, 0.5, "halves"),
        **_household_split(load, households, 0.8, "80_20"),
    }


def _household_split(
    load: WeeklyLoad, households: int, share: float, name: str
) -> dict[str, float]:
    """Mean |relative difference| of two parts of the households, over random splits."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    people = load.household.unique()
    rounds = []
    for _ in range(SPLITS):
        first = people[torch.randperm(len(people), generator=rng)][: round(share * len(people))]
        mask = torch.isin(load.household, first)
        try:
            parts = [Aggregates(load.where(m), households) for m in (mask, ~mask)]
        except SettingError:  # too few households for it
            return {}
        ours, theirs = (statistics(part.draw(SPLIT_SAMPLES, rng)) for part in parts)
        rounds.append(relative(ours, theirs))
    return {
        f"household_{name}_{_key(key)}": sum(abs(r[key]) for r in rounds) / SPLITS
        for key in rounds[0]
    }


def _key(name: str) -> str:
    """`peak 90 %` as peak_q90."""
    what, percent, _ = name.split()
    return f"{what}_q{percent}"
