"""`along=`: a coordinate of x by its number, or a function of a user's own."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btgm_cli.cli.own import importable
from btgm_cli.core.blame import blaming, told
from btgm_cli.core.errors import SettingError
from btgm_cli.truth.free_energy import Coordinate

EXPECTED = "must be a coordinate of x, such as x0, or a function of x, module:function"


def coordinate_of(along: str, shape: tuple[int, ...]) -> Coordinate:
    """The coordinate that a text names.

    Args:
        along: `x0`, `x1`, … of x laid out in a row, or `module:function` in the working
            directory or installed.
        shape: of one x.

    Raises:
        SettingError: there is none.
    """
    number = re.fullmatch(r"x(\d+)", along)
    if number:
        return _numbered(along, int(number[1]), shape)
    module, colon, name = along.partition(":")
    if not (module and colon and name):
        raise SettingError("along", along, EXPECTED)
    return _own(along, module, name)


def _numbered(along: str, number: int, shape: tuple[int, ...]) -> Coordinate:
    size = torch.Size(shape).numel()
    if number >= size:
        raise SettingError("along", along, f"x has the coordinates x0 … x{size - 1}")

    def values(x: Tensor) -> Tensor:
        return _checked(along, x.flatten(1)[:, number], len(x))

    return values


def _own(along: str, module: str, name: str) -> Coordinate:
    importable(str(Path.cwd()))
    try:
        function: Any = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise SettingError("along", along, f"cannot be found ({told(error)})") from error
    if not callable(function):
        raise SettingError("along", along, "must be a function of x")

    def values(x: Tensor) -> Tensor:
        with blaming("along", along, "fails"), torch.no_grad():
            found = function(x)
        return _checked(along, found, len(x))

    return values


def _checked(along: str, values: Any, n: int) -> Tensor:
    """The values, if they are n numbers.

    Raises:
        SettingError: they are none.
    """
    if not isinstance(values, Tensor) or values.shape != (n,):
        shape = f"{tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise SettingError("along", along, f"must give a tensor of shape ({n},), not {shape}")
    unusable = int((~torch.isfinite(values)).sum())
    if unusable:
        raise SettingError("along", along, f"is NaN or infinite for {unusable} of {n} draws")
    return values
