"""Simulations that have been paid for, in a file: none is made twice."""

from __future__ import annotations

import hashlib
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from btgm_cli.core.errors import DataError
from btgm_cli.domains.simulators.simulator import Moments, Simulator
from btgm_cli.store.files import read_sealed, write_sealed

PATIENCE = 10.0
"""Seconds of work that a kill may cost."""

CallT = TypeVar("CallT")


def place_of_simulator(simulator: Simulator, folder: Path) -> Path:
    """The file of a simulator, its code and its prior: another one has another file."""
    return folder / f"{hashlib.sha256(simulator.identity.encode()).hexdigest()[:16]}.npz"


class Kept(ABC, Generic[CallT]):
    """What calls have left, simulated where no earlier sitting has kept it.

    Args:
        simulator: what is asked.
        path: of the file.

    Raises:
        DataError: a damaged file.
    """

    def __init__(self, simulator: Simulator, path: Path) -> None:
        self.simulator, self.path = simulator, path
        self.known: dict[str, CallT | None] = self._read()

    @abstractmethod
    def of(self, statistics: NDArray[np.float64]) -> CallT:
        """What is kept of a call's statistics (n, S)."""

    @abstractmethod
    def arrays(self, good: Sequence[CallT]) -> dict[str, NDArray[Any]]:
        """Arrays of all calls that did not fail, at least one, by name."""

    @abstractmethod
    def calls(self, arrays: Mapping[str, NDArray[Any]]) -> Iterable[CallT]:
        """The calls of such arrays, in order."""

    def at(self, theta: Tensor, n: int, seeds: list[int], told: str) -> list[CallT | None]:
        """n units at each θ (k, P), in order; None where the call failed."""
        keys = [_key(one, n, seed) for one, seed in zip(theta, seeds, strict=True)]
        new = [k for k, key in enumerate(keys) if key not in self.known]
        found = self.simulator.each(theta[new], n, [seeds[k] for k in new])
        written = time.monotonic()
        try:
            bar = tqdm(zip(new, found, strict=True), desc=told, total=len(new), disable=None)
            for k, statistics in bar:
                self.known[keys[k]] = None if statistics is None else self.of(statistics)
                if time.monotonic() - written > PATIENCE:
                    self.write()
                    written = time.monotonic()
        finally:
            if new:
                self.write()
        return [self.known[key] for key in keys]

    def write(self) -> None:
        """Keep all, with what another process has kept meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            self.known = self._read() | self.known
            good = {key: found for key, found in self.known.items() if found is not None}
            failed = [key for key, found in self.known.items() if found is None]
            content = io.BytesIO()
            np.savez(
                content,
                allow_pickle=False,
                keys=np.array(list(good), dtype="U64"),
                failed=np.array(failed, dtype="U64"),
                **(self.arrays(list(good.values())) if good else {}),
            )
            write_sealed(self.path, content.getvalue())

    def _read(self) -> dict[str, CallT | None]:
        if not self.path.exists():
            return {}
        try:
            with np.load(io.BytesIO(read_sealed(self.path)), allow_pickle=False) as file:
                keys, failed = file["keys"].tolist(), file["failed"].tolist()
                good = zip(keys, self.calls(file) if keys else (), strict=True)
                return dict(good) | dict.fromkeys(failed)
        except (ValueError, KeyError, OSError) as error:
            raise DataError(self.path, f"is damaged ({error}); remove it") from error


class KeptMoments(Kept[Moments]):
    """Moments, for any run of the simulator."""

    def of(self, statistics: NDArray[np.float64]) -> Moments:
        """Mean and covariance."""
        return Moments.of(statistics)

    def arrays(self, good: Sequence[Moments]) -> dict[str, NDArray[Any]]:
        """Means, covariances and numbers of units."""
        return {
            "mean": np.array([found.mean for found in good]),
            "covariance": np.array([found.covariance for found in good]),
            "n": np.array([found.n for found in good]),
        }

    def calls(self, arrays: Mapping[str, NDArray[Any]]) -> Iterable[Moments]:
        """The moments again."""
        parts = zip(arrays["mean"], arrays["covariance"], arrays["n"].tolist(), strict=True)
        return (Moments(*each) for each in parts)


class KeptUnits(Kept[NDArray[np.float32]]):
    """The units themselves, while one fit needs them: each critic sees all of them."""

    def remove(self) -> None:
        """Remove the file: the fit is made."""
        for path in (self.path, Path(f"{self.path}.lock")):
            path.unlink(missing_ok=True)

    def of(self, statistics: NDArray[np.float64]) -> NDArray[np.float32]:
        """The statistics of each unit, in single precision."""
        return statistics.astype(np.float32)

    def arrays(self, good: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """All units after each other, and where a call's begin."""
        starts = np.cumsum([len(units) for units in good])[:-1]
        return {"units": np.concatenate(good), "starts": starts}

    def calls(self, arrays: Mapping[str, NDArray[Any]]) -> Iterable[NDArray[np.float32]]:
        """The units of each call again."""
        return np.split(arrays["units"], arrays["starts"])


def _key(theta: Tensor, n: int, seed: int) -> str:
    """What a call is known by."""
    content = theta.double().cpu().numpy().tobytes()
    return hashlib.sha256(content + f" {n} {seed}".encode()).hexdigest()
