"""The tilt's maths against closed forms, with tolerances of four computed standard errors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import ClosedForm, Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import (
    effective_sample_size,
    importance_reference,
    kl_gap,
    largest_reliable_k,
    moments_of_draws,
    pareto_k,
)
from btgm_cli.truth.evaluation import evaluate_tilt
from btgm_cli.truth.references import Estimated, reference_for
from btgm_cli.tuned.model import TunedModel
from tests.oracle import Affine, unit_direction

DIM = 8
CRITERIA = [Linear(), Quadratic(1.0), Quadratic(0.3)]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5])
def test_derivatives_of_log_z_are_the_moments(criterion, beta):
    """Eqs. 5, 6, 15 and 19: ψ' = E f, ψ'' = Var f, ψ''' = μ3; KL = βψ' − ψ, KL' = β Var f."""
    b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    k = getattr(criterion, "k", 0.0)
    if isinstance(criterion, Linear):
        psi = b**2 / 2
    else:
        psi = -DIM / 2 * torch.log(1 + b * criterion.k)
    (first,) = torch.autograd.grad(psi, b, create_graph=True)
    kl = b * first - psi
    (second,) = torch.autograd.grad(first, b, create_graph=True)
    third = torch.autograd.grad(second, b, create_graph=True)[0] if k else torch.zeros(())
    (kl_first,) = torch.autograd.grad(kl, b, create_graph=True)
    (kl_second,) = torch.autograd.grad(kl_first, b)
    exact = criterion.gaussian_tilt(beta, DIM)
    assert exact.log_z == pytest.approx(psi.item(), abs=1e-8)
    assert exact.mean == pytest.approx(first.item(), abs=1e-8)
    assert exact.var == pytest.approx(second.item(), abs=1e-8)
    assert exact.m3 == pytest.approx(third.item(), abs=1e-8)
    assert exact.kl == pytest.approx(kl.item(), abs=1e-8)
    assert beta * exact.var == pytest.approx(kl_first.item(), abs=1e-8)
    assert exact.var + beta * exact.m3 == pytest.approx(kl_second.item(), abs=1e-8)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: type(c).__name__)
def test_importance_sampling_agrees_with_closed_form_within_its_error(criterion):
    model = Gaussian(DIM)
    z = model.sample_prior(40_000, derived_generator(1))
    f = evaluate(LatentCriterion(model, criterion), z)
    for beta in (0.0, 0.3, 0.8):
        estimate, exact = importance_reference(beta, f), criterion.gaussian_tilt(beta, DIM)
        assert estimate.reliable
        assert abs(estimate.mean - exact.mean) <= 4 * estimate.mean_se
        assert abs(estimate.kl - exact.kl) <= 4 * estimate.kl_se + 1e-12
        assert abs(estimate.log_z - exact.log_z) <= 4 * estimate.log_z_se + 1e-12


def test_importance_errors_match_the_spread_over_repeats():
    generator = derived_generator(2)
    repeats = [
        importance_reference(1.0, torch.randn(2000, generator=generator)) for _ in range(200)
    ]
    for name in ("mean", "kl", "log_z"):
        values = torch.tensor([getattr(r, name) for r in repeats], dtype=torch.float64)
        told = torch.tensor([getattr(r, f"{name}_se") for r in repeats]).mean()
        # The standard deviation of 200 repeats is itself known to 5 %.
        assert values.std().item() == pytest.approx(told.item(), rel=4 * 0.05)


def test_importance_sampling_says_when_it_cannot_be_believed():
    """KL = 4.6 from 10,000 draws reads far too low (method notes); it must not pass as truth."""
    f = torch.randn(10_000, generator=derived_generator(3))
    assert importance_reference(1.0, f).reliable
    assert not importance_reference(4.3, f).reliable


def test_pareto_k_tells_light_tails_from_heavy_ones():
    generator = derived_generator(4)
    light = torch.rand(10_000, generator=generator)
    heavy = -1.0 * torch.rand(10_000, generator=generator, dtype=torch.float64).log()  # k = 1
    assert pareto_k(light.log()) < 0
    assert pareto_k(heavy) == pytest.approx(1.0, abs=0.25)
    assert pareto_k(torch.zeros(100)) == -math.inf
    assert largest_reliable_k(1000) == pytest.approx(2 / 3)
    assert largest_reliable_k(10**6) == 0.7


@pytest.mark.parametrize("exact", [True, False])
def test_kl_gap_is_zero_for_the_exact_flow_and_positive_for_wrong_ones(exact):
    """N(βa, I) is the tilt; N(0, s² I) misses it by a known divergence."""
    beta, scale = 1.0, 0.7
    model, criterion = Gaussian(DIM), Linear()
    shift = beta * unit_direction(DIM)
    flow = Affine(shift) if exact else Affine(0 * shift, scale)
    tuned = TunedModel(model, flow)
    evaluation = evaluate_tilt(
        tuned,
        LatentCriterion(tuned.model, criterion),
        beta,
        20_000,
        derived_generator(5),
        lambda _: True,
    )
    ess_fraction = evaluation.ess_fraction
    gap, gap_se = kl_gap(evaluation.moments, criterion.gaussian_tilt(beta, DIM))
    if exact:
        assert abs(gap) <= 4 * gap_se + 1e-6
        assert ess_fraction == pytest.approx(1.0, abs=1e-4)
    else:
        expected = DIM / 2 * (scale**2 - 1 - math.log(scale**2)) + beta**2 / 2
        assert abs(gap - expected) <= 4 * gap_se
        assert gap > 10 * gap_se
        assert ess_fraction < 0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=50), st.floats(-100, 100))
def test_effective_sample_size_is_between_1_and_n_and_ignores_scale(values, shift):
    log_w = torch.tensor(values, dtype=torch.float64)
    ess = effective_sample_size(log_w)
    assert 1 - 1e-9 <= ess <= len(values) + 1e-9
    assert effective_sample_size(log_w + shift) == pytest.approx(ess, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 3), st.floats(-5, 5), st.floats(0, 2))
def test_affine_change_of_the_criterion_only_rescales_beta(scale, shift, beta):
    """Footnote 5: a·f + b at β/a is the same tilt as f at β."""
    f = torch.randn(500, generator=derived_generator(6), dtype=torch.float64)
    plain = importance_reference(beta, f)
    changed = importance_reference(beta / scale, scale * f + shift)
    assert changed.kl == pytest.approx(plain.kl, abs=1e-9)
    assert changed.mean == pytest.approx(scale * plain.mean + shift, abs=1e-9)


def test_moments_of_draws_match_numpy_formulas():
    f = torch.tensor([1.0, 2.0, 4.0, 8.0])
    ratio = torch.tensor([0.1, 0.2, 0.3, 0.4])
    moments = moments_of_draws(0.5, f, ratio)
    assert moments.mean == pytest.approx(3.75)
    assert moments.var == pytest.approx(f.double().var().item())
    assert moments.m3 == pytest.approx(((f.double() - 3.75) ** 3).mean().item())
    assert moments.kl == pytest.approx(0.25)
    assert moments.loss == pytest.approx(0.25 - 0.5 * 3.75)
    assert moments.kl_se == pytest.approx(ratio.double().std().item() / 2, rel=1e-6)


class Doubled(Gaussian):
    """x = 2 z, so that under `Linear` E f = 2 · 2β, not β."""

    def decode(self, z):
        return 2 * z


class Tripled(Linear):
    def __call__(self, x):
        return 3 * super().__call__(x)


class Knowing:
    """f(x) = a·x, whose tilts of `Doubled` are those of `Linear` at twice the β."""

    def __call__(self, x):
        return Linear()(x)

    def closed_form(self, model):
        return self if isinstance(model, Doubled) else None

    f_evals = 0

    def at(self, beta):
        return Linear().gaussian_tilt(2 * beta, DIM)


def test_reference_is_closed_form_only_where_that_is_exact():
    model = Gaussian(DIM)
    assert isinstance(reference_for(LatentCriterion(model, Linear()), 100, 800, 7), ClosedForm)
    other = reference_for(LatentCriterion(model, lambda x: x[:, 0]), 100, 800, 7)
    assert isinstance(other, Estimated)
    assert other.f_evals == 100


@pytest.mark.parametrize(
    ("model", "criterion", "factor"),
    [(Doubled(DIM), Linear(), 2.0), (Gaussian(DIM), Tripled(), 3.0)],
    ids=["model", "criterion"],
)
def test_a_subclass_that_computes_something_else_has_no_closed_form(model, criterion, factor):
    reference = reference_for(LatentCriterion(model, criterion), 20_000, 800, 7).at(0.3)
    assert reference.reliable
    assert abs(reference.mean - factor**2 * 0.3) <= 4 * reference.mean_se


def test_a_criterion_may_bring_the_tilts_of_a_model_of_its_own():
    model, criterion = Doubled(DIM), Knowing()
    known = reference_for(LatentCriterion(model, criterion), 100, 800, 7)
    assert known.at(0.3) == Linear().gaussian_tilt(0.6, DIM)
    assert isinstance(reference_for(LatentCriterion(Gaussian(DIM), criterion), 9, 8, 7), Estimated)
