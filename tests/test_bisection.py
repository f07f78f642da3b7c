"""Bisection against roots that are known."""

import math

from btgm_cli.tilt.bisection import bisect


def test_the_bracket_holds_the_turn_and_halves():
    low, high = bisect(lambda at: at**2 < 2, 0.0, 2.0, 30)
    assert low < math.sqrt(2) <= high
    assert high - low == 2.0 / 2**30


def test_a_scale_is_searched_by_geometric_means():
    low, high = bisect(lambda at: at < 1e-6, 1e-9, 1.0, 40, middle=lambda a, b: math.sqrt(a * b))
    assert low < 1e-6 <= high
    assert high / low - 1 < 1e-10


def test_an_answer_that_never_turns_ends_at_an_end():
    assert bisect(lambda _: True, 0.0, 1.0, 60) == (1.0, 1.0)
    assert bisect(lambda _: False, 0.0, 1.0, 60)[0] == 0.0
