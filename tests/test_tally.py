"""How often draws came, and what their mean of f is worth, against sums by hand."""

import math

import numpy as np
import pytest
import torch

from btgm_cli.truth.tally import Tally


def draws(names, f):
    """z, those of their names, and f."""
    return np.array([[float(name), 1.0] for name in names]), np.array(f)


def tally(*blocks):
    made = Tally()
    for names, f in blocks:
        made.add(*draws(names, f))
    return made


def test_draws_that_differ_have_the_usual_error():
    f = torch.randn(50, generator=torch.Generator().manual_seed(0)) + 100
    made = tally((range(50), f.tolist()))
    assert made.n == made.effective == 50
    assert made.most == 1
    assert made.mean == pytest.approx(f.mean().item())
    assert made.mean_se == pytest.approx(f.std(correction=0).item() / math.sqrt(50))


def test_copies_are_one_draw_of_more_weight():
    made = tally(([1, 1, 1, 2], [4.0, 4.0, 4.0, 0.0]))
    assert made.mean == 3.0
    assert made.most == 3
    assert made.largest_share == 0.75
    assert made.effective == pytest.approx(16 / 10)
    assert made.mean_se == pytest.approx(math.sqrt(9 * 1**2 + 1 * 3**2) / 4)


def test_a_chain_that_stays_is_one_draw_and_what_comes_in_pieces_the_same():
    whole = tally(([1, 2, 3, 3], [0.0, 1.0, 5.0, 5.0]), ([1, 4, 3, 5], [0.0, 2.0, 5.0, 3.0]))
    assert whole.most == 3
    assert whole.effective == pytest.approx(64 / (4 + 1 + 9 + 1 + 1))
    by_hand = {0.0: 2, 1.0: 1, 5.0: 3, 2.0: 1, 3.0: 1}
    mean = sum(count * f for f, count in by_hand.items()) / 8
    squares = sum((count * (f - mean)) ** 2 for f, count in by_hand.items())
    assert whole.mean == pytest.approx(mean)
    assert whole.mean_se == pytest.approx(math.sqrt(squares) / 8)
    empty = Tally()
    empty.add(*draws([], []))
    assert empty.n == 0


def test_what_never_comes_again_is_let_go():
    made = Tally()
    for start in range(0, 5000, 50):
        made.add(*draws(range(start, start + 50), [0.0] * 50))
    assert made.n == made.effective == 5000
    assert len(made._last) == 50
