"""Moves led by a learned s: the tilt stays as it is, and far moves are few."""

import math

import pytest
import torch

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Particles
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth import guided_moves
from btgm_cli.truth.guided_moves import GuidedMoves
from btgm_cli.truth.references import latent_smc

DIM, BETA, N = 3, 1.5, 4000


def exact_draws(n, generator):
    """Of N(0, I) tilted by z·1/√D: N(β/√D, I)."""
    return torch.randn(n, DIM, generator=generator) + BETA / math.sqrt(DIM)


def f(z):
    return z.sum(-1) / math.sqrt(DIM)


@pytest.fixture
def far_only(monkeypatch):
    """No plain moves, and all the far ones."""
    monkeypatch.setattr(guided_moves, "MEMORY", -1.0)
    monkeypatch.setattr(guided_moves, "STEPS", 60)
    monkeypatch.setattr(guided_moves, "INNER", 20)


@pytest.mark.parametrize("slope", [1.0, 0.0, -0.5])
def test_the_tilt_stays_as_it_is_whatever_was_learned(far_only, monkeypatch, slope):
    """s of a wrong slope, and of a wrong sign, is refused where f says so."""
    generator = torch.Generator().manual_seed(0)

    class Wrong:
        def predict(self, z):
            return slope * f(z)

    monkeypatch.setattr(GuidedMoves, "_learned", lambda *_: Wrong())
    z = exact_draws(N, generator)
    moved, values = GuidedMoves(Gaussian(DIM))(BETA, z, f(z).double(), f, generator)
    assert (moved != z).any(-1).double().mean() > 0.5
    assert torch.equal(values.float(), f(moved))
    # Draws of a normal distribution of variance 1 along f, in any number of moves.
    assert abs(values.mean().item() - BETA) <= 4 / math.sqrt(N)
    assert abs(values.var().item() - 1) <= 4 * math.sqrt(2 / N)


def test_what_was_learned_is_followed(far_only):
    """A fitted s takes nearly all proposals past f, and one of them forgets the start."""
    generator = torch.Generator().manual_seed(1)
    of_p = torch.randn(4000, DIM, generator=generator)
    moves = GuidedMoves(Gaussian(DIM), Particles(of_p, f(of_p)))
    asked = []

    def counted(z):
        asked.append(len(z))
        return f(z)

    z = exact_draws(1000, generator)
    moves(BETA, z, f(z).double(), counted, generator)
    assert sum(asked) <= 1000 * (guided_moves.PLAIN + guided_moves.MOST)
    assert moves._guide is not None
    wide = exact_draws(2000, generator)
    missed = BETA * (moves._guide.predict(wide).detach() - f(wide))
    assert missed.std() < 0.3


def rough(x):
    """Ripples along one direction, which moves of any length cross blindly."""
    return 3 * torch.cos(3 * x[:, 0]) + x[:, 1]


@pytest.mark.slow
def test_a_rough_tilt_is_met_for_a_few_evaluations_and_is_forgotten():
    f = LatentCriterion(Gaussian(4), rough)
    smc = latent_smc(f, torch.Generator().manual_seed(2), 500)
    found = smc.at(2.0)
    u = torch.linspace(-10, 10, 200_001, dtype=torch.double)
    log_p = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
    exact = torch.logsumexp(log_p + 6 * torch.cos(3 * u), 0) + math.log(u[1] - u[0]) + 2.0
    assert abs(found.log_z - exact.item()) <= 4 * found.log_z_se
    assert found.log_z_se < 0.1
    assert smc.has_mixed(2.0)


def test_what_f_cannot_judge_is_never_moved_to_nor_learned(far_only):
    generator = torch.Generator().manual_seed(3)

    def cliff(z):
        return torch.where(z[:, 0] > 1.5, torch.nan, f(z))

    z = exact_draws(800, generator)
    z = z[z[:, 0] < 1.5]
    moves = GuidedMoves(Gaussian(DIM))
    moved, values = moves(BETA, z, cliff(z).double(), cliff, generator)
    assert torch.isfinite(values).all()
    assert (moved[:, 0] <= 1.5).all()
    assert moves._pool is not None
    assert moves._pool.is_finite


def test_the_same_generator_gives_the_same_ladder():
    f = LatentCriterion(Gaussian(DIM), Linear())

    def found():
        smc = latent_smc(f, torch.Generator().manual_seed(4), 100)
        return smc.at(3.0), smc.ladder[-1].z

    (one, z), (other, same) = found(), found()
    assert one == other
    assert torch.equal(z, same)
    assert evaluate(f, z.flatten(0, 1)).shape == (800,)
