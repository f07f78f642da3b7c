"""Planted failures get their verdict, and healthy runs get ok."""

import math
from dataclasses import replace

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Effort, Status, Verdict
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import ClosedForm, Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import log_z_bound
from btgm_cli.truth.evaluation import examine
from btgm_cli.truth.references import Estimated
from btgm_cli.truth.verdict import SEVERITY, Thresholds, judge, worst
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import Tuning, tune
from tests.marks import slow
from tests.oracle import Affine, unit_direction

DIM = 4
MODEL = Gaussian(DIM)
FIRST = torch.eye(DIM)[0]


pytestmark = pytest.mark.usefixtures("brief_lessons")


def latent(criterion):
    return LatentCriterion(MODEL, criterion)


def figures_of(flow, criterion, beta, reference=None, seed=0, n=10_000):
    """The figures of a planted flow, as a run would have them."""
    reference = reference or Estimated(latent(criterion), n=20_000, n_particles=4000, seed=seed)
    return examine(
        TunedModel(MODEL, flow),
        latent(criterion),
        beta,
        reference,
        n,
        lambda purpose: derived_generator(seed, purpose),
    )


def judged(figures, thresholds=None):
    """The verdict on figures of a model that no training has touched."""
    return judge(figures, Effort(0, 0, 0, 0.0, finite=True), thresholds or Thresholds())


def verdict_of(*planted, thresholds=None, **choices):
    return judged(figures_of(*planted, **choices), thresholds or Thresholds())


def two_modes(x):
    """Tilts N(0, I) at β = 1 into equal shares of N(±5, 1) along x₀."""
    return torch.log(torch.cosh(5.0 * x[:, 0]))


def test_a_flow_on_one_of_two_modes_has_dropped_a_mode():
    """The silent failure: its own weights are as even as can be."""
    figures = figures_of(Affine(5.0 * FIRST), two_modes, 1.0)
    assert figures.ess_fraction > 0.9
    assert abs(figures.kl_gap - math.log(2)) < 0.1
    assert 0.4 < figures.coverage < 0.65
    verdict = judged(figures, Thresholds())
    assert verdict.status is Status.MODE_DROPPED
    assert "covered" in verdict.reason


@pytest.mark.parametrize("scale", [1.0, 0.98])
def test_a_flow_close_to_the_tilt_is_ok(scale):
    exact = Affine(1.5 * unit_direction(DIM), scale)
    assert verdict_of(exact, Linear(), 1.5).status is Status.OK


def test_a_flow_that_stopped_half_way_is_undertrained():
    half = Affine(1.5 * unit_direction(DIM))
    verdict = verdict_of(half, Linear(), 5.0)
    assert verdict.status is Status.UNDERTRAINED
    assert "kl_gap" in verdict.reason


def test_a_flow_that_never_moved_is_undertrained_however_far_the_tilt():
    for beta in (2.7, 4.5):
        assert verdict_of(Affine(0 * FIRST), Linear(), beta).status is Status.UNDERTRAINED


def test_a_flow_that_is_off_but_reaches_everything_is_ok_corrected():
    wide = Affine(1.2 * unit_direction(DIM), scale=1.35)
    figures = figures_of(wide, Linear(), 1.5)
    assert figures.kl_gap > Thresholds().kl_gap
    assert judged(figures, Thresholds()).status is Status.OK_CORRECTED


class Fives:
    """A criterion of three classes along x₀: below −1, in between, and above 1."""

    n_classes = 3

    def __call__(self, x):
        return 0.0 * x[:, 0]

    def classes(self, x):
        return (x[:, 0] > -1).long() + (x[:, 0] > 1).long()


def test_a_class_that_is_lost_is_named():
    """Narrowed along x₀ alone: 16 % of p lies beyond 1 on either side, and almost none of q̂."""

    class Narrow(Affine):
        def forward(self, z0):
            factor = torch.where(FIRST > 0, 0.4, 1.0)
            return z0 * factor, torch.full((len(z0),), math.log(0.4))

        def inverse(self, z):
            return z / torch.where(FIRST > 0, 0.4, 1.0), torch.full((len(z),), math.log(0.4))

    verdict = verdict_of(Narrow(0 * FIRST), Fives(), 1.0)
    assert verdict.status is Status.MODE_DROPPED
    assert verdict.reason.startswith("class 0 has")


def test_a_reference_without_enough_draws_is_told():
    reference = Estimated(latent(Linear()), n=200, n_particles=48, seed=1)
    verdict = verdict_of(Affine(6 * unit_direction(DIM)), Linear(), 6.0, reference=reference)
    assert verdict.status is Status.UNRELIABLE_REFERENCE
    assert verdict.to_raise == ("n_particles",)


def test_doubt_counts_against_a_point():
    """A gap of 0.13 ± 0.02 may be more than 0.15, and fewer draws must not make `ok` easier."""
    sure = figures_of(Affine(1.5 * unit_direction(DIM)), Linear(), 1.5)
    near = replace(sure, kl_gap=0.13, kl_gap_se=0.02)
    assert judged(replace(near, kl_gap_se=0.005)).status is Status.OK
    verdict = judged(near)
    assert verdict.status is Status.OK_CORRECTED
    assert verdict.reason.startswith("kl_gap 0.13 ± 0.02 nats: only that error stands between")
    heavy = judged(replace(near, pareto_k=0.9))
    assert heavy.status is Status.UNRELIABLE_REFERENCE
    assert heavy.to_raise == ("n_eval", "n_reference")
    covered = replace(sure, coverage=0.93, coverage_se=0.02)
    assert judged(covered).status is not Status.OK
    assert judged(replace(covered, coverage_se=0.01)).status is Status.OK


def test_a_move_that_fresh_noise_does_not_confirm_is_told():
    sure = figures_of(Affine(1.5 * unit_direction(DIM)), Linear(), 1.5)
    assert judged(replace(sure, noise_share=0.01, noise_share_se=0.004)).status is Status.OK
    verdict = judged(replace(sure, noise_share=0.01, noise_share_se=0.006))
    assert verdict.status is Status.UNDERTRAINED
    assert verdict.to_raise == ("f_samples", "n_eval")
    sure = judged(replace(sure, noise_share=0.05, noise_share_se=0.006))
    assert sure.to_raise == ("f_samples",)
    assert "with fresh noise E f is" in verdict.reason


QUICK = Tuning(
    first_steps=250,
    steps=120,
    n_eval=4000,
    n_reference=4000,
    learning_rate=4e-3,
    min_acceptance_rate=1.0,
)


def run(criterion, target, settings=QUICK, seed=0):
    flow = InverseAutoregressive(DIM, depth=2, hidden=[32], seed=seed)
    return tune(MODEL, criterion, target=target, flow=flow, settings=settings, seed=seed)


def test_a_training_cut_short_is_undertrained_and_says_what_to_type():
    result = run(Linear(), Target(betas=[0.0, 2.5]), replace(QUICK, first_steps=25))
    assert result.status is Status.UNDERTRAINED
    assert result.remedy == "tuning.first_steps=50 tuning.steps=240"
    assert [point.status for point in result.points] == [Status.OK, Status.UNDERTRAINED]


def plateau(x):
    """Flat but for a cliff far out: there is a gradient, and it leads nowhere."""
    return 7 * torch.sigmoid(60 * (x[:, 0] - 2.9)) + 1e-3 * x[:, 1]


@pytest.mark.slow
def test_a_criterion_whose_gradient_leads_nowhere_is_told():
    result = run(plateau, Target(betas=[1.0]), replace(QUICK, n_reference=100_000))
    # Particles of the SMC hardly cross the cliff either, so that it may not be trusted to judge.
    assert result.status in (Status.UNDERTRAINED, Status.UNRELIABLE_REFERENCE)


@pytest.mark.parametrize("target", [Target(C_D=1.0), Target(betas=[0.0, 1.0, 2.0])])
def test_a_criterion_that_is_nan_for_some_inputs_has_no_reference(target):
    def sometimes(x):
        return torch.where(x[:, 0] > 3.0, torch.nan, x[:, 0])

    result = run(sometimes, target)
    assert result.status is Status.UNRELIABLE_REFERENCE
    assert "NaN" in result.message
    assert "check the criterion" in result.remedy
    assert len(result.points) == 1


def test_a_target_beyond_the_bound_is_infeasible():
    assert run(Quadratic(1.0), Target(C_f=0.5)).status is Status.INFEASIBLE


@pytest.mark.parametrize("criterion", [Linear(), Quadratic(1.0)])
@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 5))])
def test_a_healthy_run_is_ok(criterion, seed):
    result = run(criterion, Target(betas=[0.8]), seed=seed)
    assert result.status is Status.OK, result.message
    assert result.remedy == ""


def test_the_worst_point_of_a_path_speaks_for_it():
    verdicts = [Verdict(Status.OK), Verdict(Status.MODE_DROPPED), Verdict(Status.OK_CORRECTED)]
    assert worst(verdicts).status is Status.MODE_DROPPED
    assert set(SEVERITY) == set(Status)


@pytest.mark.parametrize(
    ("choice", "text"),
    [({"kl_gap": 0.0}, "verdict.kl_gap"), ({"coverage": 1.5}, "verdict.coverage")],
)
def test_a_threshold_out_of_range_is_named(choice, text):
    with pytest.raises(SettingError, match=text):
        Thresholds(**choice)


def test_thresholds_decide():
    exact = Affine(1.5 * unit_direction(DIM), 0.9)
    reference = ClosedForm(MODEL, Linear())
    figures = figures_of(exact, Linear(), 1.5, reference=reference)
    assert judged(figures, Thresholds()).status is Status.OK
    strict = Thresholds(kl_gap=0.001)
    assert judged(figures, strict).status is Status.OK_CORRECTED


@pytest.mark.parametrize("beta", [1.5, 4.0])
def test_log_z_lies_between_its_bounds(beta):
    """Of N(0, I) tilted by a coordinate log Z is β²/2; q̂ is a little off and too wide."""
    flow = Affine((beta - 0.2) * unit_direction(DIM), 1.1)
    figures = figures_of(flow, Linear(), beta)
    assert figures.reference.method in ("mis", "bridge")
    assert figures.log_z_lower <= beta**2 / 2 + 4 * figures.log_z_lower_se
    # From many draws the upper bound is no bound alone, but tight.
    assert abs(figures.log_z_upper - beta**2 / 2) <= 4 * figures.log_z_upper_se
    assert figures.log_z_upper_se < 0.03
    assert figures.reference.reliable


def test_one_draw_bounds_log_z_from_above():
    """Over the tilt, log p e^{βf} / q̂ is on average log Z + KL(q_β ‖ q̂)."""
    draws = torch.randn(40_000, generator=torch.Generator().manual_seed(0)) + 1.0
    log_inverse = -0.5 * draws.square() - (draws - 0.5) + 0.5 * draws.square()
    each = [log_z_bound(one[None], 1.0)[0] for one in log_inverse[:2000]]
    error = log_inverse[:2000].std().item() / math.sqrt(2000)
    divergence = -log_inverse.double().mean().item()  # q̂ = p, β f − log Z = z − 1/2
    assert abs(sum(each) / len(each) - divergence) <= 4 * error
    together, error = log_z_bound(log_inverse, len(draws))
    assert abs(together) <= 4 * error < divergence
    assert log_z_bound(torch.full((3,), -math.inf), 3.0) == (math.inf, 0.0)


def test_a_reference_above_its_own_bound_is_told():
    figures = figures_of(Affine(1.5 * unit_direction(DIM)), Linear(), 1.5)
    high = replace(figures.reference, log_z=figures.reference.log_z + 0.5)
    verdict = judged(replace(figures, reference=high, kl_gap=figures.kl_gap + 0.5))
    assert verdict.status is Status.UNRELIABLE_REFERENCE
    assert "above its bound" in verdict.reason


def test_a_reference_that_the_tuned_model_outdoes_is_told():
    """log Z is bounded from below by any model: a reference beneath that has missed mass."""
    figures = figures_of(Affine(1.5 * unit_direction(DIM)), Linear(), 1.5)
    low = replace(figures.reference, log_z=figures.reference.log_z - 1.0)
    shifted = replace(figures, reference=low, kl_gap=figures.kl_gap - 1.0)
    verdict = judged(shifted, Thresholds())
    assert verdict.status is Status.UNRELIABLE_REFERENCE
    assert "missed mass" in verdict.reason


def test_a_class_is_lost_only_beyond_the_error_of_both_shares():
    """Of 2,000 draws of the reference a share of 6 % is known to ± 0.5 % only."""
    figures = replace(
        figures_of(Affine(0 * FIRST), Fives(), 1.0),
        class_shares_ref=(0.06, 0.94),
        n_compare=2000,
    )
    near, far = (
        judged(replace(figures, class_shares=(share, 1 - share))).reason
        for share in (0.0245, 0.020)
    )
    assert "class 0" not in near
    assert "class 0 has 2.0% of the draws instead of 6.0%" in far
