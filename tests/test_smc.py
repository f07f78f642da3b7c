"""Tempered SMC against closed forms and quadrature: within four of its own standard errors."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import load_criterion, load_model
from btgm_cli.cli import main
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth import smc
from btgm_cli.truth.moves import CrankNicolson
from btgm_cli.truth.references import Estimated
from btgm_cli.truth.smc import LARGEST_LOG_Z_SE, TemperedSMC
from tests.marks import slow
from tests.test_kills import CASES, TINY, working_in

DIM = 5


def climb(criterion, seed=0, model=None, **sizes):
    model = model or Gaussian(DIM)
    latent = LatentCriterion(model, criterion)
    return TemperedSMC(
        model,
        lambda z: evaluate(latent, z),
        CrankNicolson(model),
        derived_generator(seed),
        **{"particles": 400, **sizes},
    )


def skewed(x):
    """A ramp that saturates: most of p is on the flat side, E f jumps when the tilt finds it."""
    return 4 * torch.sigmoid(3 * (x[:, 0] - 1.5))


def by_quadrature(f, beta):
    """log Z, E f, KL of N(0, 1) tilted by a function of one coordinate."""
    u = np.linspace(-10, 10, 200_001)
    values = f(torch.tensor(u)[:, None]).numpy()
    log_w = beta * values - 0.5 * u**2 - 0.5 * math.log(2 * math.pi)
    log_z = np.logaddexp.reduce(log_w) + math.log(u[1] - u[0])
    w = np.exp(log_w - log_z) * (u[1] - u[0])
    mean = (w * values).sum()
    return log_z, mean, beta * mean - log_z


def agrees(reference, log_z, mean, kl):
    assert abs(reference.log_z - log_z) <= 4 * reference.log_z_se
    assert abs(reference.mean - mean) <= 4 * reference.mean_se
    assert abs(reference.kl - kl) <= 4 * reference.kl_se
    assert reference.log_z_se < LARGEST_LOG_Z_SE


@pytest.mark.parametrize("criterion", [Linear(), Quadratic(1.0)])
@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_it_agrees_with_closed_forms(criterion, beta):
    exact = criterion.gaussian_tilt(beta, DIM)
    reference = climb(criterion).at(beta)
    agrees(reference, exact.log_z, exact.mean, exact.kl)
    assert reference.method == "smc"
    assert reference.var == pytest.approx(exact.var, rel=0.15)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_it_agrees_with_quadrature_on_a_skewed_criterion(beta):
    agrees(climb(skewed, seed=1).at(beta), *by_quadrature(skewed, beta))


def test_what_keeps_one_tilt_alone_tells_the_same_of_it():
    whole, one = climb(Linear()), climb(Linear())
    one.keep_only(4.0)
    assert one.at(4.0) == whole.at(4.0)
    assert one.cost(4.0) == whole.cost(4.0)
    assert len(one.ladder) == 2 < len(whole.ladder)
    with pytest.raises(ValueError, match="empty"):  # its particles are not there any more
        one.at(1.0)


def test_it_finds_both_modes_in_their_shares():
    """log cosh(3 x₀) tilts N(0, I) into N(±3, 1) with equal shares; log Z = 9 / 2."""

    def two_modes(x):
        return torch.log(torch.cosh(3 * x[:, 0]))

    smc = climb(two_modes, seed=2)
    assert abs(smc.at(1.0).log_z - 4.5) <= 4 * smc.at(1.0).log_z_se
    particles = smc.particles(1.0, 2000, derived_generator(3))
    share = (particles.z[:, 0] > 0).double().mean().item()
    assert abs(share - 0.5) < 0.15  # the populations' spread, not the binomial's


def test_a_prior_that_is_not_standard_keeps_its_density():
    """p = N(1, 0.25 I): tilting by x₀ moves its mean by β / 4."""

    class Shifted(Gaussian):
        def sample_prior(self, n, generator):
            return 1 + 0.5 * super().sample_prior(n, generator)

        def prior_log_prob(self, z):
            return super().prior_log_prob((z - 1) / 0.5) - self.latent_dim * math.log(0.5)

    reference = climb(lambda x: x[:, 0], model=Shifted(DIM)).at(6.0)
    agrees(reference, 6.0 + 36 / 8, 1 + 6 / 4, 6 * 2.5 - (6.0 + 36 / 8))


def test_the_order_of_questions_does_not_matter():
    first, second = climb(skewed), climb(skewed)
    late = first.at(3.0)
    assert second.at(1.0) == first.at(1.0)
    assert second.at(3.0) == late


def test_what_it_shows_to_learners_judges_nothing():
    found = climb(Linear())
    assert not len(found.passed().f)
    found.at(1.0)
    passed = found.passed()
    held = torch.cat([rung.z.flatten(0, 1) for rung in found.ladder])
    assert not {*map(tuple, passed.z.tolist())} & {*map(tuple, held.tolist())}
    assert torch.equal(passed.f, Linear()(passed.z).double())
    asked = found.f_evals - found.ladder[0].f.numel()
    assert 0.3 * asked < len(passed.f) < asked


def test_a_point_that_f_cannot_judge_is_never_moved_to():
    def cliff(x):
        return torch.where(x[:, 0] > 5, torch.nan, x[:, 0])

    assert math.isfinite(climb(cliff).at(3.0).log_z)


def test_importance_sampling_is_left_where_it_fails_and_only_there():
    latent = LatentCriterion(Gaussian(DIM), lambda x: x[:, 0])
    source = Estimated(latent, n=5000, n_particles=1600, seed=0)
    assert source.at(1.0).method == "psis"
    assert source.f_evals == 5000
    far = source.at(4.0)
    assert far.method == "smc"
    assert source.f_evals > 5000
    agrees(far, 8.0, 4.0, 8.0)
    particles = source.particles(4.0, 500, derived_generator(4))
    assert abs(particles.f.mean().item() - 4.0) < 0.3


@pytest.mark.slow
def test_it_agrees_with_importance_sampling_on_the_gan():
    latent = LatentCriterion(load_model("gan_mnist"), load_criterion("log_class4"))
    source = Estimated(latent, n=8000, n_particles=1600, seed=1)
    cheap, smc = source.prior.at(0.5), source.smc.at(0.5)
    assert cheap.reliable
    for name in ("log_z", "mean", "kl"):
        error = math.hypot(getattr(cheap, f"{name}_se"), getattr(smc, f"{name}_se"))
        assert abs(getattr(cheap, name) - getattr(smc, name)) <= 4 * error


def test_beyond_the_end_of_the_ladder_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr(smc, "MOST_RUNGS", 6)
    climbed = climb(Linear())
    near, far = climbed.at(1.0), climbed.at(40.0)
    end = climbed.ladder[-1].beta
    assert near.reliable
    assert 1 < end < 40
    assert (far.reliable, far.log_z_se, far.ess) == (False, math.inf, 0.0)
    assert math.isfinite(far.log_z)
    assert climbed.at(end).log_z_se < math.inf
    assert len(climbed.particles(40.0, 10, derived_generator(0)).f) == 10
    assert climbed.cost(40.0) == (climbed.f_evals, 0.0)


@pytest.mark.parametrize("case", ["smc", slow("path")])
def test_a_run_whose_smc_gets_no_further_ends_with_a_verdict_and_all_files(
    tmp_path, monkeypatch, pictures, case
):
    """As the reference of one run, and as a price alone, where the tilts are known."""
    monkeypatch.setattr(smc, "MOST_RUNGS", 8)
    strong = ["target.betas=[0,1,40]", "tuning.min_acceptance_rate=1", "out=far"]
    with working_in(tmp_path, monkeypatch):
        assert main(["run", *CASES[case], *TINY, *strong]) == 3
    far = tmp_path / "far"
    summary = json.loads((far / "summary.json").read_text())
    table, theory = pd.read_csv(far / "pareto.csv"), pd.read_csv(far / "theory.csv")
    assert len(theory) == 45
    assert (far / "theory_vs_empirical.png").is_file()
    cost = pd.read_csv(far / "cost.csv").set_index(["beta", "method"])["each"]
    assert math.isfinite(cost[1.0, "smc"])
    assert cost[40.0, "smc"] == math.inf
    if case == "smc":
        assert summary["status"] == table["status"].iloc[-1] == "unreliable_reference"
        assert summary["message"].endswith("does not reach so strong a tilt of this criterion")
        assert summary["remedy"].startswith("ask for less: lower target.betas")
        assert table["ref_reliable"].tolist() == [True, True, False]
        assert not theory["reliable"].iloc[-1]
    else:
        assert table["ref_reliable"].all()


@pytest.mark.slow
def test_the_first_step_keeps_to_weights_with_a_variance():
    """f = x₀²/2 widens N(0, 1) to 1/(1 − β), where weights e^{Δβ f} have none from 1/2 on.

    Of 20,000 draws a first step of 0.8 seems safe: a sixth of them is effective.
    """
    for seed in range(4):
        latent = LatentCriterion(Gaussian(2), lambda x: 0.5 * x[:, 0].square())
        smc = Estimated(latent, n=20_000, n_particles=4000, seed=seed).smc
        smc.at(0.9)
        # True k is β itself: the sample's scatters about it.
        assert smc.ladder[1].beta < 0.6
