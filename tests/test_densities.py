"""Explicit densities and energies: closed forms, Jacobians, quadrature, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btgm_cli import SettingError, Target, Tuning, tune
from btgm_cli.core.capping import CEILING, HIGHEST, capped, ceiling_over
from btgm_cli.core.contracts import ExplicitDensity, GenerativeModel, StochasticDecoder
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate, settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.densities import systems
from btgm_cli.domains.densities.energy import BoltzmannTilt, Energy
from btgm_cli.domains.densities.flow import DensityFlow, FlowModel
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.tilt.estimates import log_mean_weight
from btgm_cli.truth.references import Estimated, latent_smc
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuned.pushed import PushedDensity, pushed
from btgm_cli.tuning.problem import Problem

SIGMA = [[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]]
MEAN = [1.0, -2.0, 0.5]


def generator(name="densities"):
    return derived_generator(0, name)


def stirred(network):
    """The same with weights that are not near the identity."""
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            noise = torch.randn(weight.shape, generator=derived_generator(0, number))
            weight.add_(0.15 * noise)
    return network


def trained_flow(dim=3):
    network = stirred(DensityFlow(dim, depth=2, hidden=16, bins=6))
    network.set_scale(
        Normal(dim, covariance=SIGMA).decode(torch.randn(500, dim, generator=generator()))
    )
    return FlowModel(network)


def models():
    normal = Normal(3, MEAN, covariance=SIGMA)
    flow = trained_flow()
    layers = stirred(InverseAutoregressive(3, depth=2, hidden=[16]))
    return {
        "scaled": Normal(3, 1.0, [0.5, 1.0, 3.0]),
        "covariant": normal,
        "flow": flow,
        "tuned normal": pushed(normal, layers),
        "tuned flow": pushed(flow, layers),
        "tuned twice": pushed(pushed(normal, layers), stirred(InverseAutoregressive(3, 1, [8]))),
    }


MODELS = models()


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_density_is_that_of_the_jacobian(model):
    """log p(x) = log N(z) − log |det ∂x/∂z|, with the determinant by autograd."""
    assert isinstance(model, ExplicitDensity)
    assert isinstance(model, GenerativeModel)
    z = model.sample_prior(5, generator())
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda one: model.decode(one[None])[0], row)
            for row in z
        ]
    )
    expected = model.prior_log_prob(z) - torch.linalg.slogdet(jacobian).logabsdet
    x = model.decode(z).detach()
    assert torch.allclose(model.log_prob(x), expected, atol=2e-3)
    assert torch.allclose(model.encode(x), z, atol=1e-3)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_density_has_the_gradient_of_its_differences(model):
    x = model.decode(model.sample_prior(4, generator())).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.log_prob(x).sum(), x)
    step = torch.tensor([1e-2, 0.0, 0.0])
    with torch.no_grad():
        change = (model.log_prob(x + step) - model.log_prob(x - step)) / 2e-2
    assert torch.allclose(slope[:, 0], change, rtol=0.1, atol=0.1)


@given(
    z=st.lists(st.floats(-6, 6, width=32), min_size=3, max_size=3),
    name=st.sampled_from(sorted(MODELS)),
)
@settings(max_examples=40, deadline=None)
def test_decode_and_encode_are_inverse(z, name):
    model, z = MODELS[name], torch.tensor([z])
    with torch.no_grad():
        assert torch.allclose(model.encode(model.decode(z)), z, atol=1e-2)


def test_a_normal_has_the_moments_that_are_asked_for():
    exact = torch.distributions.MultivariateNormal(torch.tensor(MEAN), torch.tensor(SIGMA))
    model = Normal(3, MEAN, covariance=SIGMA)
    x = model.decode(model.sample_prior(10, generator()))
    assert torch.allclose(model.log_prob(x), exact.log_prob(x), atol=1e-4)
    twice = Normal(3, MEAN, [1.0, 2.0, 3.0])
    same = Normal(3, MEAN, covariance=torch.diag(torch.tensor([1.0, 4.0, 9.0])).tolist())
    assert torch.allclose(twice.log_prob(x), same.log_prob(x), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mean": [1.0, 2.0, 3.0]}, "model.mean=.*one for each of the 2 coordinates"),
        ({"mean": math.nan}, "model.mean=nan: must be a finite number"),
        ({"scale": [1.0, 0.0]}, "model.scale=.*must be positive"),
        ({"covariance": [[1.0, 0.0]]}, "must have 2 rows of 2 numbers"),
        ({"covariance": [[1.0, 0.5], [0.0, 1.0]]}, "is not symmetric"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "not positive definite: .*eigenvalue is -1"),
        ({"covariance": [[1.0, 0.0], [0.0, 1.0]], "scale": 2.0}, "give one of them"),
        ({"latent_dim": 1}, "model.latent_dim=1"),
    ],
)
def test_a_normal_that_is_none_is_refused(arguments, words):
    with pytest.raises(SettingError, match=words):
        Normal(**{"latent_dim": 2, **arguments})


def harmonic(x):
    """u = |x|²/2 + 3: the Boltzmann distribution at T is N(0, T I)."""
    return 0.5 * x.square().sum(-1) + 3.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_log_partition_function_of_a_harmonic_well(temperature):
    """log Z(1) = D/2 log(2πT) − 3/T; p is narrower or wider, and moved."""
    model = Normal(2, [0.3, -0.2], 1.3)
    f = LatentCriterion(model, settled(Energy(harmonic, temperature), model, generator()))
    found = Estimated(f, 20_000, 400, 0).at(1.0)
    assert found.reliable
    exact = math.log(2 * math.pi * temperature) - 3 / temperature
    assert abs(found.log_z - exact) < 4 * found.log_z_se
    assert found.log_z_se < 0.02


def test_a_wrong_density_is_seen_in_log_z():
    """The same without the constant of log p: log Z is off by just that."""

    class Loose(Normal):
        def log_prob(self, x):
            return super().log_prob(x) + self.log_volume

    model = Loose(2, scale=1.3)
    f = LatentCriterion(model, BoltzmannTilt(model, harmonic))
    found = Estimated(f, 20_000, 400, 0).at(1.0)
    exact = math.log(2 * math.pi) - 3
    assert abs(found.log_z - exact + 2 * math.log(1.3)) < 4 * found.log_z_se
    assert abs(found.log_z - exact) > 20 * found.log_z_se


def test_the_path_is_the_geometric_one():
    """p^{1−β} e^{−βu}: of N(0, 4 I) and N(0, I) the precision is (1−β)/4 + β."""
    model, beta = Normal(2, scale=2.0), 0.5
    f = LatentCriterion(model, BoltzmannTilt(model, harmonic))
    z = model.sample_prior(100_000, generator())
    log_w = beta * evaluate(f, z)
    w = torch.softmax(log_w.double(), 0)
    x = model.decode(z).double()
    variance = (w[:, None] * x.square()).sum(0)
    assert variance.tolist() == pytest.approx([1 / (0.5 / 4 + 0.5)] * 2, rel=0.03)


def log_z_by_quadrature(u, low, high, n=601, temperature=1.0):
    """log ∫ e^{−u/T} over a rectangle by the trapezoidal rule, smooth and nil at its edge."""
    axes = [torch.linspace(a, b, n, dtype=torch.double) for a, b in zip(low, high, strict=True)]
    log_w = -u(torch.cartesian_prod(*axes)) / temperature
    cell = math.prod((b - a) / (n - 1) for a, b in zip(low, high, strict=True))
    assert log_w.view(n, n)[:, [0, -1]].max() < log_w.max() - 25
    return torch.logsumexp(log_w, 0).item() + math.log(cell)


@pytest.mark.parametrize(
    ("u", "low", "high", "exact"),
    [
        (systems.double_well, (-4, -8), (4, 8), 11.020467),
        (systems.muller_brown, (-2.5, -1.5), (2, 3), 11.729591),
        (lambda x: systems.double_well(x, 1.0, -4.0, 0.0), (-4, -8), (4, 8), 5.21194),
        (systems.many_well, (-4, -8), (4, 8), systems.many_well_log_z(2)),
        (lambda x: systems.gaussian_mixture(x, [[-1, 0], [2, 1]], 0.5), (-5, -5), (6, 6), 0.0),
    ],
    ids=["double_well", "muller_brown", "bgflow", "many_well", "mixture"],
)
def test_the_partition_function_by_quadrature(u, low, high, exact):
    assert log_z_by_quadrature(u, low, high) == pytest.approx(exact, abs=3e-6)


def test_the_double_wells_side():
    """F(x₁ > 0) − F(x₁ < 0) = 3.3799 kT, by quadrature of each side."""
    grid = torch.linspace(-4, 4, 8001, dtype=torch.double)
    x = torch.stack([grid, torch.zeros_like(grid)], -1)
    w = (-systems.double_well(x)).exp()
    assert math.log(w[grid < 0].sum() / w[grid > 0].sum()) == pytest.approx(3.3799, abs=1e-3)


def test_minima_of_mueller_and_brown():
    """The published minima and their energies −146.70, −108.17, −80.77 in the source's unit."""
    minima = torch.tensor([[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467]], dtype=torch.double)
    found = systems.muller_brown(minima, scale=1.0)
    assert found.tolist() == pytest.approx([-146.70, -108.17, -80.77], abs=0.01)


@pytest.mark.parametrize("dim", [2, 10])
def test_the_funnel_is_a_density(dim):
    """Its weights by exact draws are all alike, at log Z = 0."""
    white = torch.randn(2000, dim, generator=generator(), dtype=torch.double)
    v, scale = 3 * white[:, :1], torch.exp(1.5 * white[:, :1])
    x = torch.cat([v, scale * white[:, 1:]], -1)
    log_q = torch.distributions.Normal(0.0, 3.0).log_prob(v).squeeze(-1)
    log_q += torch.distributions.Normal(0.0, scale).log_prob(x[:, 1:]).sum(-1)
    assert log_mean_weight(-systems.funnel(x) - log_q)[0] == pytest.approx(0, abs=1e-7)


def refused(system, model=None, **settings):
    """The line that refuses this energy."""
    with pytest.raises(SettingError) as told:
        Problem.checked(model or Normal(2, scale=2.0), Energy(system, **settings))
    return str(told.value)


def test_energies_that_are_none_are_refused_in_a_line():
    def nan(x):
        return torch.where(x[:, 0] > 0, math.nan, 1.0) * x[:, 1]

    def minus(x):
        return torch.where(x[:, 0] > 1, -math.inf, x[:, 1])

    def matrix(x):
        return x.square()

    def number(x):
        return 3.0

    def broken(x):
        return x[:, 5]

    assert refused(nan).startswith("criterion.system='nan': u is not finite for")
    assert "u is NaN or −∞ for 0." in refused(
        lambda x: torch.where(x[:, 0] > 6.0, math.nan, x[:, 1])
    )
    assert refused(minus).startswith("criterion.system='minus': u is not finite for")
    assert "u must return floats of shape (n,) = (64,), not (64, 2)" in refused(matrix)
    assert "u must return a tensor of shape (64,), not float" in refused(number)
    assert "u fails on x of shape (64, 2) (IndexError" in refused(broken)
    assert "is infinite on 9" in refused(lambda x: torch.where(x[:, 0] < 3.0, math.inf, x[:, 1]))
    assert "is defined in 2 dimensions" in refused(systems.double_well, Normal(3))
    assert "an even number of dimensions" in refused(systems.many_well, Normal(3))
    assert "is defined in 2 dimensions" in refused(systems.gaussian_mixture, Normal(3))
    assert "needs log p(x), and Gaussian has no log_prob" in refused(harmonic, Gaussian(2))
    with pytest.raises(SettingError, match=r"criterion.temperature=0: must be positive"):
        Energy(harmonic, 0)
    with pytest.raises(SettingError, match=r"call its method `under` first"):
        Energy(harmonic)(torch.zeros(1, 2))


def half_plane(x):
    """u = |x|²/2 where x₁ > 0, and a wall elsewhere: log Z = log π."""
    return torch.where(x[:, 0] > 0, 0.5 * x.square().sum(-1), math.inf)


def test_a_wall_is_finite_and_weighs_nothing():
    model = Normal(2, [0.5, 0.0], 1.2)
    problem = Problem.checked(model, Energy(half_plane))
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    f = problem.f.criterion(x)
    assert -200 < f[0].item() < -CEILING
    (slope,) = torch.autograd.grad(f.sum(), x)
    assert torch.isfinite(slope).all()
    found = Estimated(problem.f, 20_000, 400, 0).at(1.0)
    assert found.reliable
    assert abs(found.log_z - math.log(math.pi)) < 4 * found.log_z_se


def test_the_ceiling_is_met_smoothly_and_ends_a_wall():
    energy = torch.tensor([-3.0, 99.0, 101.0, 1e30, math.inf], requires_grad=True)
    found = capped(energy, 100.0)
    assert found[:2].tolist() == [-3.0, 99.0]
    assert found[2].item() == pytest.approx(100 + math.log(2))
    assert found[3:].tolist() == pytest.approx([100 + math.log(HIGHEST)] * 2)
    (slope,) = torch.autograd.grad(found.sum(), energy)
    assert slope.tolist() == pytest.approx([1, 1, 0.5, 0, 0])
    assert torch.isnan(capped(torch.tensor([math.nan]), 100.0)).all()


def test_the_ceiling_follows_the_lowest_energy_met():
    """An energy of another zero has the same f but for that constant."""
    model = Normal(2, scale=2.0)
    low = settled(Energy(harmonic), model, generator())
    high = settled(Energy(lambda x: harmonic(x) + 1e4), model, generator())
    x = model.decode(model.sample_prior(500, generator()))
    assert torch.allclose(low(x), high(x) + 1e4, atol=5e-3)


def test_the_ceiling_is_no_lower_than_half_of_the_energies():
    assert ceiling_over(torch.tensor([0.0, 5.0, 7.0]), -2.0, 3) == -2 + CEILING + 3
    assert ceiling_over(torch.tensor([0.0, 5e3, 7e4]), -2.0, 3) == 5e3


@pytest.mark.slow
def test_a_tilt_far_narrower_than_p_is_reached_below_such_a_ceiling_alone():
    """N(a, s² I): Z(1) is known. All of p beyond the ceiling is a transition of first order."""
    a, s = torch.tensor([0.3, -0.2]), 0.003

    def energy(x):
        return (x - a).square().sum(-1) / (2 * s**2)

    model = Gaussian(2)
    high = ceiling_over(energy(model.sample_prior(1000, generator())), 0.0, 2)
    reached, leapt = (
        latent_smc(
            LatentCriterion(model, lambda x, c=ceiling: -capped(energy(x), c)), generator(), 125
        )
        for ceiling in (high, CEILING)
    )
    assert not leapt.has_mixed(1.0)
    assert reached.has_mixed(1.0)
    found, wide = reached.at(1.0), 1 + s**2
    log_z = 2 * math.log(s) - math.log(wide) - a.square().sum().item() / (2 * wide)
    assert abs(found.log_z - log_z) <= 4 * found.log_z_se


def test_an_energy_without_gradient_has_none_to_follow():
    def stepped(x):
        return x.detach().round().square().sum(-1) + 0 * x.detach()[:, 0]

    assert Problem.checked(Normal(2), Energy(stepped)).f.criterion(torch.zeros(1, 2)).isfinite()


QUICK = Tuning(
    first_steps=60, steps=30, n_eval=2000, n_reference=4000, n_particles=400, n_learn=500
)


def small(dim=2):
    return InverseAutoregressive(dim, depth=2, hidden=[16])


def test_a_run_on_a_normal_base_meets_the_closed_form():
    """N(0, 4 I) towards N(0, I): E f is known, and log Z(1) = log 2π − 3."""
    settings = Tuning(**{**vars(QUICK), "min_acceptance_rate": 1.0, "first_steps": 300})
    result = tune(
        Normal(2, scale=2.0),
        Energy(harmonic),
        target=Target(betas=[1.0]),
        flow=small(),
        settings=settings,
    )
    figures = result.points[-1].figures
    exact = math.log(2 * math.pi) - 3
    assert abs(figures.reference.log_z - exact) < 4 * figures.reference.log_z_se
    assert abs(figures.log_z - exact) < 4 * figures.log_z_se + 1e-3
    assert figures.kl_gap < 0.05
    assert figures.reference.kl == pytest.approx(2 * math.log(2) - 0.75, abs=0.05)


def test_instance_space_tuning_of_a_flow_has_the_closed_form():
    """§3.2 with a linear f in x: of N(μ, Σ) the tilt is N(μ + βΣa, Σ), KL = β² aᵀΣa / 2."""
    network = DensityFlow(3, depth=2, hidden=8, bins=4)
    network.mean.copy_(torch.tensor(MEAN))
    network.scale.copy_(torch.linalg.cholesky(torch.tensor(SIGMA)))
    model, direction, beta = FlowModel(network), torch.tensor([1.0, 0.0, 0.0]), 0.7
    f = LatentCriterion(model, Linear([1, 0, 0]))
    found = Estimated(f, 20_000, 400, 0).at(beta)
    spread = (direction @ torch.tensor(SIGMA) @ direction).item()
    assert abs(found.kl - beta**2 * spread / 2) < 4 * found.kl_se + 1e-3
    assert abs(found.mean - (MEAN[0] + beta * spread)) < 4 * found.mean_se + 1e-3


def test_a_tuned_model_as_p_leaves_log_z_alone():
    """log Z(1) of an energy does not depend on p, a flow on top of a flow among them."""
    base = Normal(2, scale=1.5)
    model = pushed(base, stirred(InverseAutoregressive(2, depth=2, hidden=[8])))
    assert isinstance(model, PushedDensity)
    f = LatentCriterion(model, settled(Energy(harmonic), model, generator()))
    found = Estimated(f, 20_000, 800, 0).at(1.0)
    assert abs(found.log_z - math.log(2 * math.pi) + 3) < 4 * found.log_z_se


def test_a_pushed_model_offers_what_its_model_does():
    """A stochastic decoder stays one; without a density there is none, and no energy."""

    class Noisy(Gaussian):
        def noise(self, n, generator):
            return torch.randn(n, 2, generator=generator)

        def decode_with(self, z, noise):
            return z + noise

    flow = stirred(InverseAutoregressive(2, depth=2, hidden=[8]))
    z, noise = torch.randn(2, 5, 2, generator=generator())
    noisy, plain = pushed(Noisy(2), flow), pushed(Gaussian(2), flow)
    assert isinstance(noisy, StochasticDecoder)
    assert torch.equal(noisy.decode_with(z, noise), flow(z)[0] + noise)
    assert torch.equal(plain.decode(z), flow(z)[0])
    assert not isinstance(plain, ExplicitDensity | StochasticDecoder)
    assert "needs log p(x), and Pushed has no log_prob" in refused(harmonic, plain)
