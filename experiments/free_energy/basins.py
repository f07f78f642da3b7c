"""The coordinate that parts Müller and Brown's lower basins from the upper one."""

from torch import Tensor


def lower(x: Tensor) -> Tensor:
    """0.8 x + 0.75 − y, shape (n,), for x of shape (n, 2): positive in the lower basins."""
    return 0.8 * x[:, 0] + 0.75 - x[:, 1]
