"""Tests with known nulls, and planted faults as large as they say: what audits stand on."""

import math

import numpy as np
import pytest
import torch
from experiments.bench.faults import (
    LOG_P,
    STEP,
    Line,
    T,
    best_of,
    drawn,
    linear,
    total_variation,
    two_modes,
    without,
    wrong_beta,
    wrong_scale,
)
from scipy.stats import norm

from btgm_cli.core.seeds import derived_generator
from btgm_cli.truth.two_sample import (
    Comparison,
    HeldOut,
    Rows,
    classifier_test,
    distribution_test,
    mean_test,
    missed,
    neighbours,
    quadratic,
    shares_test,
)
from tests.marks import slow

DIM = 4


def noise(n, dim, seed):
    return torch.randn(n, dim, generator=derived_generator(seed, "test audit"))


def test_a_row_that_repeats_carries_what_kish_says():
    z = noise(4, 3, 0)
    rows = Rows.of(torch.cat([z, z[:1], z[:1]]))  # counts 3, 1, 1, 1
    assert rows.distinct == 4
    assert rows.largest_share == 0.5
    assert rows.effective == pytest.approx(36 / 12)
    assert Rows.of(z, most=2.5).effective == 2.5


def test_the_mean_is_tested_by_its_normal_distribution():
    values = np.tile([-1.0, 3.0], 50)  # mean 1, deviation 2
    found = mean_test(values, 0.6, 0.0, 2.0, 100)
    assert found.error == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * norm.sf(2.0))
    # Of N(0, 2²) and N(0.4, 2²): 2 Φ(0.1) − 1.
    assert found.size == pytest.approx(2 * norm.cdf(0.1) - 1)
    assert mean_test(np.ones(9), 1.0, 0.0, 0.0, 9).p == 1
    assert mean_test(np.ones(9), 2.0, 0.0, 0.0, 9).p == 0


def test_the_largest_distance_of_distribution_functions_is_found():
    found = distribution_test("f", np.arange(10.0), np.arange(10.0) + 3, 10, 10)
    assert found.size == pytest.approx(0.3)
    assert found.draws - found.reference == pytest.approx(0.3)
    # Kolmogorov's series at 0.3 √5, summed by hand.
    at = 0.3 * math.sqrt(5)
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * at) ** 2) for k in range(1, 50))
    assert found.p == pytest.approx(series)


def test_shares_of_classes_are_tested_with_the_rare_ones_together():
    same = shares_test((0.5, 0.499, 0.001), (0.5, 0.499, 0.001), 1000, 1000)
    assert same.p == pytest.approx(1.0)
    # Pearson's statistic of a 2 × 2 table by hand: n (a − b)² / (2 p (1 − p)), p pooled.
    off = shares_test((0.5, 0.5), (0.55, 0.45), 1000, 1000)
    statistic = 1000 * 0.05**2 / (2 * 0.525 * 0.475)
    assert off.p == pytest.approx(2 * norm.sf(math.sqrt(statistic)), rel=1e-6)
    assert off.size == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("classifier", "repeats"), [(quadratic, 100), (neighbours, 40), slow(neighbours, 100)]
)
def test_under_the_null_a_classifiers_p_is_small_as_seldom_as_it_says(classifier, repeats):
    p = []
    for seed in range(repeats):
        a, b = noise(300, 5, 2 * seed).double(), noise(600, 5, 2 * seed + 1).double()
        sides = (a, Rows.of(a)), (b, Rows.of(b))
        p.append(classifier_test("c", classifier, *sides, derived_generator(seed)).test.p)
    below = np.mean(np.array(p) < 0.1)
    assert below <= 0.1 + 4 * math.sqrt(0.1 * 0.9 / repeats)


def test_the_area_is_that_of_two_shifted_normals():
    """Two normal distributions with means 1 apart: Φ(1/√2)."""
    a, b = noise(4000, 2, 0).double(), noise(4000, 2, 1).double()
    b[:, 0] += 1
    found = classifier_test("c", quadratic, (a, Rows.of(a)), (b, Rows.of(b)), derived_generator(0))
    assert abs(found.test.draws - norm.cdf(math.sqrt(0.5))) < 4 * found.test.error
    assert found.test.p < 1e-30


def test_repeats_never_teach_a_classifier_what_it_is_asked():
    """All of them lie in one fold, so that ten copies of noise look like noise."""
    a = noise(100, 3, 0).double().repeat(10, 1)
    b = noise(1000, 3, 1).double()
    sides = (a, Rows.of(a)), (b, Rows.of(b))
    assert classifier_test("c", neighbours, *sides, derived_generator(0)).test.p > 1e-3


def test_what_is_missed_is_the_share_that_the_other_side_lacks():
    """A tenth of the tilt lies where no draw is, and the other way round nothing."""
    none = Comparison("c", 0.5, 0.5, 0.0, 1.0, 0.0)
    even = np.linspace(0, 1, 5000)
    lost, stray = missed(HeldOut(none, even, np.concatenate([even, np.full(555, 2.0)])))
    assert lost == pytest.approx(555 / 5555, abs=2e-3)
    assert stray == 0


# Planted faults are as large as they say.


def test_a_line_has_the_tilts_of_its_closed_form():
    line = Line(linear, DIM, seed=0)
    right = norm.pdf(T, 0.7)
    assert np.abs(line.tilt(0.7) - right).max() < 1e-6
    assert line.mean(line.tilt(0.7)) == pytest.approx(0.7, abs=1e-6)
    x = line.place(drawn(line.tilt(0.7), 20_000, derived_generator(0)), 1.0, derived_generator(1))
    assert abs((x @ line.direction).mean().item() - 0.7) < 4 / math.sqrt(20_000)
    across = x - (x @ line.direction)[:, None] * line.direction
    assert abs(across.square().sum(1).mean().item() - (DIM - 1)) < 4 * math.sqrt(
        2 * (DIM - 1) / 20_000
    )
    exact = norm.logpdf((x - 0.7 * line.direction).numpy()).sum(1)
    assert np.allclose(line.log_density(x, 0.7).numpy(), exact, atol=1e-3)


def test_faults_have_the_size_asked_for():
    line = Line(linear, DIM, seed=0)
    right = line.tilt(1.0)
    assert total_variation(without(right, 0.2), right) == pytest.approx(0.2, abs=1e-3)
    up = wrong_beta(line, 1.0, 0.1, up=True)
    # N(1, 1) and N(b, 1) are 2 Φ((b − 1) / 2) − 1 apart.
    assert line.mean(up) == pytest.approx(1 + 2 * norm.ppf(0.55), abs=1e-3)
    scale = wrong_scale(1, 0.1, up=True)
    other = np.exp(LOG_P * 0 - 0.5 * (T / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    assert total_variation(other, np.exp(LOG_P)) == pytest.approx(0.1, abs=1e-3)


def test_the_best_of_two_has_the_known_mean():
    assert (best_of(2) * T).sum() * STEP == pytest.approx(1 / math.sqrt(math.pi), abs=1e-5)


def test_the_tilt_of_two_modes_has_their_shares():
    density = Line(two_modes(0.3), 2, 0).tilt(1.0)
    assert density[T < 0].sum() * STEP == pytest.approx(0.3, abs=1e-3)
