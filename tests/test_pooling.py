"""All draws at hand make a sharper reference, and none of them hides what q̂ has lost."""

import math

import pytest
import torch
from scipy.stats import norm

from btgm_cli.core.results import Status
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.tilt.estimates import few_repeats, jackknife
from btgm_cli.tilt.pooling import Pool, pooled
from btgm_cli.truth.references import Estimated
from tests.oracle import Affine, unit_direction
from tests.test_verdict import DIM, FIRST, figures_of, judged, latent

SHIFT, SCALE = 0.9, 1.1
"""Of q̂, as a share of the exact shift β, and its deviation."""

pytestmark = pytest.mark.usefixtures("brief_lessons")


def line(beta, seed, n_p=20_000, n_q=5000, n_tilt=0):
    """f = z of N(0, 1), whose tilt is N(β, 1): draws of p, of a wrong q̂, and of the tilt."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    def log_ratio(z):
        return -0.5 * ((z - SHIFT * beta) / SCALE).square() - math.log(SCALE) + 0.5 * z.square()

    of_p, of_q = normal(n_p), SHIFT * beta + SCALE * normal(n_q)
    of_tilt = beta + normal(8, n_tilt // 8)
    tilt = Pool(
        of_tilt,
        log_ratio(of_tilt),
        float(n_tilt),
        torch.full_like(of_tilt, 1 / max(n_tilt, 1)),
    )
    return pooled(
        beta,
        Pool.independent(of_p, log_ratio(of_p)),
        Pool.independent(of_q, log_ratio(of_q)),
        tilt if n_tilt else None,
    )


def exact_gap(beta):
    """KL(q̂ ‖ q_β) between two normal distributions, nats."""
    away = (SHIFT - 1) * beta
    return -math.log(SCALE) + 0.5 * (SCALE**2 + away**2 - 1)


EDGE, ISLAND = 2.5, (2.8, 2.802)
"""f is a cliff here; q̂ has nothing on the island, where 0.4 of 25,000 draws of p are expected."""


def test_an_island_that_no_draw_has_seen_is_in_the_error():
    """Of 100 repeats 95 are within two, four binomial errors 9; without it 69 were."""
    n_p, n_q, mass = 25_000, 20_000, norm.sf(EDGE)
    lost = (norm.cdf(ISLAND[1]) - norm.cdf(ISLAND[0])) / mass
    within = {"told": 0, "by the spread": 0}
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n_p, generator=generator, dtype=torch.double)
        f = torch.where(z > EDGE, 0.0, -20.0).double()
        on_island = (z > ISLAND[0]) & (z < ISLAND[1])
        ratio = torch.full_like(z, -math.inf)
        ratio[(z > EDGE) & ~on_island] = -math.log(mass * (1 - lost))
        of_q = torch.full((n_q,), -math.log(mass * (1 - lost)), dtype=torch.double)
        spread = pooled(
            1.0, Pool.independent(f, ratio), Pool.independent(torch.zeros_like(of_q), of_q)
        )
        off = abs(spread.reference.log_z - math.log(mass + math.exp(-20)))
        told = spread.with_one_more(0.0, n_p)
        within["told"] += off <= 2 * told.reference.log_z_se
        within["by the spread"] += off <= 2 * spread.reference.log_z_se
    assert within["told"] >= 86
    assert within["by the spread"] < 86


@pytest.mark.parametrize(
    ("beta", "n_tilt"),
    [
        (1.0, 0),
        pytest.param(3.5, 0, marks=pytest.mark.slow),
        pytest.param(3.5, 4000, marks=pytest.mark.slow),
    ],
)
def test_it_agrees_with_the_closed_form_and_errs_as_much_as_it_says(beta, n_tilt):
    """Of 120 repeats, errors within two of their own: 95 %, four binomial errors are 8 %."""
    found = [line(beta, seed, n_tilt=n_tilt) for seed in range(120)]
    half = beta**2 / 2
    errors = {
        "log_z": [(r.reference.log_z - half) / r.reference.log_z_se for r in found],
        "mean": [(r.reference.mean - beta) / r.reference.mean_se for r in found],
        "kl": [(r.reference.kl - half) / r.reference.kl_se for r in found],
        "gap": [(r.gap - exact_gap(beta)) / r.gap_se for r in found],
    }
    for name, values in errors.items():
        off = torch.tensor(values)
        assert abs(off.mean().item()) < 4 / math.sqrt(120), name
        assert (off.abs() <= 2).double().mean() > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 120), name


def test_the_draws_of_q_make_log_z_sharper():
    alone = Estimated(latent(Linear()), n=20_000, n_particles=8000, seed=0).at(1.5)
    both = line(1.5, 0).reference
    assert both.log_z_se < 0.5 * alone.log_z_se
    assert abs(both.log_z - 1.125) <= 4 * both.log_z_se


def test_the_error_of_a_few_repeats_is_widened_by_student():
    assert few_repeats(8) == pytest.approx(2.3646 / 1.96, abs=1e-3)
    assert few_repeats(100_000) == pytest.approx(1.0, abs=1e-4)
    assert few_repeats(1) == math.inf


def two_modes(share, apart):
    """Tilts N(0, I) at β = 1 into N(±apart, 1) along x₀, the lower one with this share."""

    def f(x):
        weights = math.log(1 - share), math.log(share)
        return torch.logaddexp(weights[0] + apart * x[:, 0], weights[1] - apart * x[:, 0])

    return f


def gap_without_the_lower(share, apart):
    """KL(N(apart, 1) ‖ both modes), nats, by quadrature: −log(1 − share) where they are apart."""
    z = torch.linspace(apart - 9, apart + 9, 100_001, dtype=torch.double)
    q = torch.exp(-0.5 * (z - apart).square()) / math.sqrt(2 * math.pi)
    both = torch.logaddexp(
        torch.full_like(z, math.log(1 - share)), math.log(share) - 2 * apart * z
    )
    return -torch.trapezoid(q * both, z).item()


@pytest.mark.parametrize(
    ("share", "apart"),
    [
        (0.2, 4.0),
        *(
            pytest.param(share, apart, marks=pytest.mark.slow)
            for share, apart in ((0.1, 2.0), (0.2, 2.0), (0.5, 2.0), (0.1, 4.0), (0.5, 4.0))
        ),
    ],
)
def test_a_planted_mode_drop_keeps_its_gap(share, apart):
    """q̂ is exact on the upper mode alone, and its own weights are as even as can be."""
    figures = figures_of(Affine(apart * FIRST), two_modes(share, apart), 1.0)
    assert abs(figures.kl_gap - gap_without_the_lower(share, apart)) <= 4 * figures.kl_gap_se
    assert figures.kl_gap_se < 0.05
    # A tenth is a gap of 0.105 and a coverage of 0.9: at the border of both.
    status = judged(figures).status
    assert status is not Status.OK
    assert share == 0.1 or apart == 2.0 or status is Status.MODE_DROPPED


def test_what_q_alone_has_seen_raises_log_z():
    """A reference whose few draws of p miss a rare mode that q̂ has."""
    exact = Affine(3.0 * unit_direction(DIM))
    few = Estimated(latent(Linear()), n=2000, n_particles=800, seed=0)
    figures = figures_of(exact, Linear(), 3.0, reference=few)
    assert abs(figures.kl_gap) <= 4 * figures.kl_gap_se + 1e-6
    assert abs(figures.reference.log_z - 4.5) <= 4 * figures.reference.log_z_se + 1e-6


def test_leaving_out_one_group_at_a_time_tells_the_error_of_a_variance():
    """Of 100 numbers that come ten times each, as if they were 1,000."""
    generator, groups = torch.Generator().manual_seed(0), torch.arange(100).repeat_interleave(10)
    errors = []
    for _ in range(100):
        x = torch.randn(100, generator=generator, dtype=torch.double)[groups]
        errors.append(jackknife(lambda kept, x=x: x[kept].var().item(), groups))
    found = torch.tensor(errors, dtype=torch.double) / few_repeats(100)
    # The variance of 100 numbers errs by √(2/99), that of 1,000 independent ones by a third of it.
    assert abs(found.mean().item() - math.sqrt(2 / 99)) < 4 * found.std().item() / 10


def test_leaving_out_groups_of_a_mean_is_the_spread_of_their_means():
    x = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.double)
    groups = torch.tensor([0, 0, 1, 1])
    # Means 1.5 and 6.5: half of their distance.
    assert jackknife(lambda kept: x[kept].mean().item(), groups) == pytest.approx(
        few_repeats(2) * 2.5
    )
