"""Mass that p does not cover, found by wider draws, and none made up."""

import math

import pytest
import torch

from btgm_cli import Thresholds
from btgm_cli.core.latent_criterion import LatentCriterion, settled
from btgm_cli.core.results import Effort, Moments, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.densities.energy import BoltzmannTilt, Energy
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.domains.densities.systems import double_well
from btgm_cli.truth.evaluation import examine
from btgm_cli.truth.references import Estimated
from btgm_cli.truth.verdict import judge
from btgm_cli.truth.wide import lower_bound, wide_draws
from btgm_cli.tuned.model import TunedModel
from tests.oracle import Affine


def generator(purpose="wide"):
    return derived_generator(0, purpose)


def nothing_known(beta=1.0):
    """Moments of a q̂ whose −L(β) says nothing."""
    return Moments(beta, 0.0, 0.0, 1.0, 0.0, 1e6, 0.0, 1e6, 0.0, 100)


def harmonic(x):
    return 0.5 * x.square().sum(-1)


@pytest.mark.parametrize("seed", range(5))
def test_wide_draws_find_log_z_in_the_plane(seed):
    model = Normal(2, scale=0.3)
    f = LatentCriterion(model, BoltzmannTilt(model, harmonic))
    found, error = lower_bound(f, nothing_known(), derived_generator(seed))
    assert abs(found - math.log(2 * math.pi)) < 4 * error
    assert error < 0.1


def test_wide_draws_make_no_mass_up_where_they_are_hopeless():
    model = Normal(40, scale=0.3)
    f = LatentCriterion(model, BoltzmannTilt(model, harmonic))
    found, error = lower_bound(f, nothing_known(), generator())
    assert found < 20 * math.log(2 * math.pi) + 4 * error


def test_a_bound_that_is_better_is_kept_and_others_draw_nothing():
    model = Normal(2, scale=0.3)
    f = LatentCriterion(model, BoltzmannTilt(model, harmonic))
    better = Moments(1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.9, 0.001, 100)
    assert lower_bound(f, better, generator()) == (1.9, 0.001)
    plain = LatentCriterion(Gaussian(2), Linear())
    assert wide_draws(plain) == 0
    assert lower_bound(plain, nothing_known(), generator()) == (-1e6, 0.0)


def judged(mean):
    """The verdict on p itself as the tuned model of the double well, p in one of the wells."""
    model = Normal(2, [mean, 0.0], [0.2, 1.0])
    f = LatentCriterion(model, settled(Energy(double_well), model, generator()))
    reference = Estimated(f, 10_000, 400, 0)
    tuned = TunedModel(model, Affine(torch.zeros(2)))
    figures = examine(tuned, f, 1.0, reference, 2000, generator)
    return figures, judge(figures, Effort(1, 1, 0, 0.0, True), Thresholds())


def test_a_base_in_the_higher_well_alone_is_not_believed(brief_lessons):
    """All draws and all moves stay there: log Z seems to be that of one well, 3.4 nats too low."""
    figures, verdict = judged(1.69)
    assert figures.reference.log_z == pytest.approx(11.0205 - 3.41, abs=0.1)
    assert not figures.reference.reliable
    assert verdict.status is Status.UNRELIABLE_REFERENCE
    assert "it has missed mass" in verdict.reason
    assert abs(figures.log_z_lower - 11.0205) < 4 * figures.log_z_lower_se


def test_a_base_in_the_lower_well_misses_its_three_percent(brief_lessons):
    """What is missed is within what ok allows, and nothing is said to be missing."""
    figures, verdict = judged(-1.77)
    assert figures.reference.log_z == pytest.approx(11.0205 - 0.033, abs=0.05)
    assert verdict.status in (Status.OK, Status.OK_CORRECTED)
