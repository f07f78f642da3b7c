"""Draws and density of a prior: right ones of any shape pass, wrong ones do not."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import StandardNormal
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.load.generator import load_vae
from btgm_cli.tuning.prior_check import N_FIT, check_prior

DIM = 4
NORMAL = MultivariateNormal(torch.zeros(DIM), torch.eye(DIM))
TILTED = torch.linalg.cholesky(0.3 * torch.eye(DIM) + 0.7)
MEANS = torch.tensor([[-6.0] * DIM, [4.0] * DIM])
MIXTURE = MixtureSameFamily(
    Categorical(torch.tensor([0.25, 0.75])), MultivariateNormal(MEANS, torch.eye(DIM))
)


def noise(n, generator):
    return torch.randn(n, DIM, generator=generator)


def of_mixture(n, generator):
    which = (torch.rand(n, generator=generator) < 0.75).long()
    return MEANS[which] + noise(n, generator)


def logit(n, generator):
    """A uniform through a bijection onto the line."""
    return torch.rand(n, DIM, generator=generator).clamp(1e-7, 1 - 1e-7).logit()


def student(n, generator):
    """Three degrees of freedom: no fourth moment."""
    chi = torch.randn(n, 3, DIM, generator=generator).square().sum(1)
    return noise(n, generator) / (chi / 3).sqrt()


def log_logistic(z):
    return (torch.nn.functional.logsigmoid(z) + torch.nn.functional.logsigmoid(-z)).sum(-1)


def log_student(z):
    return torch.distributions.StudentT(3.0).log_prob(z).sum(-1)


def box(n, generator):
    return torch.rand(n, DIM, generator=generator)


def log_box(z):
    inside = ((z >= 0) & (z <= 1)).all(-1)
    return torch.where(inside, 0.0, -math.inf)


class Prior:
    def __init__(self, sample_prior, prior_log_prob, latent_dim=DIM):
        self.sample_prior, self.prior_log_prob = sample_prior, prior_log_prob
        self.latent_dim = latent_dim


RIGHT = {
    "normal": (noise, NORMAL.log_prob),
    "correlated": (
        lambda n, g: noise(n, g) @ TILTED.T + 3,
        MultivariateNormal(torch.full((DIM,), 3.0), scale_tril=TILTED).log_prob,
    ),
    "uniform through a bijection": (logit, log_logistic),
    "mixture": (of_mixture, MIXTURE.log_prob),
    "heavy tails": (student, log_student),
    "bounded": (box, log_box),
    "tiny": (lambda n, g: 1e-5 * noise(n, g), lambda z: Normal(0, 1e-5).log_prob(z).sum(-1)),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 5))]
)
def test_a_prior_whose_draws_are_those_of_its_density_passes(name, seed):
    check_prior(Prior(*RIGHT[name]), derived_generator(seed))


WRONG = {
    "shifted": (lambda n, g: noise(n, g) + 3, NORMAL.log_prob),
    "shifted a little": (lambda n, g: noise(n, g) + 0.1, NORMAL.log_prob),
    "scaled": (lambda n, g: 1.2 * noise(n, g), NORMAL.log_prob),
    "narrow": (lambda n, g: 0.8 * noise(n, g), NORMAL.log_prob),
    "correlated": (lambda n, g: noise(n, g) @ TILTED.T, NORMAL.log_prob),
    "in a plane": (lambda n, g: noise(n, g) * torch.tensor([1.0, 1, 1, 0]), NORMAL.log_prob),
    "shifted mixture": (lambda n, g: of_mixture(n, g) + 0.5, MIXTURE.log_prob),
    "scaled mixture": (lambda n, g: 1.1 * of_mixture(n, g), MIXTURE.log_prob),
    "without gradient": (lambda n, g: noise(n, g) + 3, lambda z: NORMAL.log_prob(z.detach())),
    "shifted, heavy tails": (lambda n, g: student(n, g) + 0.3, log_student),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_prior_whose_draws_are_another_densitys_is_refused(name):
    with pytest.raises(SettingError, match="not the density of what sample_prior draws"):
        check_prior(Prior(*WRONG[name]), derived_generator(0))


def test_the_excess_is_told_in_nats():
    """For draws of N(1, I) under N(0, I), it is KL = D/2."""
    with pytest.raises(SettingError) as raised:
        check_prior(Prior(lambda n, g: noise(n, g) + 1, NORMAL.log_prob), derived_generator(0))
    told = float(str(raised.value).split("likelier by ")[1].split()[0])
    # log q/p = z₁ + … − D/2 but for the fit, whose D (D + 3)/2 parameters cost a half each.
    error = math.sqrt(DIM / N_FIT)
    assert abs(told - DIM / 2) <= 4 * error + DIM * (DIM + 3) / 4 / N_FIT + 0.005


@pytest.mark.parametrize("constant", [0.1, 0.5 * DIM * math.log(2 * math.pi)])
def test_a_density_of_more_than_mass_1_is_refused(constant):
    with pytest.raises(SettingError, match="integral is not 1"):
        check_prior(Prior(noise, lambda z: NORMAL.log_prob(z) + constant), derived_generator(0))


def test_a_density_of_less_than_mass_1_is_refused():
    with pytest.raises(SettingError, match="not the density"):
        check_prior(Prior(noise, lambda z: NORMAL.log_prob(z) - 0.1), derived_generator(0))


def test_the_models_that_ship_pass():
    for model in (StandardNormal(2), StandardNormal(256), load_vae()):
        check_prior(model, derived_generator(1))
