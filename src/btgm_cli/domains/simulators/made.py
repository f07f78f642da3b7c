"""A fitted emulator in a file, so that a run that is loaded fits none."""

from __future__ import annotations

import hashlib
import io
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from btgm_cli.core.errors import DataError
from btgm_cli.domains.simulators.emulator import Emulator
from btgm_cli.domains.simulators.gaussian_process import Processes
from btgm_cli.domains.simulators.kept import Kept
from btgm_cli.domains.simulators.rounds import Agreement, Fitted, Rounds
from btgm_cli.store.files import read_sealed, write_sealed

VERSION = 1
"""Of how an emulator is fitted: a file of another is not read."""

NUMBERS = ("best", "misfit", "rounds", "units")


def recalled(kept: Kept, rounds: Rounds) -> Fitted:
    """What the rounds leave: from the file of an earlier call, else by simulations.

    Raises:
        DataError: a damaged file.
    """
    observed = rounds.observed
    about = (VERSION, observed.statistics.tolist(), observed.size, rounds.most, rounds.seed)
    key = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    path = kept.path.with_name(f"{kept.path.stem}_{key}.npz")
    if path.exists():
        return _read(path)
    fitted = rounds.run()
    write_sealed(path, _content(fitted))
    return fitted


def _content(fitted: Fitted) -> bytes:
    """All arrays, by name."""
    emulator, content = fitted.emulator, io.BytesIO()
    arrays = {"turn": emulator.turn.numpy()}
    for name, processes in (("means", emulator.means), ("logs", emulator.logs)):
        arrays |= {f"{name}.{key}": value.numpy() for key, value in vars(processes).items()}
    arrays["theta"] = fitted.theta.numpy()
    arrays["agreement"] = np.array(astuple(fitted.agreement))
    arrays |= {name: np.array(float(getattr(fitted, name))) for name in NUMBERS}
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _read(path: Path) -> Fitted:
    try:
        with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as file:
            found = {key: torch.from_numpy(file[key]) for key in file.files}
        kinds = [
            Processes(**{key: found[f"{name}.{key}"] for key in Processes.__annotations__})
            for name in ("means", "logs")
        ]
        best, misfit, rounds, units = (found[name].item() for name in NUMBERS)
        agreement = Agreement(*found["agreement"].tolist())
        emulator = Emulator(found["turn"], *kinds)
        return Fitted(emulator, agreement, best, misfit, int(rounds), int(units), found["theta"])
    except (ValueError, KeyError, OSError) as error:
        raise DataError(path, f"is damaged ({error}); remove it") from error
