"""Corrected draws against the Gaussian oracle, from a flow that is bad on purpose."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch

from btgm_cli import Target, Tuning, load_criterion, load_model, tune
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth.moves import CrankNicolson
from btgm_cli.truth.smc import TemperedSMC
from btgm_cli.tuned.correction import Correct, Corrector
from btgm_cli.tuned.defence import mixed
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuned.thinning import (
    MIXED,
    MOST_THINNING,
    least_thinning,
    staying,
    thinning_for,
)
from tests.oracle import Affine, unit_direction

DIM, BETA, N = 3, 1.2, 20_000


def corrector(correct, seed=0, shift=0.7, scale=1.3, block=1000, device="cpu"):
    """A flow too wide and short of the tilt, on the oracle whose tilt is N(βa, I)."""
    flow = Affine(shift * BETA * unit_direction(DIM), scale).to(device)
    latent = LatentCriterion(Gaussian(DIM), Linear())
    tuned = TunedModel(latent.model, flow)
    return Corrector(tuned, latent, BETA, correct, derived_generator(seed, device=device), block)


def drawn(correct, n=N, seed=0, device="cpu"):
    made, parts, done = corrector(correct, seed, device=device), [], 0
    for block in made.draws(n):
        parts.append(block)
        done += len(block)
        if done >= n:
            break
    f = torch.cat([part.f for part in parts]).double().cpu()[:n]
    z = torch.cat([part.z for part in parts]).double().cpu()[:n]
    log_weight = torch.cat([part.log_weight for part in parts]).cpu()[:n]
    return f, z, log_weight, made.pilot


EXACT = [Correct.RESAMPLE, Correct.REJECTION, Correct.MCMC]


@pytest.mark.parametrize("correct", EXACT)
def test_corrected_draws_are_the_tilts(correct, device):
    f, z, log_weight, pilot = drawn(correct, device=device)
    # Repeats of a draw inflate the error: 1 / ess_fraction bounds them.
    factor = math.sqrt(1 + 1 / pilot.ess_fraction)
    error = f.std().item() / math.sqrt(N) * factor
    assert abs(f.mean().item() - BETA) <= 4 * error
    assert abs(f.var().item() - 1.0) <= 4 * math.sqrt(2 / N) * factor
    across = z @ torch.tensor([1.0, -1.0, 0.0], dtype=torch.double) / math.sqrt(2)
    assert abs(across.mean().item()) <= 4 / math.sqrt(N) * factor
    assert (log_weight == 0).all()


def test_uncorrected_draws_are_not_but_carry_the_weights_that_mend_them():
    f, _, log_weight, _ = drawn(Correct.NONE)
    assert abs(f.mean().item() - BETA) > 20 * f.std().item() / math.sqrt(N)
    w = log_weight.exp()
    mean = (w * f).sum() / w.sum()
    error = (w / w.mean() * (f - mean)).std().item() / math.sqrt(N)
    assert abs(mean.item() - BETA) <= 4 * error


def test_the_mean_of_the_weights_gives_log_z():
    pilot = corrector(Correct.NONE, seed=3).pilot
    error = math.sqrt((1 / pilot.ess_fraction - 1) / 10_000)
    assert abs(pilot.log_z - BETA**2 / 2) <= 4 * error


@pytest.mark.parametrize("correct", list(Correct))
def test_the_same_seed_draws_the_same(correct):
    first, again, other = (drawn(correct, n=1500, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_weights_that_cannot_be_relied_on_are_told():
    assert corrector(Correct.NONE).pilot.reliable
    assert not corrector(Correct.NONE, shift=0.0, scale=0.35).pilot.reliable


def test_a_few_states_that_stay_for_long_are_forgotten_too():
    """Nine states that stay with 0.5 and one with 0.99: by the mean of these, 8 steps would do."""
    share = torch.full((10,), 0.1, dtype=torch.double)
    stays = torch.tensor([0.5] * 9 + [0.99], dtype=torch.double)
    found = least_thinning(share, stays)
    assert found.steps == 230  # 0.1 · 0.99ᵏ ≤ 0.01
    assert found.remembered == pytest.approx(0.1 * 0.99**230)
    assert found.suffices
    assert (share * stays**8).sum().item() == pytest.approx(0.096, abs=1e-3)


def test_weights_tell_how_long_a_state_stays():
    log_w = torch.randn(40, generator=derived_generator(1), dtype=torch.double)
    log_w = log_w.sort(descending=True).values
    expected = [
        1 - sum(min(1.0, math.exp(y - x)) for j, y in enumerate(log_w) if j != i) / 39
        for i, x in enumerate(log_w)
    ]
    assert staying(log_w).tolist() == pytest.approx(expected, abs=1e-12)


def test_chains_of_exact_draws_move_at_each_step():
    found = thinning_for(torch.zeros(1000))
    assert found.steps == 1
    assert found.remembered == pytest.approx(0.0, abs=1e-12)


def test_a_weight_that_dominates_is_told():
    """A chain on it never leaves; what that state remembers rounds to all."""
    made = corrector(Correct.MCMC, block=10)
    log_weights = torch.zeros(10_000, dtype=torch.double)
    log_weights[0] = 60.0
    made.pilot = replace(made.pilot, log_weights=log_weights)
    assert len(next(made.draws(10))) == 10
    thinning = made.pilot.thinning
    assert thinning.steps == MOST_THINNING
    assert thinning.remembered == pytest.approx(1.0)
    assert not thinning.suffices


def test_hardly_a_chain_is_where_it_was_when_last_read():
    """From p itself, whose weights exp(βf) have a long tail: a few states stay for long."""
    made = corrector(Correct.MCMC, shift=0.0, scale=1.0)
    first, second = islice(made.draws(2000), 2)
    same = (first.z == second.z).all(-1).double().mean().item()
    assert made.pilot.thinning.suffices
    assert same <= MIXED + 4 * math.sqrt(MIXED * (1 - MIXED) / len(first))


def test_what_rejection_costs_is_known_before():
    """The largest weight of N(βa, I) against N(0.7βa, 1.3² I) with a share of p: on the axis a."""
    made = corrector(Correct.REJECTION)
    along = torch.linspace(-9, 9, 100_001, dtype=torch.double)
    log_wide = -((along - 0.7 * BETA) ** 2) / (2 * 1.3**2) - DIM * math.log(1.3)
    proposed = mixed(log_wide, -(along**2) / 2, made.proposals.share)
    largest = (-((along - BETA) ** 2) / 2 - proposed).max().exp().item()
    pilot = made.pilot
    of_log_z = math.sqrt((1 / pilot.ess_fraction - 1) / 10_000)
    assert 0.9 * largest <= pilot.draws_each <= largest * math.exp(4 * of_log_z)
    flown = made.f_evals
    kept = sum(len(block) for block in islice(made.draws(N), 20))
    share = kept / (made.f_evals - flown)
    error = math.sqrt(share * (1 - share) / 20_000)
    assert share <= 1 / pilot.draws_each + 4 * error
    assert share >= math.exp(-4 * of_log_z) / largest - 4 * error


def test_the_draws_of_a_block_belong_together():
    block = next(corrector(Correct.RESAMPLE).draws(N))
    assert torch.equal(block.x, block.z)
    assert torch.allclose(block.f, Linear()(block.x))


@pytest.mark.slow
def test_on_the_gan_resampled_draws_agree_with_smc():
    """A flow trained too briefly on digits: mean and variance of f, and the classes' shares."""
    model, criterion, beta = load_model("gan_mnist"), load_criterion("log_class4"), 0.4
    settings = Tuning(first_steps=150, min_acceptance_rate=1.0, n_eval=2000, n_reference=2000)
    tuned = tune(model, criterion, target=Target(betas=[beta]), settings=settings).tuned
    latent = LatentCriterion(model, criterion)
    smc = TemperedSMC(
        model,
        lambda z: evaluate(latent, z),
        CrankNicolson(model),
        derived_generator(1),
        particles=300,
    )
    exact, n = smc.at(beta), 8000
    particles = smc.particles(beta, n, derived_generator(2))
    with torch.no_grad():
        classes = criterion.classes(model.decode(particles.z))
    shares = torch.bincount(classes, minlength=10).double() / n

    def differences(way):
        made, parts = Corrector(tuned, latent, beta, way, derived_generator(3)), []
        for block in made.draws(n):
            parts.append(block)
            if sum(map(len, parts)) >= n:
                break
        f = torch.cat([part.f for part in parts]).double()
        x = torch.cat([part.x for part in parts])
        found = torch.bincount(criterion.classes(x), minlength=10).double() / len(x)
        # Draws that repeat, and particles that remember, count for less than they are.
        effective = min(len(f) * made.pilot.ess_fraction, exact.ess)
        error = math.sqrt(f.var().item() / effective)
        spread = math.sqrt(((f - f.mean()) ** 2).var().item() / effective)
        of_shares = torch.sqrt(shares.clamp(min=1e-3) / effective)
        return (
            abs(f.mean().item() - exact.mean) / math.hypot(error, exact.mean_se),
            abs(f.var().item() - exact.var) / math.hypot(spread, spread),
            ((found - shares).abs() / (math.sqrt(2) * of_shares)).max().item(),
        )

    assert max(differences(Correct.RESAMPLE)) <= 4
    assert max(differences(Correct.NONE)) > 4
