"""Beside the last tilt the flow stays and the acceptance moves: no training, and no worse a q̂."""

import math
from dataclasses import replace

import pytest
import torch

from btgm_cli.core.results import Status
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tuned import regression
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import tune
from btgm_cli.tuning.fitting import N_SIFTED
from btgm_cli.tuning.settled import BESIDE, is_beside, last_trained, moved
from tests.test_surrogate import QUICK
from tests.test_tuning import MemoryJournal

DIM = 2
MODEL = Gaussian(DIM)
SHARE = 0.5 * math.erfc(1 / math.sqrt(2))
"""Of p where `step` is 1."""


def step(x):
    """A cliff, which no flow follows and an acceptance does."""
    return (x[:, 0] > 1).float()


def exact_mean(beta):
    """E f of the tilt of p by `step`."""
    return SHARE * math.exp(beta) / (1 - SHARE + SHARE * math.exp(beta))


@pytest.fixture(scope="module", autouse=True)
def smaller_batches():
    """As large as two dimensions need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "BATCH", 128)
        yield


def run(journal=None):
    """Tuned at a β, at one beside it and at one far from both."""
    flow = InverseAutoregressive(DIM, depth=2, hidden=[32])
    target = Target(betas=[2.0, 2.1, 4.0])
    return tune(MODEL, step, target=target, flow=flow, settings=QUICK, journal=journal)


@pytest.fixture(scope="module")
def path(smaller_batches):
    return run()


def test_beside_the_last_tilt_nothing_is_trained(path):
    assert [point.effort.steps for point in path.points] == [150, 0, 60]
    assert path.points[1].effort.f_evals == N_SIFTED + QUICK.n_eval
    before, beside, _ = (point.flow_state for point in path.points)
    assert all(torch.equal(before[name], beside[name]) for name in before)


def test_it_is_the_tilt_at_its_own_beta(path):
    there, beside, _ = (point.figures for point in path.points)
    moments = beside.moments
    by_its_gap = math.sqrt(max(beside.kl_gap, 0.0) / 2)  # Pinsker: f is within 0 and 1
    assert abs(moments.mean - exact_mean(2.1)) <= by_its_gap + 4 * moments.mean_se
    assert beside.kl_gap <= there.kl_gap + 4 * math.hypot(beside.kl_gap_se, there.kl_gap_se)
    assert path.points[1].verdict.status is Status.OK
    assert path.points[1].acceptance_state["beta"].item() == 2.1


def test_what_was_asked_there_is_learned_from(path):
    assert len(path.points[1].paid["f"]) == N_SIFTED + QUICK.n_eval


@pytest.mark.slow
@pytest.mark.parametrize("points", [1, 2])
def test_a_run_killed_beside_it_goes_on_to_the_same_rows(path, points):
    journal = MemoryJournal()
    journal.kept = list(path.points[:points])
    resumed = run(journal)
    for one, other in zip(path.points, resumed.points, strict=True):
        assert one.figures.moments == other.figures.moments
        assert one.effort.f_evals == other.effort.f_evals


class Exact:
    """The tilts of a Gaussian by a linear f: a shift by β."""

    def __init__(self, reliable=True):
        self.source, self.reliable = Linear().closed_form(MODEL), reliable

    def at(self, beta):
        return replace(self.source.at(beta), reliable=self.reliable)


@pytest.mark.parametrize(
    ("beta", "reliable", "weights", "beside"),
    [
        (1 + 0.99 * math.sqrt(BESIDE), True, (), True),
        (1 - 0.99 * math.sqrt(BESIDE), True, (), True),
        (1 + 1.01 * math.sqrt(BESIDE), True, (), False),
        (1.01, False, (), False),
        (1.01, True, (1.0, 2.0), False),
    ],
)
def test_beside_is_within_what_a_training_would_learn(path, beta, reliable, weights, beside):
    last = replace(path.points[0], figures=at(path.points[0].figures, 1.0))
    assert is_beside(Exact(reliable), last, beta, weights) is beside


def at(figures, beta):
    return replace(figures, moments=replace(figures.moments, beta=beta))


def test_p_is_beside_nothing(path):
    last = replace(path.points[0], figures=at(path.points[0].figures, 0.0))
    assert not is_beside(Exact(), last, 1e-3, ())


def test_how_far_is_told_from_the_last_that_was_trained(path):
    assert last_trained([]) is None
    assert last_trained(path.points[:2]) is path.points[0]
    assert moved(path.points[0], 2.5, ()) == pytest.approx(0.2)
