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


def powers(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is compared: the time and its square, shape (n, 2)."""
    return np.hstack([times, times**2])


if __name__ == "__main__":
    truth = {"lifetime": 2.197, "background": 0.2}
    np.savetxt(
        "decays.csv", decays(truth, 2000, np.random.default_rng(0)), header="time", comments=""
    )
