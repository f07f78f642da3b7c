"""The draws of a run of `experiment=classes_held`, held against the test images.

    python -m experiments.classes_held.draws RUN [FOLDER]

10,000 draws of the tuned model, and 10,000 corrected to the exact tilt, beside as many of p. Needs
MNIST.
"""

import sys
from pathlib import Path

import torch
from experiments.bench.judge import Judge
from experiments.bench.rounds import first_of

from btgm_cli import load_run
from btgm_cli.core.latent_criterion import draw_x
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.viewed import Viewed
from btgm_cli.domains.digits.mnist import load_mnist
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tuned.correction import Correct, Corrector

N = 10_000
BLOCK = 1_000


def measured(path: Path) -> list[dict]:
    """Rows of p, tuned and corrected draws at the run's last tilt."""
    run = load_run(path)
    beta = float(run.pareto["beta"].iloc[-1])
    f, seed = run.f(beta), run.config["seed"]
    assert isinstance(f.criterion, Viewed)
    wishes = f.criterion.of
    judge = Judge(load_mnist())

    def row(way: str, x: torch.Tensor, evaluations: int) -> dict:
        with torch.no_grad():
            parts = torch.cat([wishes.parts(part) for part in x.split(BLOCK)])
        means = dict(zip(wishes.terms, parts.mean(0).tolist(), strict=True))
        return {"way": way, "seed": seed, **judge.of(x), **means, "evaluations": evaluations}

    z = f.model.sample_prior(N, derived_generator(seed, "classes_held", "p"))
    rows = [row("p", draw_x(f.model, z, derived_generator(0)), 0)]
    for way, correct in (("tuned", Correct.NONE), ("corrected", Correct.RESAMPLE)):
        rng = derived_generator(seed, "classes_held", way)
        corrector = Corrector(run.tuned(beta), f, beta, correct, rng)
        x = first_of(corrector.draws(N), N).x
        rows.append(row(way, x, corrector.f_evals))
    return rows


if __name__ == "__main__":
    where = Path(sys.argv[2] if len(sys.argv) > 2 else "outputs/classes_held")
    torch.set_num_threads(1)
    write_table(where / "draws.csv", measured(Path(sys.argv[1])))
    print(read_table(where / "draws.csv").to_string(float_format="{:.4g}".format))
