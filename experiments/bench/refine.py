"""Part `refine`: does a discriminator's logit refine a generator, and do rounds of it (§4.4)?

For each generator and kind of discriminator a run along β, and further rounds, each with a
discriminator trained anew on draws of the last one's tilt: q_k ∝ p exp(β₁f₁ + … + β_k f_k).
`N` images of each way are held against the test images. Runs and discriminators lie in the folder
`refine`; those that are there are taken as finished.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from experiments.bench.judge import JUDGED, Judge
from experiments.bench.refine_picture import draw_refinement
from experiments.bench.refiners import langevin, rejected
from experiments.bench.rivals import Row
from experiments.bench.rounds import (
    SHOWN,
    STEPS,
    criterion_of,
    first_of,
    next_discriminator,
)
from experiments.bench.settings import Settings
from experiments.bench.table import Table
from torch import Tensor

from btgm_cli.cli.ended import ended_run
from btgm_cli.cli.recipes import QUICK
from btgm_cli.core.errors import DataError
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.domains.digits.pretraining.jobs import rebuilt
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.store.checkpoints import save_network
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.tuned.correction import Correct, Corrector
from btgm_cli.tuned.model import TunedModel

N, QUICK_N = 10_000, 200
"""Images of each way."""

QUICK_STEPS = 5
"""Of a discriminator's training."""

FURTHER = (0.5, 1.0)
"""The β of a further round, whose criterion is the sum of all β f so far."""

RELIABLE = (Status.OK, Status.OK_CORRECTED)
"""Verdicts by which corrected draws may stand for the exact tilt."""

LANGEVIN_STEPS = (0.01, 0.03, 0.1)
"""Sizes of a Langevin step, of DDLS."""

KEY = ("model", "kind", "round", "method", "beta", "seed")
COLUMNS = (*KEY, "evals", "mean_f", "kl", "status", *JUDGED)


@dataclass(frozen=True)
class Plan:
    """What is refined.

    Args:
        model: the generator.
        kind: of discriminator: `plain`, or `rebuilt`, which sees the real images as the VAE
            rebuilds them.
        betas: of the first round.
        rounds: the weight of each round's f; the first is the one of `betas` that the second
            round goes on from.
    """

    model: str
    kind: str
    betas: Sequence[float]
    rounds: Sequence[float]

    @property
    def discriminator(self) -> str:
        """The packaged one, of the first round."""
        return f"discriminator_{self.model}{'_rebuilt' if self.kind == 'rebuilt' else ''}"


PLANS = (
    Plan("vae_mnist", "rebuilt", (0, 0.25, 0.5, 0.75, 1), (0.75, 1)),
    Plan("vae_mnist", "plain", (0, 0.125, 0.25, 0.375, 0.5), (0.25, 0.25)),
    Plan("gan_mnist", "plain", (0, 0.125, 0.25, 0.375, 0.5), (0.125, 0.125)),
)


def run(settings: Settings) -> None:
    """The table for all plans; left out where MNIST is not there."""
    try:
        judge = Judge(load_mnist())
    except DataError as error:
        print(f"refine is left out: {error}", flush=True)
        return
    table = Table(settings.folder / "refine.csv", COLUMNS, key=6)
    for plan in PLANS[:1] if settings.quick else PLANS:
        for seed in range(settings.seeds):
            Refinement(plan, seed, judge, settings, table).fill()
    frame = table.frame()
    for model in dict.fromkeys(frame["model"]):
        ends = {plan.kind: plan.rounds[0] for plan in PLANS if plan.model == model}
        draw_refinement(frame, model, ends, settings.folder / f"refine_{model}.png")
    table.show()


@dataclass(frozen=True)
class Refinement:
    """The rows of one plan and seed."""

    plan: Plan
    seed: int
    judge: Judge
    settings: Settings
    table: Table

    @property
    def n(self) -> int:
        """Images of each way."""
        return QUICK_N if self.settings.quick else N

    @property
    def folder(self) -> Path:
        """Of the runs and discriminators."""
        name = f"{self.plan.model}_{self.plan.kind}_{self.seed}"
        return self.settings.folder / "refine" / name

    def fill(self) -> None:
        """Add what the table lacks, round by round."""
        plan, names = self.plan, [self.plan.discriminator]
        rounds = plan.rounds[:2] if self.settings.quick else plan.rounds
        made = self._run(1, names, (0, rounds[0]) if self.settings.quick else plan.betas)
        self._bounds()
        self._tuned(1, made)
        self._others(made)
        beta = rounds[0]
        for number in range(2, len(rounds) + 1):
            names.append(self._discriminator(number, made, beta))
            made, beta = self._run(number, names, FURTHER), FURTHER[-1]
            self._tuned(number, made)

    def _run(self, number: int, names: Sequence[str], betas: Sequence[float]) -> LoadedRun:
        """The run of a round, made or gone on with where it is not finished."""
        asked = [f"model={self.plan.model}", *criterion_of(names, self.plan.rounds)]
        asked += [f"target.betas=[{','.join(map(str, betas))}]", f"seed={self.seed}"]
        asked.append(f"threads={torch.get_num_threads()}")
        asked += QUICK if self.settings.quick else ()
        return ended_run(self.folder / f"round{number}", asked)

    def _discriminator(self, number: int, made: LoadedRun, beta: float) -> str:
        """The path of a discriminator of real digits from draws of the last round's model."""
        path = self.folder / f"round{number}.safetensors"
        if path.is_file():
            return str(path)
        quick, data = self.settings.quick, self.judge.data
        data = rebuilt(data, self.plan.model) if self.plan.kind == "rebuilt" else data
        rng = derived_generator(self.seed, "refine", "shown", number)
        corrector = Corrector(made.tuned(beta), made.f(), beta, Correct.RESAMPLE, rng)
        n, steps = (self.n, QUICK_STEPS) if quick else (SHOWN, STEPS)
        pool = first_of(corrector.draws(n), n).z
        images, model = data.train_images, self.plan.model
        save_network(path, next_discriminator(images, model, pool, steps, self.seed))
        return str(path)

    def _bounds(self) -> None:
        """What real images themselves come to, and those that the VAE rebuilds."""
        data, about = self.judge.data, {"model": self.plan.model, "kind": self.plan.kind}
        images = {"real": data.train_images[: self.n]}
        if self.plan.kind == "rebuilt":
            images["rebuilt"] = rebuilt(data, self.plan.model).test_images
        for method, x in images.items():
            key = {**about, "round": 0, "method": method, "beta": 0.0, "seed": self.seed}
            if not self.table.has(*key.values()):
                self.table.add({**key, "evals": 0, **self.judge.of(x)})

    def _tuned(self, number: int, made: LoadedRun) -> None:
        """p's draws, the tuned model's and the corrected ones, at each β of a run."""
        f, spent = made.f(), made.config["tuning"]["n_reference"]
        for row in made.pareto.to_dict("records"):
            beta, spent = row["beta"], spent + row["f_evals"]
            told = {"kl": row["kl"], "status": row["status"]}
            rng = derived_generator(self.seed, "refine", number, beta)
            if beta == 0:
                self._add((number, "p", beta), f, partial(self._of_prior, f, rng), told)
                continue
            tuned = made.tuned(beta)
            self._add((number, "tuned", beta), f, partial(self._drawn, tuned, spent, rng), told)
            if row["status"] in RELIABLE:
                corrected = partial(self._corrected, tuned, f, beta, spent, rng)
                self._add((number, "corrected", beta), f, corrected, told)

    def _others(self, made: LoadedRun) -> None:
        """Others' ways at β = 1, for as many evaluations as all of the run."""
        f, n = made.f(), self.n
        spent = int(made.pareto["f_evals"].sum() + made.config["tuning"]["n_reference"])
        rng = derived_generator(self.seed, "refine", "others")
        self._add((1, "drs", 1.0), f, lambda: (rejected(f, n, spent, rng), spent), {})
        for step in LANGEVIN_STEPS[:1] if self.settings.quick else LANGEVIN_STEPS:
            walked = partial(self._walked, f, spent, step, rng)
            self._add((1, f"ddls {step:g}", 1.0), f, walked, {})

    def _of_prior(self, f: LatentCriterion, rng: torch.Generator) -> tuple[Tensor, int]:
        return f.model.sample_prior(self.n, rng), 0

    def _walked(
        self, f: LatentCriterion, spent: int, step: float, rng: torch.Generator
    ) -> tuple[Tensor, int]:
        return langevin(f, self.n, spent, step, rng), spent

    def _drawn(self, tuned: TunedModel, spent: int, rng: torch.Generator) -> tuple[Tensor, int]:
        return tuned.draw(self.n, rng)[0], spent

    def _corrected(
        self,
        tuned: TunedModel,
        f: LatentCriterion,
        beta: float,
        spent: int,
        rng: torch.Generator,
    ) -> tuple[Tensor, int]:
        corrector = Corrector(tuned, f, beta, Correct.RESAMPLE, rng)
        z = first_of(corrector.draws(self.n), self.n).z
        return z, spent + corrector.f_evals

    def _add(
        self,
        key: tuple[int, str, float],
        f: LatentCriterion,
        draw: Callable[[], tuple[Tensor, int]],
        told: Row,
    ) -> None:
        """The row of one way, unless it is there: `draw` gives z (n, D) and what they cost."""
        values = (self.plan.model, self.plan.kind, *key, self.seed)
        names: Row = dict(zip(KEY, values, strict=True))
        if self.table.has(*names.values()):
            return
        z, evals = draw()
        images = in_chunks(f.model.decode, z)
        mean = evaluate(f, z).double().mean().item()
        self.table.add({**names, "evals": evals, "mean_f": mean, **told, **self.judge.of(images)})
