"""How near do draws by SMC come to the tilts of Fig. 10?

    python -m experiments.remedy.particles [FOLDER] [PARTICLES] [SEED …]

So many particles (8,000) at each beta, as `btgm sample method=smc` makes them, of one ladder a
seed (three). The
exact tilts are those of the run of Fig. 10 (`fig10.csv`, `shares.csv` there), whose reference has
particles of its own. What is asked for is told in `check.py`.
"""

import math
import sys
from pathlib import Path

import torch
from experiments.remedy.check import SEEDS, judged, shares_of

from btgm_cli import load_criterion, load_model
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.truth.climbing import Climbed
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC

N = 8000
BETAS = (0.125, 0.25, 0.5, 0.75, 1.0)

FIG10 = Path(__file__).parents[1] / "fig10"


def exact_tilts() -> dict[float, dict]:
    """By beta, as `judged` wants them."""
    both = [read_table(FIG10 / name) for name in ("fig10.csv", "shares.csv")]
    rows, shares = (table[table["tuning"] == "default"] for table in both)
    named = [f"share_ref_{digit}" for digit in range(10)]
    return {
        row["beta"]: {name: row[name] for name in ("mean_f_ref", "kl_ref", "ref_reliable")}
        | {"shares_ref": of_digits}
        for row, of_digits in zip(
            rows.to_dict("records"), shares[named].to_numpy().tolist(), strict=True
        )
    }


def climbed(f: LatentCriterion, beta: float, n: int, seed: int, smc: TemperedSMC) -> dict:
    """Mean of f, KL (nats), shares of the digits, and what the n particles cost and are worth."""
    way = Climbed(f, beta, n, lambda *of: derived_generator(seed, "remedy", beta, *of), smc)
    part = way.part(0, n)
    mean, tilt = part.draws.f.double().mean().item(), smc.at(beta)
    return {
        "mean_f": mean,
        "kl": beta * mean - tilt.log_z,
        "log_z_se": tilt.log_z_se,
        "memory": smc.ladder[-1].memory,
        "shares": shares_of(f.criterion.classes(part.draws.x)),
        "effective": part.about["effective"] / n,
        "doubt": way.found([part.about], part.f_evals, n).trouble,
        "evals_each": smc.cost(beta)[0] / n,
    }


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/remedy")
    torch.set_num_threads(1)
    f = LatentCriterion(load_model("vae_mnist"), load_criterion("discriminator"))
    n = int(sys.argv[2]) if len(sys.argv) > 2 else N
    known, rows = exact_tilts(), []
    ladders = {
        seed: latent_smc(f, derived_generator(seed, "remedy", "smc"), math.ceil(n / POPULATIONS))
        for seed in map(int, sys.argv[3:] or SEEDS)
    }
    for beta in BETAS:
        for seed, smc in ladders.items():
            found = climbed(f, beta, n, seed, smc)
            about = {"way": "smc", "beta": beta, "particles": n, "seed": seed}
            rows.append(about | judged(found, known[beta], known[0.0]["mean_f_ref"]))
            write_table(where / "particles.csv", rows)
            print(rows[-1], flush=True)
