"""The device that a setting names."""

from __future__ import annotations

import torch

from btgm_cli.core.errors import SettingError

DEVICES = ("auto", "cpu", "cuda")


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device; `auto` takes a GPU where there is one.

    Raises:
        SettingError: another name, or cuda where there is none.
    """
    available = torch.cuda.is_available()
    if name not in DEVICES:
        raise SettingError("device", name, f"choose one of {', '.join(DEVICES)}")
    if name == "cuda" and not available:
        raise SettingError("device", name, "this machine has no CUDA device; choose auto or cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
