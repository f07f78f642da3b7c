"""A further round with the classes held: a discriminator of what the last round draws, and a run.

    python -m experiments.classes_held.rounds RUN [FOLDER] [SETTING=VALUE …]

RUN is a finished run of `experiment=classes_held`, or of a round that this command made. It trains
a discriminator of rebuilt images on corrected draws of RUN's last tilt, makes a run with RUN's
views but for E(real), and holds its draws against the test images (`rounds.csv`). Settings are
those of `btgm run`. What is finished in FOLDER is taken as it is. Needs MNIST.

What to ask E(real) for. Logits of two networks cannot be compared, so that no number of the last
round will do, and the test images are to judge, not to choose. But the last round's tilt is known,
q₁ ∝ p exp(λ₁ f₁ + Σ μ h), and the new logit f₂ is log q/q₁ if its discriminator is right, with q
of what the VAE rebuilds. Then q₁ exp(f₂) is q itself, and a weight below 1 stops on the way. So
the term `real` is λ₁ f₁ + w f₂ with w = 1, and is asked for the mean that it has under
q₁ exp(w f₂) with the other views held. The run's own tilt then is this one, with a multiplier of
1. The mean is by importance weights of fresh draws of the last round: of those that it has learned
from, a discriminator is too sure. Where so few of them stay effective that their weights say
little, the discriminator has hardly seen what it leads to: w is the largest of `WEIGHTS` at which
enough do.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from experiments.bench.rounds import (
    SHOWN,
    STEPS,
    criterion_of,
    first_of,
    next_discriminator,
)
from experiments.classes_held.draws import measured
from torch import Tensor

from btgm_cli import load_run
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.ended import ended_run
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.viewed import Viewed
from btgm_cli.core.views import View
from btgm_cli.domains.digits.criteria import RealLogOdds
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.domains.digits.pretraining.jobs import rebuilt
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.store.checkpoints import save_network
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import read_manifest
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tilt.multipliers import LEAST_ESS
from btgm_cli.tilt.views import Tilted, Viewpoint, settle
from btgm_cli.tuned.correction import Correct, Corrector

REAL = "real"
"""The term that is pushed; the others are held."""

WEIGHTS = (1.0, 0.75, 0.5, 0.25, 0.125)
"""Of the new logit, the largest first."""

OFF = 1e-3
"""A held mean may be off by so much on the draws that E(real) is told by."""


@dataclass(frozen=True)
class Asked:
    """What the next run is asked for.

    Args:
        weight: w of the new logit.
        mean: E(λ₁ f₁ + w f₂).
        effective: share of the last round's draws that is.
    """

    weight: float
    mean: float
    effective: float


def asked_for(
    log_weights: Tensor, before: Tensor, logit: Tensor, held: Tensor, views: list[View]
) -> Asked:
    """The mean under q₁ exp(w f₂) with the views held, at the largest w that the draws can tell.

    Args:
        log_weights: by which the draws are those of q₁, shape (n,), nats.
        before: λ₁ f₁, shape (n,).
        logit: f₂, shape (n,).
        held: criterion of each view, shape (n, views).
        views: means that are to be held.

    Raises:
        BtgmError: too few draws stay effective at any weight.
    """
    for weight in WEIGHTS:
        seen = Viewpoint(held[:, None], log_weights + weight * logit.double())
        found = seen.by(views, settle(seen, views, Tilted.none(views)))
        told = [found.told(j, view)[0] for j, view in enumerate(views)]
        each = zip(told, views, strict=True)
        off = max(max(view.low - value, value - view.high) for value, view in each)
        if found.effective >= LEAST_ESS and off <= OFF:
            mean = found.weights @ (before + weight * logit).double()
            return Asked(weight, mean.item(), found.effective)
    least = f"fewer than {LEAST_ESS:.0%} of the draws stay effective"
    raise BtgmError(f"the new discriminator cannot be followed: {least} at any weight")


class Round:
    """The next round of a run.

    Args:
        last: the run.
        folder: of the discriminator and of the next run.

    Raises:
        SettingError: the run has no view of `real`.
    """

    def __init__(self, last: LoadedRun, folder: Path) -> None:
        self.last, self.path = last, folder.resolve() / "run"
        self.network = folder.resolve() / "discriminator.safetensors"
        self.seed, self.model = last.config["seed"], last.manifest.model
        criterion = last.f().criterion
        if not isinstance(criterion, Viewed) or REAL not in [v.of for v in criterion.views]:
            expected = f"must be a run with a view of {REAL}, as experiment=classes_held"
            raise SettingError("RUN", str(last.path), expected)
        self.views = criterion
        self.held = [view for view in criterion.views if view.of != REAL]
        self.beta = float(last.pareto["beta"].iloc[-1])
        by_name = zip((view.of for view in criterion.views), criterion.weights, strict=True)
        self.multiplier = self.beta * dict(by_name)[REAL]
        before = _logits(last.config["criterion"]["terms"][REAL])
        self.logits = [(name, self.multiplier * weight) for name, weight in before]

    def made(self, further: Sequence[str]) -> LoadedRun:
        """The next run with further settings, ended.

        Raises:
            SettingError: the folder holds the round of another run.
        """
        there = read_manifest(self.path)
        if there:
            told = there.settings["criterion"]["terms"][REAL]
            if there.settings["seed"] != self.seed or _logits(told)[:-1] != self.logits:
                raise SettingError("FOLDER", str(self.path.parent), "holds another run's round")
            return ended_run(self.path, [])
        self._train()
        asked = self._asked()
        print(asked, flush=True)
        return ended_run(self.path, [*self.settings(asked), *further])

    def settings(self, asked: Asked) -> list[str]:
        """What `btgm run` is asked for."""
        names, betas = zip(*self.logits, (str(self.network), asked.weight), strict=True)
        views = [f"E({REAL})={asked.mean:.4g}", *(view.text for view in self.held)]
        return [
            f"model={self.model}",
            "criterion=real_and_classes",
            *criterion_of(names, betas, f"criterion.terms.{REAL}"),
            f"target.views={json.dumps(views)}",
            f"seed={self.seed}",
            f"threads={torch.get_num_threads()}",
        ]

    def _train(self) -> None:
        """Train the discriminator, unless it is there."""
        if self.network.is_file():
            return
        images = rebuilt(load_mnist(), self.model).train_images
        pool = first_of(self._corrector("shown").draws(SHOWN), SHOWN).z
        network = next_discriminator(images, self.model, pool, STEPS, self.seed)
        save_network(self.network, network)

    def _asked(self) -> Asked:
        """What to ask for, by draws that the discriminator has not learned from."""
        draws = first_of(self._corrector("asked").weighted(), SHOWN)
        terms = in_chunks(self.views.of.parts, draws.x)
        values = dict(zip(self.views.of.terms, terms.T, strict=True))
        logit = in_chunks(RealLogOdds(str(self.network)), draws.x)
        held = torch.stack([values[view.of] for view in self.held], 1)
        before = self.multiplier * values[REAL]
        return asked_for(draws.log_weight, before, logit, held, self.held)

    def _corrector(self, purpose: str) -> Corrector:
        """Of draws of the last tilt.

        Raises:
            BtgmError: their weights cannot be relied on.
        """
        rng = derived_generator(self.seed, "classes_held", purpose)
        tuned, f = self.last.tuned(), self.last.f()
        made = Corrector(tuned, f, self.beta, Correct.RESAMPLE, rng)
        if not made.pilot.reliable:
            raise BtgmError(f"corrected draws of {self.last.path} cannot be relied on")
        return made


def _logits(term: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Discriminators of a term and their weights."""
    if "discriminator" in term:
        return [(term["discriminator"], 1.0)]
    each = zip(term["terms"].values(), term["weights"].values(), strict=True)
    return [(part["discriminator"], weight) for part, weight in each]


def rows_of(made: LoadedRun) -> list[dict]:
    """Draws of a round's run held against the test images, and what the run was asked for."""
    logits = _logits(made.config["criterion"]["terms"][REAL])
    asked = made.config["target"]["views"]
    about = {
        "round": len(logits),
        "weight": logits[-1][1],
        "asked": next(view.value for view in map(View.parsed, asked) if view.of == REAL),
    }
    return [{**about, **row} for row in measured(made.path)]


def main(argv: Sequence[str]) -> int:
    """Make the round and its table."""
    paths = [Path(item) for item in argv if "=" not in item]
    further = [item for item in argv if "=" in item]
    if not paths:
        print("rounds: give the directory of a run of experiment=classes_held", file=sys.stderr)
        return 2
    folder = paths[1] if len(paths) > 1 else Path("outputs/classes_held") / paths[0].name
    try:
        compose_config("run", further)  # a mistake is told before anything is trained
        made = Round(load_run(paths[0]), folder).made(further)
        write_table(folder / "rounds.csv", rows_of(made))
    except BtgmError as error:
        print(f"rounds: {error}", file=sys.stderr)
        return 2
    print(read_table(folder / "rounds.csv").to_string(float_format="{:.4g}".format))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
