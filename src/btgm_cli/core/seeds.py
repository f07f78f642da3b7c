"""Independent random generators from one seed: one for each purpose and pass of a run."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed that depends on `seed` and all of `purpose`, the same on any machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derived_generator(
    seed: int, *purpose: object, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator for one purpose, so that drawing more in one place changes nothing elsewhere."""
    return torch.Generator(device).manual_seed(derived_seed(seed, *purpose))
