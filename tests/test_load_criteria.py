"""Criteria of weekly load curves, with values computed by hand."""

from functools import cache

import pytest
import torch

from btgm_cli.cli.loading import load_criterion
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.criteria import (
    DAYS,
    DayExcess,
    DayMean,
    evenness,
    peak,
    ramp,
    unevenness,
)

loaded = cache(load_criterion)


def week(points: int = 336) -> torch.Tensor:
    """Two weeks, kW: one of day d at d kW (Monday 0), one flat at 3 kW."""
    staircase = torch.arange(7.0).repeat_interleave(points // 7)
    return torch.stack([staircase, torch.full((points,), 3.0)])


# The staircase has mean 3, |x - 3| of 3 2 1 0 1 2 3 with mean 12/7, and rises by 1.
BY_HAND = {
    "peak": (6.0, 3.0),
    "wednesday_excess": (2.0 - 3.0, 0.0),
    "wednesday_mean": (2.0, 3.0),
    "day_mean": (2.0, 3.0),
    "unevenness": (12 / 7, 0.0),
    "evenness": (-12 / 7, 0.0),
    "ramp": (1.0, 0.0),
}


@pytest.mark.parametrize("points", [336, 168])
@pytest.mark.parametrize("name", BY_HAND)
def test_value_by_hand(name, points):
    f = loaded(name)(week(points))
    assert f.tolist() == pytest.approx(BY_HAND[name], abs=1e-6)


@pytest.mark.parametrize("day", DAYS)
def test_each_day_has_its_number(day):
    assert DayMean(day)(week())[0].item() == DAYS.index(day)
    assert DayExcess(day)(week())[0].item() == pytest.approx(DAYS.index(day) - 3)


@pytest.mark.parametrize("name", BY_HAND)
def test_gradient_is_that_of_finite_differences(name):
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 14, generator=rng, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(loaded(name), x)


def test_a_peak_moves_only_what_it_should():
    x = torch.full((1, 336), 2.0, dtype=torch.double)
    x[0, 100] = 9.0  # Wednesday is 96 to 143
    assert peak(x).item() == 9
    assert ramp(x).item() == 7
    assert ramp(x.flip(1)).item() == 7
    excess = DayExcess()(x).item()
    assert excess == pytest.approx(7 / 48 - 7 / 336)
    assert unevenness(x).item() == -evenness(x).item()
    assert unevenness(x).item() == pytest.approx(2 * 7 / 336 * (1 - 1 / 336))


def test_unknown_day_is_refused_with_the_choices():
    with pytest.raises(SettingError, match=r"criterion\.day='mon': choose one of monday, tuesday"):
        DayMean("mon")
