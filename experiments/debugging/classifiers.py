"""Classifiers like the one that ships, from other seeds."""

from __future__ import annotations

from pathlib import Path

from btgm_cli.cli import main
from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.pretraining.loop import STATE_FILE
from btgm_cli.store.checkpoints import load_network


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
