"""Which draws may stand for the exact tilt: by verdict, way of correction and weights."""

import math

import numpy as np
import pytest
import torch

from btgm_cli.core.results import Status
from btgm_cli.truth.tally import Tally
from btgm_cli.truth.trust import MOST_DRAWS, amiss, doubt
from btgm_cli.tuned.correction import Correct, Pilot

CORRECTED = [Correct.RESAMPLE, Correct.REJECTION, Correct.MCMC]


def pilot(reliable=True, largest=1.0):
    log_weights = torch.zeros(1000)
    log_weights[0] = largest
    return Pilot(0.0, 0.5, 0.2, log_weights, reliable)


def told(row, correct, run=None, **weights):
    return doubt(run or row, row, correct, pilot(**weights))


def test_draws_as_they_are_may_where_the_verdict_is_ok_alone():
    assert not told(Status.OK, Correct.NONE, reliable=False, largest=99.0)
    for status in set(Status) - {Status.OK}:
        assert str(status) in told(status, Correct.NONE)
    assert "correct=resample" in told(Status.OK_CORRECTED, Correct.NONE)


@pytest.mark.parametrize("correct", CORRECTED)
def test_a_correction_mends_what_is_off_but_not_what_is_lost(correct):
    for status in (Status.OK, Status.OK_CORRECTED, Status.UNDERTRAINED):
        assert not told(status, correct)
        assert "Pareto k" in told(status, correct, reliable=False)
    for status in (Status.MODE_DROPPED, Status.UNRELIABLE_REFERENCE):
        assert "what is lost cannot be corrected" in told(status, correct)


@pytest.mark.parametrize("correct", list(Correct))
def test_where_no_tilt_meets_the_target_there_is_nothing_to_draw_from(correct):
    assert "infeasible_target" in told(Status.OK, correct, run=Status.INFEASIBLE)


def test_a_run_that_is_bad_elsewhere_says_nothing_against_this_beta():
    assert not told(Status.OK, Correct.NONE, run=Status.MODE_DROPPED)


def test_rejection_alone_asks_for_no_weight_above_its_bound():
    largest = math.log(MOST_DRAWS) + 0.01
    assert not told(Status.OK, Correct.REJECTION, largest=largest - 0.02)
    assert "more than 100 draws" in told(Status.OK, Correct.REJECTION, largest=largest)
    assert not told(Status.OK, Correct.RESAMPLE, largest=largest)


def test_chains_that_stay_where_they_are_are_told():
    assert not told(Status.OK_CORRECTED, Correct.MCMC, largest=2.0)
    stuck = told(Status.OK_CORRECTED, Correct.MCMC, largest=12.0)
    assert "of the chains have not moved in 500 steps" in stuck
    assert not told(Status.OK_CORRECTED, Correct.RESAMPLE, largest=12.0)


def handed_out(copies, f, seed=0):
    """The first draw comes so many times among 1,000, with this f; the others are of N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1000, generator=generator)
    values -= values[copies:].mean()
    values[:copies] = f
    z = torch.arange(1000.0)[:, None].repeat(1, 2)
    z[:copies] = 0
    tally = Tally()
    tally.add(z.numpy(), values.numpy())
    return tally


def test_a_draw_that_is_more_than_a_hundredth_of_all_is_told():
    assert not amiss(handed_out(10, 0.0), 0.0, 0.0)
    assert amiss(handed_out(11, 0.0), 0.0, 0.0) == "one draw came 11 times, 1.1% of all"


def test_a_draw_that_came_once_is_no_repeat_however_few_there_are():
    z = torch.arange(10.0).reshape(5, 2)
    tally = Tally()
    tally.add(z.numpy(), np.arange(5.0))
    assert not amiss(tally, 2.0, 0.0)


def test_a_mean_of_f_four_errors_off_is_told_unless_the_reference_errs_as_much():
    tally = handed_out(1, 0.0)
    error = 1 / math.sqrt(1000)
    assert not amiss(tally, 3.5 * error, 0.0)
    assert "E f of these draws is" in amiss(tally, 4.5 * error, 0.0)
    assert not amiss(tally, 4.5 * error, error)
