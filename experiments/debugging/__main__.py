"""Debugging a classifier (§4.1): what it says of digits on the borders of its classes.

    python -m experiments.debugging [FOLDER] [quick]

Tunes `gan_mnist` towards the entropy of the classifier that ships, and towards its second class,
and asks two classifiers like it, of other seeds, for a second opinion: a draw has no label. Beside
it the test images under the same tilt, which have one. What is finished is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from experiments.debugging.classifiers import trained
from experiments.debugging.opinions import Opinions, tilted_test, uniform
from experiments.debugging.page import page
from experiments.debugging.picture import Shown, picture
from torch import Tensor

from btgm_cli import load_criterion, load_model
from btgm_cli.cli import main
from btgm_cli.cli.figure import QUICK
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.classifier import Classifier, load_classifier
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.store.files import write_text
from btgm_cli.store.runs import read_run
from btgm_cli.store.tables import write_table

BETAS = {"entropy": (2.0, 4.0, 6.0), "second_class": (8.0, 12.0, 20.0)}
SEEDS = (1, 2)
FIGURES = ("kl", "kl_ref", "kl_gap", "kl_gap_se", "ess_fraction", "mean_f", "mean_f_ref")
AFTER = (*FIGURES, "ref_reliable", "status", "seconds")


class Debugging:
    """All that the page shows, in one folder.

    Args:
        folder: where.
        quick: seconds for minutes; the numbers mean nothing.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.n = 200 if quick else 4_000
        others = [trained(seed, folder / "classifiers", quick=quick) for seed in SEEDS]
        self.classifiers: Sequence[Classifier] = [load_classifier(), *others]

    def draws(self) -> Iterator[tuple[Row, Tensor]]:
        """Draws (n, 1, 28, 28) of p, and of each tilt as tuned and as corrected."""
        model = load_model("gan_mnist")
        z = model.sample_prior(self.n, derived_generator(0, "debugging"))
        with torch.no_grad():
            yield {"criterion": "none", "draws": "p", "beta": 0.0}, model.decode(z)
        for criterion, betas in BETAS.items():
            for beta in betas:
                for correction, name in (("none", "tuned"), ("resample", "corrected")):
                    about = {"criterion": criterion, "draws": name, "beta": beta}
                    yield (
                        about | self._figures(criterion, beta),
                        self._of(criterion, beta, correction),
                    )

    def rows(self) -> Iterator[tuple[Row, Tensor, Opinions]]:
        """What the classifiers say of the draws, and of the test images under each tilt."""
        for about, x in self.draws():
            opinions = Opinions.of(self.classifiers, x)
            yield about | opinions.summary(uniform(len(x))), x, opinions
        data = load_mnist()
        x, labels = data.test_images, data.test_labels
        opinions = Opinions.of(self.classifiers, x)
        for criterion, betas in {"none": (0.0,), **BETAS}.items():
            for beta in betas:
                about = {"criterion": criterion, "draws": "test", "beta": beta}
                weights = uniform(len(x))
                if beta:
                    with torch.no_grad():
                        weights = tilted_test(load_criterion(criterion)(x), beta)
                row = about | opinions.summary(weights) | opinions.errors(labels, weights)
                yield row, x, opinions

    def _figures(self, criterion: str, beta: float) -> Row:
        pareto = read_run(self._run(criterion)).pareto
        (row,) = pareto[np.isclose(pareto["beta"], beta)].to_dict("records")
        return {name: row[name] for name in AFTER}

    def _run(self, criterion: str) -> Path:
        run = self.folder / "runs" / criterion
        if not (run / "summary.json").is_file():
            betas = f"target.betas=[{','.join(map(str, BETAS[criterion]))}]"
            tilt = ["model=gan_mnist", f"criterion={criterion}", betas, "threads=1"]
            main(["run", *tilt, *(QUICK if self.quick else []), f"out={run}"])
        return run

    def _of(self, criterion: str, beta: float, correction: str) -> Tensor:
        file = self.folder / "draws" / f"{criterion}_{beta:g}_{correction}.npz"
        if not file.is_file():
            asked = [f"beta={beta}", f"n={self.n}", f"correct={correction}", "threads=1"]
            main(["sample", str(self._run(criterion)), *asked, f"out={file}"])
        with np.load(file) as draws:
            return torch.from_numpy(draws["x"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = [name for name in sys.argv[1:] if name != "quick"]
    debugging = Debugging(Path(*names or ["outputs/debugging"]), quick="quick" in sys.argv)
    rows, shown, pairs = [], [], []
    for row, x, opinions in debugging.rows():
        rows.append(row)
        if row["draws"] in {"p", "corrected"}:
            shown.append(Shown(row["criterion"], row["beta"], x[:, 0], opinions))
            pairs += [
                {"criterion": row["criterion"], "beta": row["beta"], **pair}
                for pair in opinions.pairs()
            ]
    write_table(debugging.folder / "debugging.csv", rows)
    write_table(debugging.folder / "pairs.csv", pairs)
    write_text(debugging.folder / "debugging.md", page(rows, pairs))
    for kind in ("png", "pdf"):
        save(picture(shown), debugging.folder / f"debugging.{kind}")
    print(page(rows, pairs))
