"""The load VAE: its densities against exact ones, its decoding, its statistics."""

import json

import pytest
import torch
from torch.distributions import MultivariateNormal

from btgm_cli.core.contracts import GenerativeModel, StochasticDecoder
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.generator import StochasticVae, Vae, load_vae
from btgm_cli.domains.load.network import Coupling, VaeNetwork
from btgm_cli.domains.load.pretraining.gates import (
    autocorrelation,
    profile_difference,
    relative,
    statistics,
)
from btgm_cli.store.checkpoints import find_checkpoint, save_network


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomized(network: torch.nn.Module) -> torch.nn.Module:
    """With every weight moved, those that start at zero too."""
    generator = rng()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.double()


CEILING = 20.0
"""kW"""


@pytest.fixture
def network() -> VaeNetwork:
    """A small one with a week of 42 points, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = randomized(VaeNetwork(42, 3, 4, 4, 2, 4))
    network.set_scale(1 + 5 * torch.rand(50, 42, generator=rng(), dtype=torch.double), CEILING)
    return network


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng(1), dtype=torch.double)


@pytest.mark.parametrize("dim", [2, 5])
def test_coupling_is_inverted_with_its_determinant(dim):
    with torch.random.fork_rng():
        coupling = randomized(Coupling(dim, 4))
    z = normal(6, dim)
    back, log_det = coupling.inverse(coupling(z))
    assert torch.allclose(back, z)
    for k in range(6):
        jacobian = torch.autograd.functional.jacobian(lambda v: coupling(v[None])[0], z[k])
        assert torch.allclose(log_det[k], -torch.linalg.slogdet(jacobian).logabsdet)


def test_noise_is_autoregressive(network):
    factor = network.correlate(torch.eye(42, dtype=torch.double)).T
    lags = (torch.arange(42)[:, None] - torch.arange(42)).abs()
    assert torch.allclose(factor @ factor.T, network.rho() ** lags)


def test_bound_is_the_exact_log_density_and_a_sound_kl(network):
    """log p(x | z) against a multivariate normal; E KL against a fine sum over its own draws."""
    x = 0.5 + 5 * torch.rand(1, 42, generator=rng(), dtype=torch.double)
    eps = normal(1, 3)
    log_prob, kl = network.bound(x, eps)
    y = torch.log(-torch.log1p(-x / CEILING))
    h = network.encoder(network.embed(((y - network.centre) / network.width).view(1, 21, 2)))
    mean, log_scale = network.posterior(h.flatten(1)).chunk(2, 1)
    u = mean + log_scale.exp() * eps
    z = u
    for coupling in reversed(network.couplings):
        z, _ = coupling.inverse(z)
    centre, scale = network.curves(z)
    lags = (torch.arange(42)[:, None] - torch.arange(42)).abs()
    covariance = scale[0, :, None] * network.rho() ** lags * scale[0]
    exact = MultivariateNormal(centre[0], covariance).log_prob(y[0])
    slope = torch.autograd.functional.jacobian(network.to_kw, y[0])
    assert torch.allclose(log_prob, exact - torch.linalg.slogdet(slope).logabsdet)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: network.couplings[1](network.couplings[0](v[None]))[0], z[0]
    )
    log_prior = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()).log_prob(z[0])
    log_prior = log_prior - torch.linalg.slogdet(jacobian).logabsdet
    entropy = torch.distributions.Normal(mean, log_scale.exp()).entropy().sum()
    assert torch.allclose(kl, -entropy - log_prior)


@pytest.mark.parametrize("far", [1.0, 1e3, 1e9])
def test_power_stays_below_what_no_curve_exceeds(network, far):
    """So that E exp(beta f) exists for every criterion; and gradients are numbers anywhere."""
    vae, noise = StochasticVae(network), StochasticVae(network).noise(20, rng())
    z = (far * normal(20, 3)).requires_grad_()
    x = vae.decode_with(z, noise)
    assert x.min() >= 0
    assert x.max() <= CEILING
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert torch.isfinite(slope).all()


def test_power_at_the_edges_of_the_scale_has_a_finite_density(network):
    x = torch.tensor([0.0, 1e-9, CEILING, 2 * CEILING]).double().expand(3, 4)
    x = torch.nn.functional.pad(x, (0, 38), value=1.0)
    assert all(torch.isfinite(term).all() for term in network.bound(x, normal(3, 3)))


def test_protocols_and_shapes(network):
    mean, sample = Vae(network), StochasticVae(network)
    assert isinstance(mean, GenerativeModel)
    assert isinstance(sample, GenerativeModel)
    assert isinstance(sample, StochasticDecoder)
    assert not isinstance(mean, StochasticDecoder)
    z = mean.sample_prior(5, rng())
    assert z.shape == (5, mean.latent_dim)
    assert mean.prior_log_prob(z).shape == (5,)
    assert sample.noise(5, rng()).shape == (5, 42)
    assert torch.equal(sample.noise(5, rng()), sample.noise(5, rng()))


def test_decoding_with_noise(network):
    vae = StochasticVae(network)
    z, noise = normal(5, 3).requires_grad_(), vae.noise(5, rng())
    x = vae.decode_with(z, noise)
    centre, scale = network.curves(z)
    y = centre + scale * noise
    assert torch.allclose(x, CEILING * (1 - torch.exp(-torch.exp(y))))
    (slope,) = torch.autograd.grad(x.amax(1).sum(), z)
    assert (slope != 0).all()
    several = vae.decode_with(z, noise[:2, None])
    assert several.shape == (2, 5, 42)
    assert torch.allclose(several[1], vae.decode_with(z, noise[1].expand(5, -1)))


def test_mean_curve_is_that_of_the_samples(network):
    vae, n = StochasticVae(network), 4000
    z = normal(1, 3)
    x = vae.decode_with(z, vae.noise(n, rng())[:, None])[:, 0]
    assert ((x.mean(0) - vae.decode(z)[0]).abs() < 5 * x.std(0) / n**0.5).all()


def test_a_saved_vae_is_the_same(network, tmp_path):
    path = str(tmp_path / "a.safetensors")
    save_network(tmp_path / "a.safetensors", network)
    z = normal(4, 3).float()
    expected = network.float().mean_kw(*network.curves(z))
    found = load_vae(path, "mean")
    assert type(found) is Vae
    assert type(load_vae(path)) is StochasticVae
    assert torch.equal(found.decode(z), expected)
    with pytest.raises(SettingError, match=r"model\.decode='median': choose one of mean, sample"):
        load_vae(path, "median")
    with pytest.raises(SettingError, match="holds a generator, expected a load_vae"):
        load_vae("gan_mnist")


def test_statistics_by_hand():
    """Weeks at a constant 1, 2, 3 kW: peaks alike, 168 h of it, no variation."""
    x = torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 336)
    found = statistics(x)
    assert found["peak 50 %"] == pytest.approx(2)
    assert found["energy 50 %"] == pytest.approx(336)
    assert found["energy 90 %"] == pytest.approx(168 * 2.8)
    assert found["variation 99 %"] == pytest.approx(0, abs=1e-6)
    assert relative({"a": 3.0}, {"a": 2.0}) == {"a": 0.5}


def test_profile_difference_and_autocorrelation_by_hand():
    x = 1 + torch.rand(10, 336, generator=rng())
    assert torch.allclose(profile_difference(1.1 * x, x), torch.tensor(0.1), atol=1e-5)
    wave = torch.sin(torch.arange(336) * 2 * torch.pi / 48).expand(2, 336)
    found = autocorrelation(wave, 48)
    assert found[[0, 24, 48]].tolist() == pytest.approx([1, -1, 1], abs=1e-3)


def test_what_ships_is_small_and_makes_weeks_of_ten_households():
    assert find_checkpoint("vae_energy").stat().st_size < 6e6
    vae = load_vae()
    x = vae.decode_with(vae.sample_prior(2000, rng()), vae.noise(2000, rng(1)))
    assert x.shape == (2000, 336)
    card = json.loads(find_checkpoint("vae_energy").with_suffix(".json").read_text())
    for name, value in statistics(x).items():
        what, percent, _ = name.split()
        unit = {"peak": "_kw", "energy": "_kwh", "variation": ""}[what]
        assert value == pytest.approx(card["metrics"][f"sampled_{what}_q{percent}{unit}"], rel=0.1)
