"""The dimer among discs: its energy by hand, its forces, its symmetry, and its free energy."""

import math

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Particles
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.dimer import MIDDLE, PARTICLES, dimer, own_energy, stretch_of
from btgm_cli.domains.densities.energy import N_SEEN, Energy
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.tilt.estimates import jackknife
from btgm_cli.truth.gradient_moves import GradientMoves
from btgm_cli.truth.references import latent_smc


def far_apart():
    """The dimer closed by 0.5 on the x axis, and discs where nothing is near: (38, 2)."""
    at = torch.zeros(PARTICLES, 2, dtype=torch.double)
    at[0, 0], at[1, 0] = -0.5, 0.5
    for disc in range(2, PARTICLES):
        at[disc] = torch.tensor([40.0 * disc, 0.0])
    return at


def walls(at):
    return sum(200 * max(0.0, abs(value) - 3) ** 2 for value in at.flatten().tolist())


def energy(at, *terms):
    return dimer(at.reshape(1, -1), *terms).item()


def test_the_energy_of_configurations_by_hand():
    at = far_apart()
    # d = 1, δ = −1: −2 − 25 + 10. The dimer's own discs do not repel each other.
    assert energy(at) - walls(at) == pytest.approx(-17, abs=1e-6)
    assert energy(at, 3.0, 1.0, 0.5) - walls(at) == pytest.approx(-3 + 1 + 0.5, abs=1e-6)
    at[0, 0] = -0.4  # d = 0.9, δ = −1.2, and 0.1 off the middle
    own = -2 * 1.2 - 25 * 1.44 + 10 * 1.2**4 + 20 * 0.01
    assert energy(at) - walls(at) == pytest.approx(own, abs=1e-6)
    at[0] = torch.tensor([-0.5, 0.1])  # off the axis: d = √1.01
    stretch = 2 * (math.sqrt(1.01) - 1.5)
    own = 2 * stretch - 25 * stretch**2 + 10 * stretch**4 + 20 * 0.01
    assert energy(at) - walls(at) == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize("pair", [(5, 6), (5, 24), (2, 37)])
def test_two_discs_at_a_size_of_each_other_add_a_kt(pair):
    at = far_apart()
    first, second = pair
    at[second] = at[first] + torch.tensor([0.0, 20.0])
    apart = energy(at) - walls(at)
    for distance, added in ((1.1, 1), (0.55, 2**12)):
        at[second] = at[first] + torch.tensor([distance, 0.0])
        assert energy(at) - walls(at) - apart == pytest.approx(added, rel=1e-5)


def fluid(n=3):
    """Discs on a lattice of 1.2, shaken, the dimer among them: (n, 76), double."""
    line = torch.linspace(-3.1, 3.1, 6, dtype=torch.double)
    lattice = torch.cartesian_prod(line, line).flatten()
    at = torch.cat([torch.tensor([-0.7, 0.0, 0.7, 0.0], dtype=torch.double), lattice])
    noise = torch.randn(n, 2 * PARTICLES, generator=derived_generator(0, "dimer")).double()
    return at + 0.08 * noise


def test_the_forces_are_those_of_differences():
    x, step = fluid(1).requires_grad_(), 1e-6
    (slope,) = torch.autograd.grad(dimer(x).sum(), x)
    aside = step * torch.eye(2 * PARTICLES, dtype=torch.double)
    differences = (dimer(x + aside) - dimer(x - aside)) / (2 * step)
    torch.testing.assert_close(slope[0], differences, rtol=1e-6, atol=1e-4)


def test_it_is_the_sum_over_pairs():
    x = fluid(1)
    at = x.view(PARTICLES, 2).tolist()
    pairs = sum(
        (1.1 / math.dist(at[i], at[j])) ** 12
        for i in range(PARTICLES)
        for j in range(i + 1, PARTICLES)
        if (i, j) != (0, 1)
    )
    (x1, y1), (x2, y2) = at[:2]
    own = own_energy(stretch_of(x), 2.0, -25.0, 10.0).item()
    rest = 20 * ((x1 + x2) ** 2 + y1**2 + y2**2) + walls(x)
    assert dimer(x).item() == pytest.approx(pairs + own + rest, rel=1e-12)
    assert 2 * (math.dist(*at[:2]) - MIDDLE) == pytest.approx(stretch_of(x).item())


def test_discs_of_the_fluid_are_alike_and_those_of_the_dimer_too():
    at = fluid().view(-1, PARTICLES, 2)
    known = dimer(at.flatten(1))
    order = torch.randperm(PARTICLES - 2, generator=derived_generator(0, "order")) + 2
    swapped = torch.cat([at[:, [1, 0]], at[:, order]], 1)
    torch.testing.assert_close(dimer(swapped.flatten(1)), known, rtol=1e-12, atol=0)
    for mirror in ([-1.0, 1.0], [1.0, -1.0]):
        turned = at * torch.tensor(mirror, dtype=torch.double)
        torch.testing.assert_close(dimer(turned.flatten(1)), known, rtol=1e-12, atol=0)
    # A disc of the fluid is none of the dimer's.
    other = at[:, [2, 1, 0, *range(3, PARTICLES)]]
    assert (dimer(other.flatten(1)) - known).abs().min() > 1


def test_another_number_of_dimensions_is_refused():
    with pytest.raises(SettingError, match="is defined in 76 dimensions"):
        Energy(dimer).under(Normal(74), derived_generator(0))


def wide():
    """A p of discs anywhere in the box, which knows none of them from another."""
    at, spread = [-0.8, 0.0, 0.8, 0.0], [0.3, 0.15, 0.3, 0.15]
    rest = 2 * PARTICLES - 4
    return Normal(2 * PARTICLES, at + [0.0] * rest, spread + [1.5] * rest)


def test_half_of_a_wide_p_lies_beneath_the_ceiling():
    """Discs that overlap have up to 10²⁰ kT; were all of p above, the path would leap."""
    model = wide()
    tilt = Energy(dimer).under(model, derived_generator(0))
    z = model.sample_prior(1000, derived_generator(1))
    u = dimer(model.decode(z))
    assert u.min().item() > 1e4
    error = math.sqrt(0.25 / 1000 + 0.25 / N_SEEN)
    assert abs((u <= tilt.ceiling).double().mean().item() - 0.5) < 4 * error


@pytest.mark.slow
def test_the_free_energy_of_the_dimer_is_the_published_one():
    """By a trough in place of the barrier; published is −7.10, the mean of three, ± 0.46."""
    model, trough = wide(), (-1.1, 0.0, 1.0)
    tilt = Energy(lambda x: dimer(x, *trough)).under(model, derived_generator(0))
    f = LatentCriterion(model, tilt)
    z = model.sample_prior(20_000, derived_generator(0, "start"))
    smc = latent_smc(f, derived_generator(0, "smc"), 50, Particles(z, evaluate(f, z)))
    assert isinstance(smc._moves, GradientMoves)
    smc.keep_only(1.0)
    assert smc.has_mixed(1.0)
    drawn, population = smc.drawn(1.0, 800, derived_generator(0, "drawn"))
    stretch = stretch_of(model.decode(drawn.z)).double()
    log_w = own_energy(stretch, *trough) - own_energy(stretch, 2.0, -25.0, 10.0)

    def difference(kept):
        sides = [torch.logsumexp(log_w[kept & side], 0) for side in (stretch > 0, stretch < 0)]
        return (sides[0] - sides[1]).item()

    found, error = difference(population >= 0), jackknife(difference, population)
    assert error < 0.5
    assert abs(found + 7.10) < 4 * math.hypot(error, 0.46)
