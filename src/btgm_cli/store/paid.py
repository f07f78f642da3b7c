"""Values of f that a run has paid for, so that no later sitting pays for them again.

What a run draws can be drawn again from its seed at no cost; what costs is f. So values of f are
kept by the draws that they are of, and a sitting that goes on walks the same way and finds them.
Four bytes a value: 0.5 MB for the draws of p of a default run, and 32 kB for each move of an SMC.
"""

from __future__ import annotations

import hashlib
import json
import time
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from btgm_cli.core.errors import DataError
from btgm_cli.store.files import file_hash, replacing
from btgm_cli.store.manifest import Manifest

PAID = "paid"

EVERY = 5.0
"""Seconds between two files: what a kill may cost."""

OF = "of"
"""What a file calls the configuration that its values belong to."""


class PaidValues:
    """A `core.results.Paid` in a run directory: files that are named by the hash of their content.

    Args:
        path: the run directory.
        manifest: whose configuration the values belong to.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.folder = path / PAID
        self._of = _fingerprint(manifest)
        self._new: dict[str, Tensor] = {}
        self._flushed = time.monotonic()

    def recall(self, key: str) -> Tensor | None:
        """What an earlier sitting kept; None where it has to be evaluated."""
        return self._found[0].get(key)

    def keep(self, key: str, values: Tensor) -> None:
        """Keep what has just been evaluated; it is on disk within `EVERY` seconds of work."""
        self._new[key] = values.detach().cpu().clone(memory_format=torch.contiguous_format)
        if time.monotonic() - self._flushed >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what is not on disk yet."""
        if self._new:
            content = save(self._new, {OF: self._of})
            name = hashlib.sha256(content).hexdigest()
            with replacing(self.folder / f"{name}.safetensors") as temporary:
                temporary.write_bytes(content)
        self._new, self._flushed = {}, time.monotonic()

    @property
    def damaged(self) -> list[str]:
        """A line for each file that cannot be used; its values are evaluated again."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[dict[str, Tensor], list[str]]:
        """What earlier sittings kept, and what is wrong with it."""
        known: dict[str, Tensor] = {}
        wrong: list[str] = []
        for file in sorted(self.folder.glob("*.safetensors")):
            if file.is_dir():  # where the same values would be written again
                raise DataError(file, "is a folder; remove it")
            fault = self._fault(file)
            if fault:
                wrong.append(f"{file}: {fault}; what it held is evaluated again")
            else:
                known |= load_file(file)
        return known, wrong

    def _fault(self, file: Path) -> str:
        """Why the values in a file are not this run's; empty where they are."""
        try:
            if file_hash(file) != file.stem:
                return "is damaged"
            with safe_open(file, "pt") as content:
                foreign = (content.metadata() or {}).get(OF) != self._of
        except (OSError, SafetensorError) as error:
            return f"cannot be read ({type(error).__name__})"
        return "is of another run" if foreign else ""


def _fingerprint(manifest: Manifest) -> str:
    """Hash of all that f depends on, and more; what is asked of it is not among it."""
    settings = {name: value for name, value in manifest.settings.items() if name != "target"}
    content = [manifest.version, settings, manifest.checkpoints]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
