"""What rounds have left, in a file, so that a run that is loaded simulates and fits nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.errors import DataError
from btgm_cli.store.files import read_sealed, write_sealed


class Stored(Protocol):
    """What a file can hold."""

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """All of it by name."""
        ...

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> Self:
        """From the arrays of a file."""
        ...


StoredT = TypeVar("StoredT", bound=Stored)


def place_of(path: Path, about: tuple[object, ...]) -> Path:
    """The file, beside a simulator's own, of what depends on the simulator and on `about`."""
    key = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    return path.with_name(f"{path.stem}_{key}.npz")


def recalled(path: Path, kind: type[StoredT]) -> StoredT | None:
    """What an earlier call has left; None where there was none.

    Raises:
        DataError: a damaged file.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as file:
            return kind.of({key: torch.from_numpy(file[key]) for key in file.files})
    except (ValueError, KeyError, OSError) as error:
        raise DataError(path, f"is damaged ({error}); remove it") from error


def keep(path: Path, made: Stored) -> None:
    """Write it for later calls."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **made.arrays())
    write_sealed(path, content.getvalue())
