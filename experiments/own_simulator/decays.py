"""A simulator of one's own: times of decay under a flat background, seen for 10 µs."""

import numpy as np
from numpy.typing import NDArray

WINDOW = 10.0
"""µs."""


def decays(theta: dict[str, float], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """n times, shape (n, 1), in µs; later ones pile up in the last bin."""
    signal = rng.exponential(theta["lifetime"], n)
    flat = rng.uniform(0, WINDOW, n)
    times = np.where(rng.random(n) < theta["background"], flat, signal)
    return np.minimum(times, WINDOW)[:, None]


def shapes(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is compared, shape (n, 3): the time, how early it is, and whether it is too late."""
    return np.hstack([times, np.exp(-times), times >= WINDOW])


def powers(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """A poorer choice, shape (n, 2): the time and its square."""
    return np.hstack([times, times**2])


if __name__ == "__main__":
    truth = {"lifetime": 2.197, "background": 0.2}
    np.savetxt(
        "decays.csv", decays(truth, 2000, np.random.default_rng(0)), header="time", comments=""
    )
