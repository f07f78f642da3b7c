"""Free energies against Gaussians' closed forms, Bennett's ratio against pymbar's."""

import math

import numpy as np
import pytest
import torch

from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.free_energy import acceptance_ratio, difference, profile

N = 40_000


def normal(n, seed=0, dim=1):
    z = torch.randn(n, dim, generator=derived_generator(seed), dtype=torch.double)
    return z.squeeze(-1)


def shares(edges, mean, scale=1.0):
    """Of N(mean, scale²) between these edges."""
    below = torch.special.ndtr((torch.as_tensor(edges, dtype=torch.double) - mean) / scale)
    return below.diff()


@pytest.mark.parametrize("mean", [0.0, 0.7])
def test_the_profile_of_a_gaussian_is_a_parabola(mean):
    """Draws of N(0, 1) weighted to N(mean, 1): −log of the exact share of each bin."""
    z, edges = normal(N), torch.linspace(-1.5, 2.0, 36, dtype=torch.double)
    found = profile(z, mean * z + 3.0, edges)  # the constant cancels
    exact = edges.diff().log() - shares(edges, mean).log()
    off = (found.free_energy - exact) / found.error
    assert off.abs().max() < 4
    assert 0.6 < off.square().mean().sqrt() < 1.4  # the errors are no wider than they must be
    assert (found.effective > 100).all()


def test_bins_without_draws_are_infinite_and_nothing_is_counted_twice():
    values = torch.tensor([0.0, 0.5, 1.0, 7.0], dtype=torch.double)
    edges = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0], dtype=torch.double)
    found = profile(values, torch.zeros(4), edges)
    wanted = [math.log(0.5 / 0.25), math.log(0.5 / 0.25), math.log(1 / 0.25), math.inf]
    assert found.free_energy.tolist() == pytest.approx(wanted)
    assert found.effective.tolist() == [1, 1, 1, 0]
    assert found.error[3].isnan()
    assert found.error[0].item() == pytest.approx(math.sqrt((4 - 2 + 1) / 4))


@pytest.mark.parametrize("mean", [0.0, 1.0, -1.0])
def test_the_difference_of_two_sides_of_a_gaussian(mean):
    z = normal(N, seed=1)
    found = difference(z, mean * z, split=0.5)
    above = shares([0.5, math.inf], mean).item()
    assert abs(found.value - math.log((1 - above) / above)) < 4 * found.error
    assert found.above == pytest.approx(above, abs=4 * found.error * above)


def test_the_error_of_a_difference_is_that_of_repeats():
    found = [difference(z := normal(2000, seed), 0.8 * z, split=0.0) for seed in range(200)]
    spread = np.std([each.value for each in found], ddof=1)
    told = np.mean([each.error for each in found])
    assert abs(told / spread - 1) < 4 / math.sqrt(2 * 199)


def test_a_side_without_draws_has_no_difference():
    z = normal(100).abs()
    found = difference(z, torch.zeros(100), split=0.0)
    assert (found.value, found.effective) == (-math.inf, 0.0)
    assert math.isnan(found.error)


def gaussian_works(n, m, scale, seed=0):
    """u of N(0, 1) and of N(0, scale²), both without their constants: F₁ − F₀ = −log scale."""
    first, second = normal(n, seed), scale * normal(m, seed + 1)

    def work(x):
        return 0.5 * (x / scale).square() - 0.5 * x.square()

    return work(first), -work(second), -math.log(scale)


@pytest.mark.parametrize(("n", "m", "scale"), [(5000, 5000, 2.0), (20_000, 500, 0.5)])
def test_bennetts_ratio_of_two_gaussians(n, m, scale):
    forward, reverse, exact = gaussian_works(n, m, scale)
    value, error = acceptance_ratio(forward, reverse)
    assert abs(value - exact) < 4 * error
    assert 0 < error < 0.1


def test_its_error_is_that_of_repeats():
    found = [acceptance_ratio(*gaussian_works(1000, 1000, 2.0, 2 * k)[:2]) for k in range(100)]
    spread = np.std([value for value, _ in found], ddof=1)
    told = np.mean([error for _, error in found])
    assert abs(told / spread - 1) < 4 / math.sqrt(2 * 99)


@pytest.mark.parametrize(("n", "m", "scale"), [(5000, 5000, 2.0), (20_000, 500, 0.5)])
def test_it_is_pymbars(n, m, scale):
    pymbar = pytest.importorskip("pymbar")
    forward, reverse, _ = gaussian_works(n, m, scale)
    theirs = pymbar.bar(forward.numpy(), reverse.numpy())
    value, error = acceptance_ratio(forward, reverse)
    assert value == pytest.approx(theirs["Delta_f"], abs=1e-6)
    assert error == pytest.approx(theirs["dDelta_f"], rel=1e-3)


def test_what_one_state_never_visits_counts_as_refused():
    """State 1 is uniform on twice the length of state 0: half of its draws are nowhere in 0."""
    reverse = torch.where(torch.arange(1000) % 2 == 0, 0.0, math.inf)
    value, error = acceptance_ratio(torch.zeros(1000), reverse)
    assert value == pytest.approx(-math.log(2), abs=4 * error)


def test_fewer_independent_draws_widen_the_error():
    forward, reverse, exact = gaussian_works(5000, 5000, 2.0)
    value, error = acceptance_ratio(forward, reverse, independent=100)
    assert error > 3 * acceptance_ratio(forward, reverse)[1]
    assert abs(value - exact) < 4 * error


@pytest.mark.parametrize("works", [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_works_that_are_no_numbers_are_refused(works):
    with pytest.raises(ValueError, match="works must be numbers"):
        acceptance_ratio(*map(torch.tensor, works))
