"""x of the reference's draws of p, for all criteria of one model in a sweep to look at.

Two jobs with the same model and seed look at the same draws of p, and decoding them costs more
than most criteria. So x lies in a folder of the sweep, in files that are named by the hash of all
that they depend on: model and checkpoint, z, and what may change a bit of x on the way. Files
appear whole, so that a kill, or another process that writes the same, does no harm. The folder
serves one sweep alone and goes with it: what has no hash, such as a module of one's own, stays as
it was for as long.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from btgm_cli.core.errors import DataError, WriteError
from btgm_cli.store.files import read_sealed, write_sealed
from btgm_cli.store.manifest import Manifest

DECODED, SUFFIX, X = ".decoded", ".x", "x"

MOST = 1_000_000_000
"""Bytes of all files; what is beyond is decoded again. 50,000 images of MNIST take 157 MB."""


class DecodedDraws:
    """A `core.results.Paid` of x in the folder of a sweep.

    Args:
        folder: where the files are.
        model: what `model_hash` says of the job.
        most: bytes of all files.

    Attributes:
        saved: how many x were found.
    """

    def __init__(self, folder: Path, model: str, most: int = MOST) -> None:
        self._folder, self._model, self._most = folder, model, most
        self.saved = 0

    def recall(self, key: str) -> Tensor | None:
        """What another job decoded; None where it has to be decoded."""
        try:
            content = read_sealed(self._file(key))
        except DataError:  # none, or half of one
            return None
        found = load(content)[X]
        self.saved += len(found)
        return found

    def keep(self, key: str, values: Tensor) -> None:
        """Keep x that has just been decoded, if there is room; losing it costs time alone."""
        content = save({X: values.detach().cpu().contiguous()})
        with suppress(WriteError, OSError):
            if self._held + len(content) <= self._most:
                write_sealed(self._file(key), content)

    @property
    def _held(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self._folder.glob(f"*{SUFFIX}"))

    def _file(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._model} {key}".encode()).hexdigest()
        return self._folder / f"{name}{SUFFIX}"


def model_hash(manifest: Manifest) -> str:
    """Hash of all that x of the reference's draws of p depends on."""
    settings = manifest.settings
    checkpoints = {
        name: content
        for name, content in manifest.checkpoints.items()
        if name.startswith("model.")
    }
    content = {
        "versions": [manifest.version, torch.__version__],
        "model": settings["model"],
        "checkpoints": checkpoints,
        "folder": manifest.folder,
        **{name: settings[name] for name in ("seed", "device", "threads")},
        **{name: settings["tuning"][name] for name in ("f_samples", "n_reference")},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
