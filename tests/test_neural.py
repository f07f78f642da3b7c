"""A density of summary statistics beside closed forms, and fits by it where no normal is right."""

import math

import numpy as np
import pytest
import torch

from btgm_cli import SettingError, load_model
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators import density as densities
from btgm_cli.domains.simulators.density import (
    Chain,
    Density,
    Scale,
    Units,
    fitted_density,
    inputs,
)
from btgm_cli.domains.simulators.fit import Fit
from btgm_cli.domains.simulators.fitted import MOST_UNITS, FittedDensity
from btgm_cli.domains.simulators.model import load_simulator
from btgm_cli.domains.simulators.neural import Trained
from btgm_cli.domains.simulators.rounds import Agreement

OWN = """
def edge(theta, n, rng):
    return theta["start"] + rng.exponential(1.0, (n, 1))

def plane(theta, n, rng):
    return rng.normal([theta["a"], theta["a"] + 2 * theta["b"]], [1.0, 2.0], (n, 2))

def twice(theta, n, rng):
    return rng.normal(theta["a"], 1.0, (n, 2))
"""
PLANE = {"a": {"normal": [0.0, 1.0]}, "b": {"normal": [0.5, 1.0]}}
N = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with simulators of a user's and data."""
    path = tmp_path_factory.mktemp("neural")
    (path / "own_few.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.syspath_prepend(str(path))
        np.save("edge.npy", np.array([[3.0]]))
        x = np.random.default_rng(0).normal([0.5, -0.5], [1.0, 2.0], (N, 2))
        np.save("plane.npy", x)
        np.save("apart.npy", x[:3] + np.array([0.0, 8.0]))
        yield path


def under(model, criterion):
    return settled(criterion, model, derived_generator(0, "fit"))


@pytest.fixture
def chain():
    """Of one parameter and two statistics, with weights that nobody has fitted."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Chain(1, 2).double().requires_grad_(False)
        made.last.mul_(5)
        made.across.copy_(torch.randn(made.across.shape) / 2)
    return made


def of_unit_scales(chain, low, high):
    P, S = chain.first.shape[1] - len(chain.seen), len(chain.seen)
    plain = [Scale(torch.zeros(n).double(), torch.full((n,), 2.0).double()) for n in (P, S)]
    return Density(chain, *plain, torch.tensor(low).double(), torch.tensor(high).double())


def test_any_chain_is_a_density_and_its_probabilities_are_its_integrals(chain):
    density = of_unit_scales(chain, [-1.0], [1.0])
    u = torch.tensor([[0.3]]).double()
    side = torch.linspace(-25, 25, 251).double()
    grid = torch.cartesian_prod(side, side)
    p = torch.stack([density.log_prob(u, s[None])[0] for s in grid[:3]])
    y = density.of_statistics(grid)
    x = inputs(density.of_places(u).expand(len(grid), 1), y)
    log_p = density.chain.log_prob(x, y) - 2 * math.log(2.0)
    assert torch.allclose(p, log_p[:3])
    mass = log_p.exp().view(251, 251) * 0.2**2
    assert mass.sum().item() == pytest.approx(1, abs=2e-3)
    below = density.chain.below(x, y)[:, 0].view(251, 251)[:, 0]
    assert torch.allclose(below, mass.sum(1).cumsum(0) - mass.sum(1) / 2, atol=5e-3)


def test_statistics_know_those_before_them_alone(chain):
    x = torch.randn(3, 3, generator=derived_generator(0, "x")).double()
    moved = x.clone()
    moved[:, 2] += 1  # the second statistic
    for one, other in zip(chain(x), chain(moved), strict=True):
        assert torch.equal(one, other)
    moved[:, 1] += 1
    assert torch.equal(chain(x)[1][0], chain(moved)[1][0])
    assert not torch.equal(chain(x)[1][1], chain(moved)[1][1])


def test_beyond_all_places_no_data_are_explained(chain):
    """A chain that explains the data ever better towards large u: nothing holds it but the box."""
    chain.across.zero_()
    chain.across[:, 0, densities.COMPONENTS : 2 * densities.COMPONENTS] = 1.0
    density = of_unit_scales(chain, [-1.0], [1.0])
    s = torch.tensor([[60.0, 60.0]]).double()
    side, far = (torch.tensor([[u]]).double() for u in (1.0, 1e12))
    assert torch.equal(density.log_prob(far, s), density.log_prob(side, s))
    assert torch.equal(density.chi2(far, s), density.chi2(side, s))
    free = of_unit_scales(chain, [-1e13], [1e13])
    assert free.log_prob(far, s) > free.log_prob(side, s) + 10


def test_units_are_independent_and_chi2_is_that_of_normal_numbers(chain):
    density = of_unit_scales(chain, [-1.0], [1.0])
    u = torch.tensor([[0.3], [-0.8]]).double()
    s = torch.randn(4, 2, generator=derived_generator(0, "s")).double()
    together = sum(density.log_prob(u, one[None]) for one in s)
    assert torch.allclose(density.log_prob(u, s), together)
    kept = Density.of({name: torch.from_numpy(x) for name, x in density.arrays().items()})
    assert torch.equal(kept.log_prob(u, s), density.log_prob(u, s))
    # One normal for each statistic, whatever the rest: χ² is the sum of squares.
    for weights in (chain.first, chain.last, chain.across, chain.bias_3):
        weights.zero_()
    assert torch.allclose(density.chi2(u, s), (s / 2).square().sum().expand(2))


def test_a_density_learns_an_edge_that_no_normal_has():
    """s = u + e, e exponential: log q is off by little in the mean; a normal is off by 0.42."""
    generator = derived_generator(0, "edge")

    def units(n):
        u = 2 * torch.rand(n, 1, generator=generator).double() - 1
        return u, -torch.rand(n, 1, generator=generator).double().log()

    u, e = units(4000)
    seen = [Units(u, u + e)]
    density = fitted_density(seen, seen, 0)
    u, e = units(4000)
    y = density.of_statistics(u + e)
    own = density.chain.log_prob(inputs(density.of_places(u), y), y)
    log_q = own - density.of_statistics.spread.log()
    off = -e[:, 0] - log_q
    normal = torch.distributions.Normal(1.0, 1.0).log_prob(e)[:, 0]
    assert -0.01 < off.mean() < 0.1
    assert (-e[:, 0] - normal).mean() > 0.35


def doubted(**changes):
    """What is said of data of one queue where the densities are so."""
    good = {"agreement": Agreement(0.1, 1.05, 0.9, 0.0), "misfit": 2.0}
    fitted = Trained(None, best=0.0, rounds=4, units=1, theta=None, **(good | changes))
    return FittedDensity(load_model("queue"), fitted, torch.zeros(1, 5), 1000)


def test_densities_are_believed_where_they_agree_and_some_parameter_gives_such_data():
    assert doubted().doubt == ""
    apart = doubted(agreement=Agreement(0.7, 1.05, 0.9, 0.0))
    assert (
        apart.doubt == "two densities of separate simulations differ by 0.70 posterior deviations"
    )
    assert apart.remedy == "criterion.simulations=4000"
    nowhere = doubted(misfit=20.0)  # of two statistics to spare: e⁻¹⁰
    assert nowhere.doubt.endswith("χ² 20, probability 5e-05")
    assert "check data" in nowhere.remedy
    both = doubted(misfit=20.0, agreement=Agreement(9.0, 1.05, 0.9, 0.0))
    assert both.doubt == nowhere.doubt


def test_a_density_is_refused_for_many_units(tmp_path):
    np.save(tmp_path / "many.npy", np.full((MOST_UNITS + 1, 1), 5.0))
    fit = Fit(str(tmp_path / "many.npy"), folder=str(tmp_path), method="neural")
    words = "criterion.method='neural': is for 100 units of data at most, here are 101"
    with pytest.raises(SettingError, match=words):
        under(load_model("poisson"), fit)
    assert [path.name for path in tmp_path.iterdir()] == ["many.npy"]


@pytest.mark.slow
def test_the_posterior_of_an_edge_is_that_in_closed_form_and_a_normal_says_that_it_is_not(folder):
    """One x = 3 of start + e: the posterior of start, uniform on [0, 6], is e^start below 3."""
    prior = {"start": {"uniform": [0.0, 6.0]}}
    made = under(load_simulator("own_few:edge", prior), Fit("edge.npy", 40_000, method="neural"))
    assert made.doubt == ""
    grid = torch.linspace(0, 6, 6001).double()[:, None]
    w = torch.softmax(made.uncapped(grid), 0)
    exact = torch.where(grid[:, 0] < 3, (grid[:, 0] - 3).exp(), 0.0)
    exact /= exact.sum()
    mean, found = exact @ grid[:, 0], w @ grid[:, 0]
    sd = (exact @ (grid[:, 0] - mean).square()).sqrt()
    assert abs(found - mean) < 0.15 * sd
    spread = (w @ (grid[:, 0] - found).square()).sqrt()
    assert 0.9 < spread / sd < 1.1
    normal = under(load_simulator("own_few:edge", prior), Fit("edge.npy", 40_000))
    assert "not normal: skewness" in normal.doubt
    assert normal.remedy == "criterion.method=neural"


@pytest.mark.slow
def test_the_posterior_by_some_units_is_that_in_closed_form_and_the_same_again(folder):
    """A linear Gaussian with 50 units: errors of log q add up, and are still small."""
    model = load_simulator("own_few:plane", PLANE)
    made = under(model, Fit("plane.npy", 60_000, "kept", method="neural"))
    s = torch.from_numpy(np.load("plane.npy")).mean(0)
    A = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).double()
    precision = torch.diag(torch.tensor([N / 1.0, N / 4.0]).double())
    prior = torch.tensor([0.0, 0.5]).double()
    covariance = torch.linalg.inv(A.T @ precision @ A + torch.eye(2).double())
    mean = covariance @ (A.T @ precision @ s + prior)
    sd = covariance.diagonal().sqrt()
    theta = made.fitted.theta
    assert made.doubt == ""
    assert ((theta.mean(0) - mean).abs() < 0.3 * sd).all()
    assert ((theta.std(0) / sd - 1).abs() < 0.15).all()
    again = load_simulator("own_few:plane", PLANE)
    recalled = under(again, Fit("plane.npy", 60_000, "kept", method="neural"))
    assert again.simulator.units == 0
    assert torch.equal(recalled(theta[:5]), made(theta[:5]))
    anew = under(again, Fit("plane.npy", 60_000, "other", method="neural"))
    assert torch.equal(anew(theta[:5]), made(theta[:5]))


@pytest.mark.slow
def test_units_that_no_parameter_gives_are_told(folder):
    model = load_simulator("own_few:twice", {"a": {"normal": [0.0, 1.0]}})
    made = under(model, Fit("apart.npy", 10_000, method="neural"))
    assert "no θ gives statistics as the data have" in made.doubt
