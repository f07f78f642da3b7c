"""Draws of another run's tuned model, told in this one's latent space: normals in closed form."""

import math

import pytest
import torch

from btgm_cli.core.latent_criterion import LatentCriterion, settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.densities.energy import Energy
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.tilt.estimates import log_mean_weight
from btgm_cli.tuned.correction import Correct, Corrector
from btgm_cli.tuned.defence import Defended
from btgm_cli.tuned.guests import Guest
from btgm_cli.tuned.model import TunedModel
from tests.oracle import Affine

N = 9000
HOST = Normal(2, mean=[1.0, 0.0], scale=[2.0, 0.5])
HOME = Normal(2, mean=[-1.0, 0.5], scale=[1.0, 3.0])


def guest():
    """x = mean + scale (0.7 z + (1, 2)), of `HOME`: N((0, 6.5), diag(0.7², 2.1²))."""
    return Guest(TunedModel(HOME, Affine(torch.tensor([1.0, 2.0]), 0.7)), HOST)


def own():
    return TunedModel(HOST, Affine(torch.zeros(2), 0.9))


def test_its_density_is_that_of_its_x_in_the_other_space():
    z, known = guest().draw(N, derived_generator(0)), Normal(2, [0.0, 6.5], [0.7, 2.1])
    x = HOST.decode(z)
    error = torch.tensor([0.7, 2.1]) / math.sqrt(N)
    assert (abs(x.mean(0) - torch.tensor([0.0, 6.5])) < 4 * error).all()
    wanted = known.log_prob(x) + HOST.prior_log_prob(z) - HOST.log_prob(x)
    torch.testing.assert_close(guest().log_prob(z), wanted, atol=1e-4, rtol=1e-5)


def test_the_mixture_is_of_equal_parts_and_its_density_that_of_the_draws():
    """E_q' of r / q' is 1 for any density r, here one between the three."""
    defended = Defended(own(), 1 / 3, [guest()])
    z, log_q = defended.draw(N, derived_generator(1))
    assert torch.allclose(log_q, own().log_prob(z), atol=1e-4)
    of_guest = (z[:, 1] > 6).sum().item()  # p is hardly ever there, nor is q̂
    expected = N / 3 * (1 - torch.special.ndtr(torch.tensor((3.0 - 6.5) / 2.1)).item())
    assert abs(of_guest - expected) < 4 * math.sqrt(N / 3 / 4)
    log_p = HOST.prior_log_prob(z).double()
    ratio = (HOST.prior_log_prob(z - 0.5) - defended.log_density(z, log_q.double(), log_p)).exp()
    assert abs(ratio.mean().item() - 1) < 4 * ratio.std().item() / math.sqrt(N)
    # Without the guest in the density it is not.
    left_out = Defended(own(), 1 / 3).log_density(z, log_q.double(), log_p)
    wrong = (HOST.prior_log_prob(z - 0.5) - left_out).exp()
    assert abs(wrong.mean().item() - 1) > 4 * wrong.std().item() / math.sqrt(N)


def test_what_the_tuned_model_has_lost_a_guest_brings_back():
    """The tilt is the guest's own distribution, far from p: the weights know log Z even so."""

    def far(x):
        return -Normal(2, [0.0, 6.5], [0.7, 2.1]).log_prob(x)

    f = LatentCriterion(HOST, settled(Energy(far), HOST, derived_generator(2)))
    way = Correct.RESAMPLE
    with_guest = Corrector(own(), f, 1.0, way, derived_generator(3), among=[guest()])
    error = math.sqrt((1 / with_guest.pilot.ess_fraction - 1) / len(with_guest.pilot.log_weights))
    assert with_guest.proposals.share == pytest.approx(1 / 3)
    assert abs(log_mean_weight(with_guest.pilot.log_weights)[0]) < 1e-9
    assert abs(with_guest.pilot.log_z) < 4 * error
    assert Corrector(own(), f, 1.0, way, derived_generator(3)).pilot.log_z < -0.5


def test_weights_are_trusted_by_how_many_draws_rest_on_them():
    """f of 0 and log 300 on a 600th of p: rejection takes 200 draws, 400 beside as many of q̂."""

    def rare(x):
        return torch.where(x[:, 0] > 2.935, math.log(300.0), 0.0)

    f = LatentCriterion(Gaussian(2), rare)
    tuned = TunedModel(Gaussian(2), Affine(torch.zeros(2), 1.0))
    few, many = (
        Corrector(tuned, f, 1.0, Correct.RESAMPLE, derived_generator(4), n=n, among=[])
        for n in (10_000, 100_000)
    )
    assert many.log_weight_bound == few.log_weight_bound > math.log(100)
    assert many.pilot.reliable
    assert few.pilot.pareto_k > 0.7
    assert not few.pilot.reliable


def test_a_model_that_does_not_know_its_density_is_no_guest():
    tuned = TunedModel(Gaussian(2), Affine(torch.zeros(2)))
    for one, other in ((tuned, HOST), (own(), Gaussian(2))):
        with pytest.raises(TypeError, match="both models must know the density"):
            Guest(one, other)
