"""Digits of a chosen class from a VAE that knows none, by tuning, beside a VAE trained with them.

    python -m experiments.conditional [FOLDER] [quick]

For each digit l a run of `btgm run model=vae_mnist criterion=log_class` at β = 1, where the tilt
is p(x) h(l | x), the conditional model of Eq. 11; draws of it as they are and
corrected. Beside them a conditional VAE of the same size, and a judge that none of them has met: a
classifier like the one that was tuned by, trained from another seed. What is finished is not made
again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from experiments.conditional.network import CLASSES, ConditionalTrainee, ConditionalVae
from experiments.conditional.page import page
from experiments.conditional.picture import picture
from experiments.debugging.made import drawn, trained, tuned
from torch import Tensor

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.mnist import Mnist, load_mnist
from btgm_cli.domains.digits.pretraining.gates import CONFIDENT, frechet_distance
from btgm_cli.domains.digits.pretraining.vae import VaeSettings
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.domains.pretraining.loop import STATE_FILE, run_loop
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.store.files import write_text
from btgm_cli.store.tables import write_table

BETA = 1
BUDGET = ["tuning.first_steps=500", "tuning.n_reference=20000"]
"""Half of the default's: ten runs in as many minutes, on a quiet core."""
CORRECTIONS = {"none": "tuned", "resample": "corrected"}
AFTER = (
    "beta",
    "kl",
    "kl_ref",
    "kl_gap",
    "kl_gap_se",
    "ess_fraction",
    "status",
    "f_evals",
    "seconds",
)


class Experiment:
    """All that the page shows, in one folder.

    Args:
        folder: where.
        quick: seconds for minutes; the numbers mean nothing.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.n = 200 if quick else 2_000
        self.data: Mnist = load_mnist()
        self.judge = trained(1, folder / "classifiers", quick=quick)

    def ways(self) -> Iterator[tuple[Row, Tensor]]:
        """Each way to get a digit, with its figures, and its draws (n, 1, 28, 28)."""
        vae = self._conditional_vae()
        for label in range(CLASSES):
            for correction, name in CORRECTIONS.items():
                x, known = self._tuned(label, correction)
                yield {"label": label, "way": name, **known}, x
            yield {"label": label, "way": "conditional"}, self._conditional(vae, label)

    def judged(self, label: int, x: Tensor) -> Row:
        """How many of the draws x the judge takes for the digit, and how far they are from it.

        The Fréchet distance is in the judge's features, to the test images of the digit; that of
        as many training images of it is the yardstick.
        """
        logits = in_chunks(self.judge, x)
        confidence, found = logits.softmax(1).max(1)
        real, train = (
            in_chunks(self.judge.features, images[labels == label])
            for images, labels in (
                (self.data.test_images, self.data.test_labels),
                (self.data.train_images, self.data.train_labels),
            )
        )
        distance = frechet_distance(in_chunks(self.judge.features, x), real)
        return {
            "n": len(x),
            "accuracy": (found == label).double().mean().item(),
            "confident": ((found == label) & (confidence > CONFIDENT)).double().mean().item(),
            "frechet": distance,
            "frechet_train": frechet_distance(train[: len(x)], real),
        }

    def _conditional_vae(self) -> ConditionalVae:
        out = self.folder / "conditional_vae"
        settings = VaeSettings(steps=20) if self.quick else VaeSettings()
        resume = (out / STATE_FILE).is_file()
        run = RunSettings("conditional_vae", threads=1, out=str(out), resume=resume)
        images, labels = self.data.train_images, self.data.train_labels
        trainee = ConditionalTrainee(images, labels, settings, run.seed)
        record = run_loop(trainee, settings, run)
        print(f"conditional VAE: {record.seconds:.0f} s, {_elbo(trainee.network, self.data)}")
        return trainee.network.eval()

    def _conditional(self, vae: ConditionalVae, label: int) -> Tensor:
        rng = derived_generator(0, "conditional", label)
        z = torch.randn(self.n, vae.latent_dim, generator=rng)
        return in_chunks(lambda part: vae.decode(part, torch.full((len(part),), label)), z)

    def _tuned(self, label: int, correction: str) -> tuple[Tensor, Row]:
        run = self.folder / "runs" / str(label)
        tilt = [f"criterion=log_class{label}", f"target.betas=[{BETA}]"]
        pareto = tuned(run, ["model=vae_mnist", *tilt, *BUDGET], quick=self.quick).pareto
        (row,) = pareto.to_dict("records")
        file = self.folder / "draws" / f"{label}_{BETA}_{correction}.npz"
        asked = [str(run), f"beta={BETA}", f"correct={correction}"]
        return drawn(file, self.n, *asked), {name: row[name] for name in AFTER}


def _elbo(vae: ConditionalVae, data: Mnist) -> str:
    noise = torch.randn(
        len(data.test_images), vae.latent_dim, generator=derived_generator(0, "elbo")
    )
    with torch.no_grad():
        log_prob, kl = vae.bound(data.test_images, data.test_labels, noise)
    return f"held-out ELBO {(log_prob - kl).mean().item():.1f} nats, KL {kl.mean().item():.1f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = [name for name in sys.argv[1:] if name != "quick"]
    experiment = Experiment(Path(*names or ["outputs/conditional"]), quick="quick" in sys.argv)
    rows, shown = [], {}
    for row, x in experiment.ways():
        rows.append(row | experiment.judged(row["label"], x))
        shown[row["way"], row["label"]] = x[:8, 0].numpy()
    write_table(experiment.folder / "conditional.csv", rows)
    write_text(experiment.folder / "conditional.md", page(rows))
    for kind in ("png", "pdf"):
        save(picture(shown), experiment.folder / f"conditional.{kind}")
    print(page(rows))
