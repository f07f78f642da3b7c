"""How near do tuned and corrected draws come to the tilts of Fig. 10? Three seeds.

    python -m experiments.remedy.check [FOLDER] [SETTING …]

Runs `btgm run experiment=fig10`, a seed each, with the settings given (`experiment=remedy` among
them takes that instead), and draws 10,000 corrected ones of the exact tilt by way of the tuned
model at each beta. Asked for: E f within 5 % of what the exact tilt gains over p, KL within 0.3
nats, no digit below half of its share under the exact tilt. A finished run is not made again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from btgm_cli import load_run
from btgm_cli.cli import main
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.rows import numbers_of
from btgm_cli.store.runs import SUMMARY
from btgm_cli.store.tables import write_table
from btgm_cli.truth.trust import doubt
from btgm_cli.tuned.correction import Correct, Corrector

SEEDS = range(3)
N = 10_000

GAIN, KL, SHARE = 0.05, 0.3, 0.5
"""What is asked for."""


def finished(folder: Path, seed: int, settings: Sequence[str]) -> LoadedRun:
    """The run of a seed, made if it is not there."""
    path = folder / f"seed{seed}"
    if not (path / SUMMARY).is_file():
        named = any(setting.startswith("experiment=") for setting in settings)
        asked = [*settings] if named else ["experiment=fig10", *settings]
        main(["run", *asked, f"seed={seed}", "threads=1", f"out={path}"])
    return load_run(path)


def corrected(run: LoadedRun, beta: float) -> dict:
    """Mean of f, KL (nats), shares of the digits and price of corrected draws, unless in doubt."""
    f, rng = run.f(beta), derived_generator(run.config["seed"], "remedy", beta)
    corrector = Corrector(run.tuned(beta), f, beta, Correct.RESAMPLE, rng)
    status = Status(run.pareto["status"].iloc[run.index(beta)])
    pilot = corrector.pilot
    told = {"effective": pilot.ess_fraction}
    told["doubt"] = doubt(status, status, Correct.RESAMPLE, pilot)
    if told["doubt"]:
        return told
    taken, classes = [], []
    for block in corrector.draws(N):
        taken.append(block.f)
        classes.append(f.criterion.classes(block.x))
        if sum(map(len, taken)) >= N:
            break
    mean = torch.cat(taken)[:N].double().mean().item()
    shares = shares_of(torch.cat(classes)[:N])
    told |= {"mean_f": mean, "kl": beta * mean - pilot.log_z, "shares": shares}
    return told | {"evals_each": corrector.f_evals / N}


def shares_of(classes: torch.Tensor) -> list[float]:
    """Of the ten digits, from classes (n,)."""
    return (torch.bincount(classes, minlength=10) / len(classes)).tolist()


def held(run: LoadedRun, beta: float) -> list[dict]:
    """The rows of tuned and corrected draws at one beta."""
    row, start = run.pareto.iloc[run.index(beta)], run.pareto["mean_f_ref"].iloc[0]
    exact = {name: row[name] for name in ("mean_f_ref", "kl_ref", "ref_reliable")}
    exact["shares_ref"] = numbers_of(row["class_shares_ref"])
    tuned = {"mean_f": row["mean_f"], "kl": row["kl"], "shares": numbers_of(row["class_shares"])}
    found = {
        "tuned": tuned | {"effective": row["ess_fraction"]},
        "corrected": corrected(run, beta),
    }
    about = {"beta": beta, "seed": run.config["seed"], "verdict": row["status"]}
    about["kl_gap"] = row["kl_gap"]
    return [{"way": way, **about} | judged(what, exact, start) for way, what in found.items()]


def judged(found: dict, exact: dict, start: float) -> dict:
    """What was found at a beta beside the exact tilt there, and whether it is what is asked for.

    Args:
        found: `mean_f`, `kl` and `shares` of the draws, if there are any.
        exact: `mean_f_ref`, `kl_ref`, `ref_reliable` and `shares_ref`.
        start: E f under p.
    """
    told = {**exact, "met": False, **found}
    theirs = told.pop("shares_ref")
    if "shares" in told:
        ours = told.pop("shares")
        told["gain"] = (told["mean_f"] - start) / (told["mean_f_ref"] - start)
        kept = {digit: ours[digit] / share for digit, share in enumerate(theirs) if share}
        least = min(kept, key=lambda digit: kept[digit])
        told |= {"least_kept": kept[least], "least_digit": least, "least_ref": theirs[least]}
        told |= {"ones": ours[1], "ones_ref": theirs[1]}
        near = abs(told["gain"] - 1) <= GAIN and abs(told["kl"] - told["kl_ref"]) <= KL
        told["met"] = near and told["least_kept"] >= SHARE
    if not told["ref_reliable"]:
        told["met"] = None  # nobody knows
    return told


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/remedy")
    torch.set_num_threads(1)
    rows = []
    for seed in SEEDS:
        run = finished(where, seed, sys.argv[2:])
        for beta in run.pareto["beta"].tolist()[1:]:
            rows += held(run, beta)
            write_table(where / "remedy.csv", rows)
            print(rows[-2:], flush=True)
