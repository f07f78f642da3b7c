"""Moves along the gradient of f: the tilt stays as it is, however wide the space."""

import math

import pytest
import torch

from btgm_cli import load_criterion
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.digits.generator import Digits, Generator
from btgm_cli.domains.ising.criteria import Ising
from btgm_cli.domains.ising.exact import CRITICAL, kaufman
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.truth.gradient_moves import WIDE, GradientMoves, has_cheap_gradient
from btgm_cli.truth.moves import GRADIENT
from btgm_cli.truth.references import latent_smc

BETA, N = 2.0, 2000


def linear(x):
    return x.sum(-1) / math.sqrt(x.shape[-1])


def misled(x):
    """The same values, with the gradient of another function."""
    other = 0.3 * x[:, 0].square()
    return linear(x).detach() + other - other.detach()


def hard(x):
    """Half of the space, without a gradient."""
    return (x > 0).float().mean(-1)


def moved(f, seed=0):
    """Exact draws of N(0, I) tilted by z·1/√D, N(β/√D, I), after the moves of one rung."""
    model = Gaussian(WIDE)
    latent = LatentCriterion(model, f)
    z = model.sample_prior(N, derived_generator(seed)) + BETA / math.sqrt(WIDE)
    moves = GradientMoves(latent)
    found = moves(BETA, z, f(z).double(), f, derived_generator(seed, "moves"))
    return z, *found, moves


@pytest.mark.parametrize("f", [linear, misled])
def test_the_tilt_stays_as_it_is_whatever_the_gradient_says(f):
    start, z, values, moves = moved(f)
    assert torch.equal(values.float(), f(z))
    assert (z != start).any(-1).double().mean() > 0.5
    # Of variance 1 along f.
    assert abs(values.mean().item() - BETA) <= 4 / math.sqrt(N)
    assert abs(values.var().item() - 1) <= 4 * math.sqrt(2 / N)
    assert moves.gradients % N == 0
    assert moves.gradients > 2 * N


def test_what_f_cannot_judge_is_never_moved_to():
    def cliff(x):
        return torch.where(x[:, 0] > 1.5, torch.nan, linear(x))

    latent = LatentCriterion(Gaussian(WIDE), cliff)
    z = Gaussian(WIDE).sample_prior(N, derived_generator(2))
    z = z[z[:, 0] < 1.5]
    found, values = GradientMoves(latent)(BETA, z, cliff(z).double(), cliff, derived_generator(3))
    assert (found[:, 0] <= 1.5).all()
    assert torch.isfinite(values).all()
    assert (found != z).any()


def test_the_ladder_follows_the_gradient_in_a_wide_space_and_pays_for_it():
    f = LatentCriterion(Gaussian(WIDE), Quadratic())
    smc = latent_smc(f, derived_generator(4), 60)
    found, exact = smc.at(0.5), Quadratic().gaussian_tilt(0.5, WIDE)
    assert abs(found.log_z - exact.log_z) <= 4 * found.log_z_se
    assert abs(found.mean - exact.mean) <= 4 * found.mean_se
    assert smc.has_mixed(0.5)
    ends = len(smc.passed().f)  # of trajectories, as they are shown to learners
    assert smc.gradients > 8 * ends > 0
    assert smc.f_evals > GRADIENT * smc.gradients


@pytest.mark.parametrize(
    ("model", "f", "followed"),
    [
        (Gaussian(WIDE), Linear(), True),
        (Gaussian(WIDE), hard, False),
        (IsingField(16), Ising(), True),
        (IsingField(32), Ising(), True),
        (
            Digits(Generator(WIDE)),
            None,
            False,
        ),  # one that costs more than s
    ],
)
def test_gradients_are_followed_where_they_are_cheap(model, f, followed):
    criterion = load_criterion("log_class4") if f is None else f
    assert has_cheap_gradient(LatentCriterion(model, criterion)) is followed


def test_a_ladder_in_few_dimensions_follows_none_unless_it_is_asked_to():
    f = LatentCriterion(Gaussian(3), Linear())
    of_reference = latent_smc(f, derived_generator(5), 50)
    of_reference.at(BETA)
    assert of_reference.gradients == 0
    following = latent_smc(f, derived_generator(5), 50, wide=1)
    assert abs(following.at(BETA).log_z - BETA**2 / 2) <= 4 * following.at(BETA).log_z_se
    assert following.gradients > 0


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [0.2, CRITICAL, 0.6])
def test_sixteen_by_sixteen_is_kaufmans(coupling):
    model = IsingField(16, coupling=coupling)
    smc = latent_smc(LatentCriterion(model, Ising()), derived_generator(6), 250)
    found = smc.at(1.0)
    assert (
        abs(found.log_z - model.log_z_offset - kaufman(16, coupling).log_z) <= 4 * found.log_z_se
    )
    assert found.log_z_se < 0.2
    assert smc.has_mixed(1.0)
    z = smc.particles(1.0, 2000, derived_generator(7)).z
    up = Ising().classes(model.decode(z)).double().mean().item()
    # Particles part where the two signs begin, and each of the 30 rungs after resamples them.
    error = math.hypot(math.sqrt(30 * 0.25 * 0.25 / 2000), found.log_z_se / 2)
    assert abs(up - 0.5) < 4 * error
