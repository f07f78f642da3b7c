"""The tilt of real aggregates, against all of them where they can be counted."""

import itertools
import math

import pytest
import torch

from btgm_cli.core.results import Particles
from btgm_cli.domains.load.criteria import DayMean, peak
from btgm_cli.domains.load.real_tilt import Exchanges, real_tilt
from btgm_cli.domains.load.weekly import Aggregates, WeeklyLoad
from btgm_cli.truth.references import tilts_at
from tests.marks import slow

HOUSEHOLDS, WEEKS, SUMMED = 8, 4, 3


def few() -> WeeklyLoad:
    """Eight households in four weeks; two are away in the second, five in the last."""
    load = torch.rand(WEEKS * HOUSEHOLDS, 14, generator=torch.Generator().manual_seed(3))
    week = torch.arange(WEEKS).repeat_interleave(HOUSEHOLDS)
    household = torch.arange(HOUSEHOLDS).repeat(WEEKS)
    away = ((week == 1) & (household < 2)) | ((week == 3) & (household > 2))
    return WeeklyLoad(5 * load.square(), household, week).where(~away)


def all_of_them(aggregates):
    """Every choice there is, and its log probability under p."""
    chosen, log_p = [], []
    for week, row in enumerate(aggregates.rows):
        present = torch.nonzero(row >= 0).squeeze(1).tolist()
        sets = list(itertools.combinations(present, SUMMED))
        chosen += [[week, *households] for households in sets]
        log_p += [-math.log(len(aggregates.rows) * len(sets))] * len(sets)
    return torch.tensor(chosen), torch.tensor(log_p).double()


@pytest.mark.parametrize("criterion", [peak, slow(DayMean("wednesday"))])
@pytest.mark.parametrize("strength", [2.0])
def test_it_is_the_tilt_of_all_aggregates(criterion, strength):
    aggregates = Aggregates(few(), SUMMED)
    chosen, log_p = all_of_them(aggregates)
    f = criterion(aggregates.curves(chosen)).double()
    beta = strength / f.std().item()
    log_z = torch.logsumexp(log_p + beta * f, 0).item()
    mean = (torch.exp(log_p + beta * f - log_z) * f).sum().item()
    found = [
        real_tilt(aggregates, criterion, torch.Generator().manual_seed(seed), 100).at(beta)
        for seed in range(4)
    ]
    assert all(tilt.reliable for tilt in found)
    # Eight populations know their own spread badly; four times eight do better.
    for exact, which in ((log_z, "log_z"), (mean, "mean"), (beta * mean - log_z, "kl")):
        errors = torch.tensor([getattr(tilt, which) - exact for tilt in found])
        spread = torch.tensor([getattr(tilt, f"{which}_se") for tilt in found])
        assert errors.mean().abs() <= 4 * spread.square().sum().sqrt() / len(found)


def test_the_moves_alone_leave_p_as_it_is():
    # Weeks of fewer households have fewer aggregates, each more likely: a wrong prior shows here.
    aggregates = Aggregates(few(), SUMMED)
    generator, n = torch.Generator().manual_seed(1), 20_000
    z = aggregates.sample_prior(n, generator)
    moved, _ = Exchanges(aggregates)(
        0.0, z, torch.zeros(n), lambda z: z.new_zeros(len(z)).float(), generator
    )
    assert (moved != z).double().mean() > 0.5
    share = torch.bincount(moved[:, 0], minlength=WEEKS).double() / n
    assert (share - 1 / WEEKS).abs().max() < 4 * math.sqrt(3 / 16 / n)
    assert (aggregates.rows[moved[:, :1], moved[:, 1:]] >= 0).all()
    assert all(len(set(households)) == SUMMED for households in moved[:, 1:].tolist())


def test_a_kl_that_only_the_data_can_tell():
    tilt = real_tilt(Aggregates(few(), SUMMED), peak, torch.Generator().manual_seed(0))
    (found,) = tilts_at(tilt, [1.5])
    assert found.kl == pytest.approx(1.5, abs=1e-6)
    chosen = tilt.particles(found.beta, 500, torch.Generator().manual_seed(1))
    assert isinstance(chosen, Particles)
    assert chosen.z.dtype == torch.long
    x = Aggregates(few(), SUMMED).curves(chosen.z)
    assert torch.allclose(peak(x).double(), chosen.f)


def test_no_aggregate_has_more_than_the_largest():
    aggregates = Aggregates(few(), SUMMED)
    chosen, _ = all_of_them(aggregates)
    assert aggregates.curves(chosen).max().item() == pytest.approx(aggregates.largest_kw())
