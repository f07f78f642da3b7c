"""An energy of one's own: a ring of radius 2, lower on its right."""

import torch


def ring(x: torch.Tensor, stiffness: float = 8.0) -> torch.Tensor:  # x (n, 2), kT (n,)
    return stiffness * (x.norm(dim=-1) - 2).square() - x[:, 0]
