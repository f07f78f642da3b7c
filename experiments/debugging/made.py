"""What an experiment needs, made where it is not there and gone on with where it was begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from btgm_cli.cli import main
from btgm_cli.cli.recipes import QUICK
from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.pretraining.loop import STATE_FILE
from btgm_cli.store.checkpoints import load_network
from btgm_cli.store.manifest import MANIFEST
from btgm_cli.store.runs import SUMMARY, Run, read_run


def trained(seed: int, folder: Path, *, quick: bool = False) -> Classifier:
    """The classifier of `btgm train model=classifier_mnist seed=SEED`, made where it is not there.

    Args:
        seed: of weights, batches and distortions; the one that ships has 0.
        folder: where all of them are.
        quick: a few steps, and a classifier that is worth nothing.
    """
    path = folder / f"seed{seed}" / "classifier_mnist.safetensors"
    if not path.with_suffix(".json").is_file():
        begun = (path.parent / STATE_FILE).is_file()
        asked = [f"seed={seed}", "threads=1", f"out={path.parent}", *["model.steps=20"] * quick]
        main(["train", "model=classifier_mnist", *asked, *["resume=true"] * begun])
    return load_network(Classifier, str(path))


def tuned(run: Path, overrides: Sequence[str], *, quick: bool = False) -> Run:
    """The finished run of `btgm run OVERRIDES threads=1` in `run`."""
    if not (run / SUMMARY).is_file():
        anew = [*overrides, "threads=1", *(QUICK if quick else []), f"out={run}"]
        main(["run", *([f"resume={run}"] if (run / MANIFEST).is_file() else anew)])
    return read_run(run)


def drawn(file: Path, n: int, *command: str) -> Tensor:
    """The draws x (n, 1, 28, 28) of `btgm sample COMMAND n=N threads=1` in `file`."""
    if not file.is_file():
        main(["sample", *command, f"n={n}", "threads=1", f"out={file}"])
    with np.load(file) as draws:
        return torch.from_numpy(draws["x"])
