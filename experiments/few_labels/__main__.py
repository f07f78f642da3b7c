"""How many labels do the means of `vae_mnist`'s encoder need? The lecture's semi-supervised row.

    python -m experiments.few_labels [FOLDER]

The VAE has seen all 60,000 training images and no label. A small network learns the class from the
encoder's mean with N labels, and beside it a linear one, and the same small network from the
pixels. Writes `few_labels.csv`, `few_labels.md` and a picture.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from btgm_cli.domains.digits.mnist import Mnist, load_mnist
from btgm_cli.domains.digits.vae import VaeNetwork
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.domains.pretraining.trainee import falling, seeded
from btgm_cli.report import save
from btgm_cli.report.markdown import Row, table
from btgm_cli.report.style import MUTED, REFERENCE, TUNED, in_house_style
from btgm_cli.store.checkpoints import load_network
from btgm_cli.store.files import write_text
from btgm_cli.store.tables import write_table

LECTURE = {
    100: 0.2569,
    400: 0.3577,
    1_000: 0.7047,
    4_000: 0.9291,
    10_000: 0.9697,
    40_000: 0.9878,
    60_000: 0.9920,
}
"""Its accuracy on the test images, by the number of labels."""

SEEDS = (0, 1, 2)
STEPS, BATCH, RATE, DECAY, HOLD = 3_000, 128, 3e-3, 1e-2, 0.3
"""Chosen once and the same for all: none was tuned, on the test images or elsewhere."""

Head = Callable[[int], nn.Module]


def linear(width: int) -> nn.Module:
    """Multinomial logistic regression on `width` features."""
    return nn.Linear(width, 10)


def small(width: int) -> nn.Module:
    """A network of one hidden layer on `width` features."""
    return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 10))


def learned(x: Tensor, y: Tensor, head: Head, seed: int, steps: int = STEPS) -> nn.Module:
    """A `head` trained by cross-entropy on features x (n, D) and classes y (n,)."""
    with seeded(seed) as rng:
        network = head(x.shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(steps, HOLD))
    for _ in range(steps):
        chosen = torch.randint(len(x), (BATCH,), generator=rng)
        optimizer.zero_grad()
        cross_entropy(network(x[chosen]), y[chosen]).backward()
        optimizer.step()
        rate.step()
    return network


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of features x (n, D) whose class y (n,) is found."""
    return (in_chunks(network, x).argmax(1) == y).double().mean().item()


def standardized(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both (n, D), shifted and scaled to mean 0 and variance 1 of the training images."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    return (train - mean) / std, (test - mean) / std


def features(data: Mnist) -> dict[str, tuple[Head, Tensor, Tensor]]:
    """What is learned from, by name: the head, and the features of training and test images."""
    vae = load_network(VaeNetwork, "vae_mnist")
    images = data.train_images, data.test_images
    train, test = (in_chunks(lambda x: vae.posterior(x)[0], each) for each in images)
    means = standardized(train, test)
    pixels = images[0].flatten(1), images[1].flatten(1)
    return {"means": (small, *means), "means_linear": (linear, *means), "pixels": (small, *pixels)}


def measure(data: Mnist, sizes: Sequence[int] = tuple(LECTURE)) -> list[Row]:
    """A row for each number of labels: mean accuracy over the seeds, and its spread."""
    known = features(data)
    rows = []
    for n in sizes:
        row: Row = {"labels": n, "lecture": LECTURE.get(n, math.nan)}
        for name, (head, train, test) in known.items():
            found = []
            for seed in SEEDS:
                rng = torch.Generator().manual_seed(seed)
                chosen = torch.randperm(len(train), generator=rng)[:n]
                network = learned(train[chosen], data.train_labels[chosen], head, seed)
                found.append(accuracy(network, test, data.test_labels))
            each = torch.tensor(found, dtype=torch.double)
            row |= {name: each.mean().item(), f"{name}_sd": each.std().item()}
        rows.append(row)
        print(row, flush=True)
    return rows


def page(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    head = ["labels", "the lecture's", "network on the means", "linear on the means"]
    names = ("means", "means_linear", "pixels")
    body = [
        [
            f"{row['labels']:,}",
            f"{row['lecture']:.3f}",
            *(f"{row[name]:.3f} ± {row[f'{name}_sd']:.3f}" for name in names),
        ]
        for row in rows
    ]
    return table([*head, "network on the pixels"], body)


@in_house_style
def picture(rows: pd.DataFrame) -> Figure:
    """Accuracy against the number of labels."""
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    looks = {
        "means": (TUNED, "o", "network on the means"),
        "means_linear": ("#009E73", "s", "linear on the means"),
        "pixels": (REFERENCE, "^", "network on the pixels"),
    }
    axes.plot(rows["labels"], rows["lecture"], "--", color=MUTED, marker="x", label="the lecture")
    for name, (colour, marker, text) in looks.items():
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "label": text}
        axes.errorbar(rows["labels"], rows[name], yerr=2 * rows[f"{name}_sd"], **look)
    axes.set(xscale="log", xlabel="labels", ylabel="accuracy on the test images", ylim=(0, 1.02))
    axes.legend()
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/few_labels")
    rows = measure(load_mnist())
    write_table(folder / "few_labels.csv", rows)
    write_text(folder / "few_labels.md", page(rows))
    for kind in ("png", "pdf"):
        save(picture(pd.DataFrame(rows)), folder / f"few_labels.{kind}")
    print(page(rows))
