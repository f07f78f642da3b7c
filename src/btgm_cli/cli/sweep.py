"""What the jobs of a sweep share: x of the draws of p that all criteria of a model look at."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from btgm_cli.store.decoded import DECODED, DecodedDraws, model_hash
from btgm_cli.store.manifest import Manifest


class Sweep:
    """The jobs that are to come; as a context manager it leaves nothing of what they shared.

    Args:
        manifests: of all jobs.
    """

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._jobs = Counter(model_hash(manifest) for manifest in manifests)
        self._folders: set[Path] = set()

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def decoded(self, manifest: Manifest, folder: Path) -> DecodedDraws | None:
        """Where a job finds and keeps x; None where no other has the same model and draws.

        Args:
            manifest: of the job.
            folder: of the sweep.
        """
        model = model_hash(manifest)
        if self._jobs[model] < 2:
            return None
        self._folders.add(folder / DECODED)
        return DecodedDraws(folder / DECODED, model)
