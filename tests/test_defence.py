"""Proposals with a share of p's own: weights are bounded, whatever the tuned model is like."""

import math

import pytest
import torch
from experiments.bench.corrected import BEFORE, file_of
from experiments.bench.islands import Islands, ignorant

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth.evaluation import examine
from btgm_cli.truth.tally import Tally
from btgm_cli.tuned.correction import HARMLESS, N_PILOT, Correct, Corrector
from btgm_cli.tuned.defence import DEAREST_SHARE, LEAST_SHARE, SHARES, Defended, best_share
from btgm_cli.tuned.model import TunedModel
from tests.oracle import Affine

DIM, SHARE, N = 3, 0.3, 20_000
ISLANDS = Islands(border=2.3, depth=1.0)
WEIGHTS = [Correct.RESAMPLE, Correct.REJECTION, Correct.MCMC]


@pytest.fixture(scope="module")
def planted():
    return ignorant(ISLANDS, 32)


def far_defended(device="cpu"):
    """q̂ = N(20, I), so that p's draws are plain to see."""
    flow = Affine(torch.full((DIM,), 20.0)).to(device)
    return Defended(TunedModel(Gaussian(DIM), flow), SHARE)


def test_as_many_are_ps_as_its_share_in_random_order(device):
    z, _ = far_defended(device).draw(N, derived_generator(0, device=device))
    of_p = (z[:, 0] < 10).double().cpu()
    assert of_p.sum() in (SHARE * N, SHARE * N + 1)
    front = of_p[: N // 2].mean().item()
    assert abs(front - SHARE) <= 4 * math.sqrt(SHARE * (1 - SHARE) / N)


def test_a_share_of_few_draws_is_met_in_the_mean():
    defended = far_defended()
    blocks = [defended.draw(2, derived_generator(seed))[0] for seed in range(2000)]
    of_p = torch.stack([(z[:, 0] < 10).double().mean() for z in blocks])
    assert abs(of_p.mean().item() - SHARE) <= 4 * of_p.std().item() / math.sqrt(2000)


def test_the_density_told_is_that_of_the_draws():
    """E_q' of r / q' is 1 for any density r: here N(1, I), between the two and near p."""
    flow = Affine(torch.full((DIM,), 2.0))
    defended = Defended(TunedModel(Gaussian(DIM), flow), SHARE)
    z, log_q = defended.draw(N, derived_generator(1))
    log_p = defended.tuned.model.prior_log_prob(z)
    torch.testing.assert_close(log_q, defended.tuned.model.prior_log_prob(z - 2.0))
    expected = torch.log(0.7 * log_q.exp() + 0.3 * log_p.exp())
    torch.testing.assert_close(defended.log_density(z, log_q, log_p), expected)
    ratio = (defended.tuned.model.prior_log_prob(z - 1.0) - expected).double().exp()
    assert abs(ratio.mean().item() - 1) <= 4 * ratio.std().item() / math.sqrt(N)


def test_the_share_is_large_where_the_tuned_model_has_lost_half():
    """p uniform on two halves, q̂ 1.9 and 0.1 there, f even: E_q' w² is least the evener q' is."""
    log_q = torch.tensor([1.9, 0.1], dtype=torch.double).log()
    log_q = log_q.repeat_interleave(torch.tensor([7250, 2750]))  # as (q̂ + p) / 2 draws them
    zeros = torch.zeros_like(log_q)
    assert best_share(zeros, log_q, zeros, 1e9) == SHARES[-1]


@pytest.mark.parametrize(
    ("price", "expected"), [(4, LEAST_SHARE), (12, 0.15), (20, DEAREST_SHARE), (500, LEAST_SHARE)]
)
def test_the_share_of_an_exact_model_is_what_bounds_the_weights_if_that_is_cheap(price, expected):
    """f = log price on 1 / price of a uniform p, −60 on the rest, and q̂ the tilt itself."""
    high = 5000 + round(5000 / price)  # of 10,000 draws by halves from q̂ and p
    tilt = torch.tensor([math.log(price), -60.0], dtype=torch.double)
    tilt = tilt.repeat_interleave(torch.tensor([high, 10_000 - high]))
    found = best_share(tilt, tilt, torch.zeros_like(tilt), 100.0)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("correct", WEIGHTS)
def test_no_weight_exceeds_that_of_rejection_over_the_share(planted, correct):
    """f is at most 0, so that the bound is 1 / (ε Z), Z by quadrature."""
    f, tuned = planted
    _, log_z, _ = ISLANDS.exact()
    corrector = Corrector(tuned, f, 1.0, correct, derived_generator(0))
    pilot = corrector.pilot
    error = math.sqrt((1 / pilot.ess_fraction - 1) / len(pilot.log_weights))
    assert abs(pilot.log_z - log_z) <= 4 * error
    bound = -log_z - math.log(corrector.proposals.share)
    assert abs(corrector.log_weight_bound - bound) <= 4 * error + 0.02  # the largest f met: −0.02
    assert pilot.largest <= corrector.log_weight_bound <= math.log(HARMLESS * N_PILOT)
    assert pilot.reliable  # whatever the k̂ of a lump of weights


def test_the_tuned_model_alone_has_weights_of_hundreds_and_no_bound(planted):
    f, tuned = planted
    corrector = Corrector(tuned, f, 1.0, Correct.NONE, derived_generator(6))
    island = torch.zeros(1, 32)
    island[0, 1] = 2.5
    log_p = f.model.prior_log_prob(island)
    log_w = f(island) + log_p - tuned.log_prob(island) - ISLANDS.exact()[1]
    assert log_w.item() > math.log(500)
    assert corrector.log_weight_bound == math.inf
    assert corrector.f_evals == 10_000


def test_a_row_carries_the_bound():
    """f = −|z|²/2 is at most 0, which thousands of draws in three dimensions come near."""
    criterion, model = Quadratic(), Gaussian(DIM)
    tuned = TunedModel(model, Affine(torch.zeros(DIM), math.sqrt(0.5)))
    f, exact = LatentCriterion(model, criterion), criterion.closed_form(model)
    figures = examine(tuned, f, 1.0, exact, 5000, lambda purpose: derived_generator(0, purpose))
    log_z = 1.5 * math.log(0.5)
    assert figures.log_weight_bound == pytest.approx(-log_z - math.log(LEAST_SHARE), abs=0.01)


def test_files_that_are_off_passed_without_the_share_and_do_not_with_it():
    """An island with 3 % of the tilt, of which q̂ alone shows next to nothing."""
    islands = Islands(border=2.0, depth=2.0)
    f, tuned = ignorant(islands, 32)
    mean, _, _ = islands.exact()

    def passed(way):
        files = [file_of(f, tuned, way, 5000, seed) for seed in range(6)]
        return [abs(file.mean - mean) / file.mean_se for file in files if not file.trouble]

    assert max(passed(BEFORE)) > 4
    defended = passed(str(Correct.RESAMPLE))
    assert len(defended) == 6
    assert max(defended) <= 4


@pytest.mark.parametrize("n", [1, 60, 200])
def test_of_few_draws_none_is_a_large_part(planted, n):
    f, tuned = planted
    tally = Tally()
    for block in Corrector(tuned, f, 1.0, Correct.RESAMPLE, derived_generator(2)).draws(n):
        taken = block.at(torch.arange(min(len(block), n - tally.n)))
        tally.add(taken.z.numpy(), taken.f.numpy())
        if tally.n == n:
            break
    assert tally.most <= max(1, 0.01 * n)
