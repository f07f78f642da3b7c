"""log Z of the Ising model on a 16 × 16 torus by tempered SMC alone, against Kaufman's formula.

    python experiments/ising/large.py PARTICLES [K …]

The SMC is the one that a run's reference climbs by, in the 256 dimensions of the field, with so
many particles in each of its eight populations. Spins of its last rung tell energy and |m|.
"""

import sys
import time

import torch

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.ising.criteria import Ising
from btgm_cli.domains.ising.exact import CRITICAL, bonds, kaufman
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.domains.ising.spins import drawn
from btgm_cli.truth.references import latent_smc

SIZE, COUPLINGS = 16, (0.2, 0.3, CRITICAL)


def told(coupling: float, particles: int) -> str:
    """A row of the page's table."""
    model, started = IsingField(SIZE, coupling), time.process_time()
    f = LatentCriterion(model, Ising())
    smc = latent_smc(f, derived_generator(0, "ising", coupling), particles)
    found, exact = smc.at(1.0), kaufman(SIZE, coupling)
    log_z = found.log_z - model.log_z_offset
    rung = smc.ladder[-1]
    spins = drawn(model.decode(rung.z.flatten(0, 1)), derived_generator(1, "ising"))
    energy = -bonds(spins, SIZE).view(len(rung.z), -1).mean(-1) / SIZE**2  # of each population
    m = spins.mean(-1).abs().view(len(rung.z), -1).mean(-1)
    numbers = [
        f"{coupling:.6g}",
        f"{log_z:.3f} ± {found.log_z_se:.3f}",
        f"{exact.log_z:.3f}",
        f"{log_z - exact.log_z:+.3f}",
        f"{energy.mean():.4f} ± {energy.std() / len(energy) ** 0.5:.4f}",
        f"{exact.energy:.4f}",
        f"{m.mean():.3f} ± {m.std() / len(m) ** 0.5:.3f}",
        f"{(spins.mean(-1) > 0).double().mean():.1%}",
        f"{rung.memory:.2f}",
        "yes" if found.reliable else "no",
        f"{len(smc.ladder)}",
        f"{smc.f_evals:,}",
        f"{time.process_time() - started:.0f} s",
    ]
    return f"| {' | '.join(numbers)} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    each, *couplings = sys.argv[1:]
    for coupling in map(float, couplings) if couplings else COUPLINGS:
        print(told(coupling, int(each)), flush=True)
