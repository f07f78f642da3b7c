"""A generator and a criterion of one's own: points on a noisy ring, pulled to one side."""

import torch

from btgm_cli import StandardNormal


class Ring(StandardNormal):  # z ~ N(0, I) and its density come from the base class
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z / z.norm(dim=-1, keepdim=True) + 0.1 * z


def to_the_right(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]
