"""Simulations that have been paid for, in a file: none is made twice."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from btgm_cli.core.errors import DataError
from btgm_cli.domains.simulators.emulator import Simulations
from btgm_cli.domains.simulators.simulator import Moments, Simulator
from btgm_cli.store.files import read_sealed, require_writable, write_sealed

PATIENCE = 10.0
"""Seconds of work that a kill may cost."""


class Kept:
    """Moments at places, simulated where no earlier sitting has kept them.

    A file belongs to one simulator, its code and its prior: another one has another file.

    Args:
        simulator: what is asked.
        folder: where the file is.

    Raises:
        SettingError: the folder cannot be written to.
        DataError: a damaged file.
    """

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        require_writable("criterion.folder", folder)
        self.simulator = simulator
        name = hashlib.sha256(simulator.identity.encode()).hexdigest()[:16]
        self.path = folder / f"{name}.npz"
        self.known: dict[str, Moments | None] = self._read()
        self.reused = 0

    def at(self, theta: Tensor, n: int, seeds: list[int], told: str) -> Simulations:
        """Moments of n units at each θ (k, P); places whose call failed are left out."""
        keys = [_key(one, n, seed) for one, seed in zip(theta, seeds, strict=True)]
        new = [k for k, key in enumerate(keys) if key not in self.known]
        self.reused += len(keys) - len(new)
        found = self.simulator.each(theta[new], n, [seeds[k] for k in new])
        written = time.monotonic()
        try:
            bar = tqdm(zip(new, found, strict=True), desc=told, total=len(new), disable=None)
            for k, statistics in bar:
                self.known[keys[k]] = None if statistics is None else Moments.of(statistics)
                if time.monotonic() - written > PATIENCE:
                    self.write()
                    written = time.monotonic()
        finally:
            if new:
                self.write()
        good = [k for k, key in enumerate(keys) if self.known[key] is not None]
        moments = [found for found in map(self.known.get, keys) if found is not None]
        return Simulations(
            self.simulator.prior.scaled(theta[good]),
            torch.from_numpy(np.stack([m.mean for m in moments])),
            torch.from_numpy(np.stack([m.covariance for m in moments])),
            torch.tensor([m.n for m in moments]),
        )

    def write(self) -> None:
        """Keep all, with what another process has kept meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            self.known = self._read() | self.known
            good = {key: found for key, found in self.known.items() if found}
            content = io.BytesIO()
            np.savez(
                content,
                allow_pickle=False,
                keys=np.array(list(good), dtype="U64"),
                failed=np.array([k for k, found in self.known.items() if not found], dtype="U64"),
                mean=np.array([found.mean for found in good.values()]),
                covariance=np.array([found.covariance for found in good.values()]),
                n=np.array([found.n for found in good.values()]),
            )
            write_sealed(self.path, content.getvalue())

    def _read(self) -> dict[str, Moments | None]:
        if not self.path.exists():
            return {}
        try:
            with np.load(io.BytesIO(read_sealed(self.path)), allow_pickle=False) as file:
                parts = zip(file["mean"], file["covariance"], file["n"].tolist(), strict=True)
                good = zip(file["keys"].tolist(), (Moments(*each) for each in parts), strict=True)
                return dict(good) | dict.fromkeys(file["failed"].tolist())
        except (ValueError, KeyError, OSError) as error:
            raise DataError(self.path, f"is damaged ({error}); remove it") from error


def _key(theta: Tensor, n: int, seed: int) -> str:
    """What a call is known by."""
    content = theta.double().cpu().numpy().tobytes()
    return hashlib.sha256(content + f" {n} {seed}".encode()).hexdigest()
