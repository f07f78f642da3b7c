"""Learning from values of f alone: the score agrees with ∇f, and serves where there is no ∇f."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from btgm_cli import load_criterion, load_model
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Gradient, Tuning, tune
from btgm_cli.tuning.training import reparametrised_loss, score_loss
from tests.marks import slow

DIM, BETA = 4, 0.8
MODEL = Gaussian(DIM)
QUICK = Tuning(
    first_steps=250,
    steps=120,
    n_eval=4000,
    n_reference=20_000,
    learning_rate=4e-3,
    min_acceptance_rate=1.0,
)


def small_flow(seed=0):
    return InverseAutoregressive(DIM, depth=2, hidden=[32], seed=seed)


def shaken(flow):
    """A flow that is neither the identity nor any tilt."""
    generator = derived_generator(3)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return flow


def gradients(loss_of, f, flow, batches=150, size=32):
    """Gradients of L on independent batches along 12 fixed directions, shape (batches, 12)."""
    weights = list(flow.parameters())
    generator = derived_generator(7)
    ways = [[torch.randn(w.shape, generator=generator) for w in weights] for _ in range(12)]
    rows = []
    for _ in range(batches):
        loss = loss_of(f, flow, MODEL.sample_prior(size, generator), BETA).loss
        found = torch.autograd.grad(loss, weights)
        rows.append([sum((g * w).sum() for g, w in zip(found, way, strict=True)) for way in ways])
    return torch.tensor(rows, dtype=torch.double)


@pytest.mark.parametrize(
    "criterion", [Linear(), slow(Quadratic(1.0))], ids=["linear", "quadratic"]
)
def test_the_score_gradient_is_the_reparametrised_one_within_four_errors(criterion):
    f, flow = LatentCriterion(MODEL, criterion), shaken(small_flow())
    score, exact = gradients(score_loss, f, flow), gradients(reparametrised_loss, f, flow)
    error = (score.var(0) / len(score) + exact.var(0) / len(exact)).sqrt()
    assert ((score.mean(0) - exact.mean(0)).abs() <= 4 * error).all()
    # The error is small enough to tell a wrong sign or a missing term.
    assert (exact.mean(0).abs() > 4 * error).any()


def test_the_score_gradient_has_no_noise_at_the_tilt():
    """Where q̂ is the tilt, log q̂ − log p − βf is the same for every draw (here at β = 0)."""
    found = gradients(
        lambda f, flow, z0, _: score_loss(f, flow, z0, 0.0),
        LatentCriterion(MODEL, Linear()),
        small_flow(),
        batches=5,
    )
    assert found.abs().max() < 0.05
    assert gradients(score_loss, LatentCriterion(MODEL, Linear()), small_flow(), 5).std() > 0.5


def beyond(x):
    """A rare event: no gradient anywhere."""
    return (x[:, 0] > 1).float()


@pytest.mark.slow
def test_a_criterion_without_gradient_reaches_its_target_and_says_how():
    settings = replace(
        QUICK, gradient=Gradient.SCORE, min_acceptance_rate=0.2, first_steps=100, steps=50
    )
    result = tune(MODEL, beyond, target=Target(C_f=0.8), flow=small_flow(), settings=settings)
    assert result.gradient is Gradient.SCORE
    last = result.points[-1]
    assert abs(last.figures.moments.mean - 0.8) <= max(0.008, 2 * last.figures.moments.mean_se)
    # E f of the exact tilt is p e^β / (1 − p + p e^β), with p = P(x₀ > 1).
    p = 0.5 * math.erfc(1 / math.sqrt(2))
    exact = (
        p * math.exp(last.figures.moments.beta) / (1 - p + p * math.exp(last.figures.moments.beta))
    )
    assert abs(last.figures.reference.mean - exact) <= 4 * last.figures.reference.mean_se
    assert result.status is Status.OK
    assert last.figures.kl_gap <= 0.05


@pytest.mark.slow
def test_the_score_can_be_asked_for_where_there_is_a_gradient():
    settings = replace(QUICK, gradient=Gradient.SCORE)
    result = tune(MODEL, Linear(), target=Target(C_D=0.5), flow=small_flow(), settings=settings)
    assert result.gradient is Gradient.SCORE
    assert result.status is Status.OK
    assert result.points[-1].figures.kl_gap < 0.02


def test_reparametrising_what_has_no_gradient_is_refused():
    settings = Tuning(gradient=Gradient.REPARAMETRISED)
    with pytest.raises(SettingError, match=r"tuning\.gradient.*beyond has no gradient"):
        tune(MODEL, beyond, settings=settings)


@pytest.mark.slow
@pytest.mark.parametrize(("wish", "goal"), [("ink", 130.0), ("decided", 0.6)])
def test_on_the_gan_wishes_without_gradient_reach_their_target(wish, goal, monkeypatch):
    """A thresholded count of pixels, and a classifier's decision: experiments/own_criterion."""
    monkeypatch.chdir(Path(__file__).parents[1] / "experiments" / "own_criterion")
    monkeypatch.setattr(sys, "path", list(sys.path))
    criterion = load_criterion(wish)
    settings = Tuning(first_steps=300, steps=150, n_reference=20_000)
    result = tune(load_model("gan_mnist"), criterion, target=Target(C_f=goal), settings=settings)
    assert result.gradient is Gradient.SURROGATE
    last = result.points[-1]
    prior = result.points[0].figures.moments.mean
    tolerance = 0.01 * abs(goal - prior)
    figures = last.figures
    assert abs(figures.moments.mean - goal) <= max(tolerance, 2 * figures.moments.mean_se)
    # What a gap allows: |E_q̂ f − E_q f| is at most √(2 · gap · Var f) where f has Gaussian tails.
    assert figures.kl_gap <= 0.15
    allowed = math.sqrt(2 * (figures.kl_gap + 2 * figures.kl_gap_se) * figures.reference.var)
    assert abs(figures.moments.mean - figures.reference.mean) <= allowed
