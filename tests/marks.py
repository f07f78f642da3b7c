"""Which cases of a table `make test` leaves to `make test-all`."""

import pytest


def slow(*values):
    """A case that repeats a fault of a kind that another case has."""
    return pytest.param(*values, marks=pytest.mark.slow)
