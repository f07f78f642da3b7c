"""P(f > t) from weighted draws: exact tails, intervals that cover, and what must be caught."""

import math

import pytest
import torch
from scipy.stats import chi2, norm

from btgm_cli import TunedModel
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.exceedance import (
    WeightedDraws,
    exceedance,
    limits,
    return_level,
    unseen,
)
from btgm_cli.truth.exceeding import OfPrior, Trust, drawn, judged
from tests.oracle import Affine, unit_direction

DIM = 4


def pooled(criterion, flows, n=2000, seed=0):
    """As many draws of p as of each flow, with f on them."""
    model = Gaussian(DIM)
    sources = [OfPrior(model), *(TunedModel(model, flow) for flow in flows)]

    def generators(source, block):
        return derived_generator(seed, source, block)

    return drawn(LatentCriterion(model, criterion), sources, [n] * len(sources), 1, generators)


def tilts(betas, side=1.0):
    """Exact tilts of N(0, I) by the linear criterion."""
    return [Affine(side * beta * unit_direction(DIM)) for beta in betas]


def verdict(draws, t, of_one=(1,)):
    return judged(draws.whole, t, [draws.halves(of_one), draws.random_halves()])


def test_normal_tails_from_exact_tilts():
    draws = pooled(Linear(), tilts([1.5, 3, 4.75, 6]))
    for t in (-2.0, 0.0, 1.0, 3.0, 4.75, 6.0):
        one = verdict(draws, t, (1, 3))
        found, exact = one.found, norm.sf(t)
        assert one.trust is Trust.OK
        assert found.low < found.probability < found.high
        assert abs(found.probability / exact - 1) < 4 * found.relative_se < 0.3
    assert norm.sf(6.0) < 1e-9  # where 10,000 draws of p would have met nothing


def test_chi_squared_lower_tails_from_exact_tilts():
    """−|x|²/2 > t is |x|² < −2t: a ball that is rarely met."""
    flows = [Affine(torch.zeros(DIM), 1 / math.sqrt(1 + beta)) for beta in (2.0, 20.0, 200.0)]
    draws = pooled(Quadratic(), flows)
    for t in (-1.0, -0.1, -0.01):
        one = verdict(draws, t, (1, 3))
        assert one.trust is Trust.OK
        error = 4 * one.found.relative_se
        assert abs(one.found.probability / chi2.cdf(-2 * t, DIM) - 1) < error < 0.3


def test_what_no_draw_reaches_has_an_upper_bound():
    draws = pooled(Linear(), tilts([1.0]))
    one = verdict(draws, 40.0)
    assert one.trust is Trust.UPPER_BOUND
    assert one.found.probability == one.found.low == 0
    assert one.found.high == unseen(2000) == pytest.approx(3 / 2000, rel=0.01)
    assert unseen(0) == 1


def test_few_draws_beyond_carry_no_interval():
    one = verdict(pooled(Linear(), tilts([1.0])), 4.0)
    assert one.trust is Trust.FEW_DRAWS
    assert "and 100 are needed" in one.reason


def two_sided(x):
    """Beyond t on either side."""
    return (x @ unit_direction(DIM)).abs()


def test_a_side_that_one_half_has_not_seen_is_caught():
    """Each tuned model has one side alone; p has neither: each half is sure of half of P."""
    flows = [*tilts([5.0]), *tilts([5.0], side=-1.0)]
    draws = pooled(two_sided, flows)
    assert verdict(draws, 5.0).trust is Trust.OK  # the mixture has both
    other_models = pooled(two_sided, [tilts([5.0])[0], Affine(-5.0 * unit_direction(DIM), 0.9)])
    pairs = [other_models.halves([1])]
    one, other = (exceedance(half, 5.0) for half in pairs[0])
    assert one.probability == pytest.approx(norm.sf(5), rel=0.2)  # half of it
    assert other.probability == pytest.approx(norm.sf(5), rel=0.2)
    lopsided = pooled(two_sided, [*tilts([5.0, 5.2]), *tilts([5.0], side=-1.0)])
    one = judged(lopsided.whole, 5.0, [lopsided.halves([1])])
    assert one.trust is Trust.DISAGREE
    assert "by one half" in one.reason


def test_heavy_weights_are_caught():
    """A proposal far too narrow for the tail, and no other: the weights have no variance."""
    model = Gaussian(DIM)
    narrow = TunedModel(model, Affine(4.0 * unit_direction(DIM), 0.45))
    f = LatentCriterion(model, Linear())
    made = drawn(f, [OfPrior(model), narrow], [10, 20_000], 1, lambda *a: derived_generator(3, *a))
    one = judged(made.whole, 3.5, [made.random_halves()])
    assert one.found.pareto_k > 0.7
    assert one.trust is Trust.HEAVY_WEIGHTS


def test_what_is_known_to_be_lost_is_told():
    draws = pooled(Linear(), tilts([2.0])).whole
    one = judged(draws, 2.0, [], lost="the models above have lost a mode")
    assert (one.trust, one.reason) == (Trust.LOST, "the models above have lost a mode")


def test_noise_of_the_decoder_is_averaged():
    """f = z + ε with four ε for each z: N(0, 2)."""
    generator = derived_generator(0)
    z = 2 + torch.randn(4000, generator=generator).double()
    noise = torch.randn(4000, 4, generator=generator).double()
    source = torch.ones(4000).long()
    draws = WeightedDraws((z - 2).square() / 2 - z.square() / 2, z[:, None] + noise, source)
    found, exact = exceedance(draws, 4.0), norm.sf(4 / math.sqrt(2))
    assert abs(found.probability / exact - 1) < 4 * found.relative_se < 0.3


def test_return_levels_are_quantiles_of_the_tail():
    draws = pooled(Linear(), tilts([2, 3, 4])).whole
    for probability in (1e-2, 1e-4):
        level, low, high = return_level(draws, probability)
        assert low < level < high
        assert abs(level - norm.isf(probability)) < high - low < 0.2
    shallow = pooled(Linear(), []).whole
    assert all(map(math.isnan, return_level(shallow, 1e-9)))


def test_limits_of_equal_weights_are_those_of_a_poisson_count():
    """Mid-P: of 10 counts [5.09, 17.8] (Cohen & Yang 1994); of many, the normal ones."""
    low, high = limits(10.0, math.sqrt(10.0), 1.0)
    assert (low, high) == pytest.approx((5.09, 17.82), abs=0.02)
    low, high = limits(1.0, 0.001, 1e-6)
    assert (low, high) == pytest.approx((1 - 0.00196, 1 + 0.00196), abs=1e-5)
    assert limits(0.0, 0.0, 1.0) == (0.0, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_p", "n_q", "shift", "scale", "t"),
    [
        (1000, 0, 0.0, 1.0, 2.0),  # 23 equal weights
        (500, 2000, 4.75, 1.0, 4.75),
        (500, 2000, 4.75, 0.5, 4.75),
        (500, 2000, 5.5, 0.4, 4.75),
        (100, 500, 3.0, 1.0, 4.75),  # 14 effective draws
        (200, 1000, 2.0, 0.8, 3.5),
        (500, 500, 0.5, 1.0, 0.0),
    ],
)
def test_intervals_cover(n_p, n_q, shift, scale, t):
    """Of 2,000 repeats 95 % within four standard errors of that; each side misses alike."""
    exact, repeats, below, above = norm.sf(t), 2000, 0, 0
    generator = derived_generator(0, n_q, shift, scale)
    for _ in range(repeats):
        own, wide = torch.randn(2, max(n_p, n_q), generator=generator).double()
        z = torch.cat([own[:n_p], shift + scale * wide[:n_q]])
        log_q = -(((z - shift) / scale) ** 2) / 2 - math.log(scale)
        ratio = log_q + z**2 / 2 + math.log(max(n_q, 1e-300) / (n_p + n_q))
        log_m = torch.logaddexp(ratio, torch.full_like(z, math.log(n_p / (n_p + n_q))))
        source = torch.cat([torch.zeros(n_p), torch.ones(n_q)]).long()
        draws = WeightedDraws(-log_m, z[:, None], source)
        found = exceedance(draws, t, with_tail=False)
        below, above = below + (found.high < exact), above + (found.low > exact)
    error = math.sqrt(0.95 * 0.05 / repeats)
    assert abs(1 - (below + above) / repeats - 0.95) < 4 * error
    assert max(below, above) / repeats < 0.025 + 4 * math.sqrt(0.025 / repeats)
