"""Debugging a classifier (§4.1): what it says of digits on the borders of its classes.

    python -m experiments.debugging [FOLDER] [quick]

Tunes `gan_mnist` towards the entropy of the classifier that ships, and towards its second class,
draws the exact tilts by rejection, and asks two classifiers like it, of other seeds, for a second
opinion: a draw has no label. Beside it the test images under the same tilts, which have one. What
is finished is not made again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from experiments.debugging.made import drawn, trained, tuned
from experiments.debugging.opinions import Opinions, tilted_test, uniform
from experiments.debugging.page import page
from experiments.debugging.picture import Shown, picture
from torch import Tensor

from btgm_cli import load_criterion, load_model
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.classifier import Classifier, load_classifier
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.report import save
from btgm_cli.report.markdown import Row
from btgm_cli.store.files import write_text
from btgm_cli.store.tables import write_table

BETAS = {"entropy": (2.0, 4.0, 6.0), "second_class": (8.0, 12.0)}
MOST = {"entropy": 4.0, "second_class": 12.0}
"""The β up to which exact draws are made: at entropy's 4 one takes 600 draws of p."""
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
        self.n = 100 if quick else 1_000
        others = [trained(seed, folder / "classifiers", quick=quick) for seed in SEEDS]
        self.classifiers: Sequence[Classifier] = [load_classifier(), *others]

    def draws(self) -> Iterator[tuple[Row, Tensor]]:
        """Draws (n, 1, 28, 28) of p, and of each tilt: as tuned, and exact ones by rejection."""
        model = load_model("gan_mnist")
        z = model.sample_prior(self.n, derived_generator(0, "debugging"))
        with torch.no_grad():
            x = model.decode(z)
        yield {"criterion": "none", "draws": "p", "beta": 0.0}, x
        for criterion, betas in BETAS.items():
            run = self.folder / "runs" / criterion
            path = f"target.betas=[{','.join(map(str, betas))}]"
            asked = ["model=gan_mnist", f"criterion={criterion}", path]
            pareto = tuned(run, asked, quick=self.quick).pareto
            for beta, row in zip(betas, pareto.to_dict("records"), strict=True):
                about: Row = {"criterion": criterion, "beta": beta}
                about |= {name: row[name] for name in AFTER}
                yield (
                    about | {"draws": "tuned"},
                    drawn(self._file(criterion, beta, "tuned"), self.n, str(run), f"beta={beta}"),
                )
                if beta > MOST[criterion]:
                    continue
                tilt = [*asked[:2], f"target.betas=[{beta}]", "method=rejection"]
                exact = drawn(self._file(criterion, beta, "exact"), self.n, *tilt)
                yield {"criterion": criterion, "beta": beta, "draws": "exact"}, exact

    def _file(self, criterion: str, beta: float, draws: str) -> Path:
        return self.folder / "draws" / f"{criterion}_{beta:g}_{draws}.npz"

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    names = [name for name in sys.argv[1:] if name != "quick"]
    debugging = Debugging(Path(*names or ["outputs/debugging"]), quick="quick" in sys.argv)
    rows, shown, pairs = [], [], []
    for row, x, opinions in debugging.rows():
        rows.append(row)
        if row["draws"] in {"p", "exact"}:
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
