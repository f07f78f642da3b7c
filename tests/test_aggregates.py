"""Sums of several households, drawn within one week."""

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.weekly import Aggregates, WeeklyLoad


def few(weeks: int = 10, households: int = 6) -> WeeklyLoad:
    """Household h in week w has 2^h kW in its first half-hour, and 100 w in its second."""
    week, household = torch.meshgrid(torch.arange(weeks), torch.arange(households), indexing="ij")
    load_kw = torch.zeros(weeks * households, 336)
    load_kw[:, 0], load_kw[:, 1] = 2.0 ** household.flatten(), 100.0 * week.flatten()
    return WeeklyLoad(load_kw, household.flatten(), week.flatten())


def test_aggregates_are_of_one_week_without_replacement():
    x = Aggregates(few(), 3).draw(500, torch.Generator().manual_seed(0))
    members = x[:, 0].long()[:, None] >> torch.arange(6) & 1
    assert (members.sum(1) == 3).all()  # three distinct powers of two
    assert (x[:, 1] % 300 == 0).all()  # all of one week
    assert x[:, 1].unique().numel() == 10
    assert (members.double().mean(0) - 0.5).abs().max() < 4 * (0.25 / 500) ** 0.5


def test_every_fifth_week_is_held_out():
    assert few().held_out().week.unique().tolist() == [0, 5]
    assert few().training().week.unique().tolist() == [1, 2, 3, 4, 6, 7, 8, 9]


def test_weeks_of_too_few_households_are_left_out():
    load = few()
    load = load.where((load.week > 3) | (load.household < 2))
    x = Aggregates(load, 3).draw(100, torch.Generator().manual_seed(0))
    assert x[:, 1].min() == 1200
    with pytest.raises(SettingError, match=r"model\.households=7: must be from 1 to 6"):
        Aggregates(load, 7)
