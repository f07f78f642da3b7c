"""`btgm sample DIR`: draws of a tuned model, as they are or corrected to the exact tilt.

Without a run before it: see `direct_sample`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from btgm_cli import __version__
from btgm_cli.cli.direct_sample import without_run
from btgm_cli.cli.draw_files import DrawFiles
from btgm_cli.cli.draw_parts import Shard
from btgm_cli.cli.engines import own_settings
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.settings import arguments, checked, path_of, require_least
from btgm_cli.cli.shards import draw_all
from btgm_cli.cli.signals import Stopped
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import shape_of_x
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.files import write_json
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.truth.tally import Tally
from btgm_cli.truth.trust import amiss, doubt, too_dear
from btgm_cli.tuned.correction import Correct, Corrector

USAGE = """usage: btgm sample DIR [SETTING=VALUE ...]
       btgm sample model=NAME criterion=NAME target.betas=[BETA] [SETTING=VALUE ...]

  n=10000         draws
  beta=           a β of the run; by default its last
  correct=none    none: draws of the tuned model, with weights; resample, rejection or mcmc: draws
                  of the exact tilt, by way of the tuned model's; rejection is refused where one
                  would take more than 100 of those
  out=            a .npz file, or .parquet for vectors; by default DIR/draws/…npz. Many draws make
                  several files, numbered; they are drawn in parts, and the same command goes on
                  after a kill
  seed=0
  threads=        CPU threads; by default torch's choice. Other counts may change the last bits
  shard=K/N       the K-th of N shards, from 0, in a file of its own; shard=range(N) -m draws all,
                  by hydra/launcher=btgm_joblib, btgm_slurm or btgm_ray on many cores

Without a run, by all settings of btgm run, with one β, target.C_D, target.C_f or target.rho:

  n=10000         draws of the exact tilt
  method=auto     rejection from p, smc, or tuning: a run beside the file, and draws of it; auto
                  is what takes the fewest evaluations of f
  out=            as above; by default outputs/sample/<model>/<criterion>/<time>/draws.npz"""


@dataclass(frozen=True)
class Request:
    """What was asked for; see `USAGE`.

    Raises:
        SettingError: a value out of range.
    """

    n: int = 10_000
    beta: float | None = None
    correct: Correct = Correct.NONE
    out: Path | None = None
    seed: int = 0
    threads: int | None = None
    shard: str | int = "0/1"

    def __post_init__(self) -> None:
        require_least(self, n=1, beta=0, seed=0)
        require_threads(self.threads)
        if self.n < self.share.count:
            raise SettingError(
                "n", self.n, f"must be {self.share.count} or more for as many shards"
            )

    @property
    def share(self) -> Shard:
        """That of all draws which is asked for."""
        return Shard.named(str(self.shard))


def main(argv: Sequence[str]) -> int:
    """Write draws of a run's tuned model.

    Returns:
        0, or 3 where the draws cannot be relied on for the exact tilt; they are written in
        either case, but where rejection would take for ever.

    Raises:
        SettingError: no such run or β, a setting out of range, or files in the way.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if not argv:
        raise SettingError("run directory", "", "name one: btgm sample DIR")
    if any(item in ("-m", "--multirun") for item in argv):
        typed = [item for item in argv if item not in ("-m", "--multirun")]
        return draw_all(typed, _planned, of_run)
    if "=" in argv[0] and not path_of(argv[0]).exists():
        return without_run(argv, of_run)
    return of_run(argv)


def _planned(argv: Sequence[str], count: int) -> tuple[Path, int | None]:
    """Where all draws of so many shards go, and the threads that are asked for."""
    typed = [item for item in own_settings(argv[1:]) if not item.startswith("shard=")]
    request = checked(Request, arguments([*typed, f"shard=0/{count}"]))
    run = load_run(path_of(argv[0]))
    beta = float(run.pareto.iloc[run.index(request.beta)]["beta"])
    return request.out or _default_place(run, beta, request), request.threads


def _default_place(run: LoadedRun, beta: float, request: Request) -> Path:
    return run.path / "draws" / f"beta_{beta:.6g}_{request.correct}.npz"


def of_run(argv: Sequence[str]) -> int:
    """Draws of a run; arguments as typed."""
    request = checked(Request, arguments(argv[1:]))
    with cpu_threads(request.threads), sparing({"n": request.n}):
        return _sample(request, load_run(path_of(argv[0])))


def _sample(request: Request, run: LoadedRun) -> int:
    """Draw, write and tell; the exit code."""
    row = run.pareto.iloc[run.index(request.beta)]
    beta, status = float(row["beta"]), Status(row["status"])
    tuned = run.tuned(beta)
    path = request.out or _default_place(run, beta, request)
    files = DrawFiles(path, request.n, shape_of_x(tuned.model), request.share)
    generator = _generator(request, beta)
    corrector = Corrector(tuned, run.f(beta), beta, request.correct, generator)
    if refused := too_dear(request.correct, corrector.pilot):
        return _told(f"no draws: {refused}")
    try:
        with files.parts.held(_identity(request, run, beta, files)):
            files.remove_leftovers()
            _draw(corrector, request, files)
            files.write()
            tally = files.tally()
            whole = Status(run.summary.get("status", status))
            trouble = doubt(whole, status, request.correct, corrector.pilot)
            if not trouble and request.correct is not Correct.NONE:
                trouble = amiss(tally, row["mean_f_ref"], row["mean_f_ref_se"])
            _tell_of(request, run, status, corrector, files, tally, trouble)
    except Stopped as stopped:
        stopped.add_note("the same command goes on")
        raise
    files.tell()
    return _told(trouble)


def _told(trouble: str) -> int:
    """The exit code, once what is wrong with the draws is told, if anything is."""
    if trouble:
        print(f"btgm sample: {trouble}", file=sys.stderr)
    return 3 if trouble else 0


def _identity(request: Request, run: LoadedRun, beta: float, files: DrawFiles) -> dict[str, Any]:
    """All that the draws depend on, so that parts of other draws are never taken for them."""
    return {
        "run": str(run.run.path.resolve()),
        "version": __version__,
        "beta": beta,
        "correct": str(request.correct),
        "n": request.n,
        "seed": request.seed,
        "threads": torch.get_num_threads(),
        "parts": list(files.parts.sizes),
        **({"shard": request.shard} if request.share.count > 1 else {}),
        "made_with": run.manifest.rows[run.index(beta)],
    }


def _draw(corrector: Corrector, request: Request, files: DrawFiles) -> None:
    """Draw the parts that are not there yet, each from a generator of its own."""
    parts = files.parts
    missing = [index for index in range(len(parts.sizes)) if not parts.is_whole(index)]
    there = files.n - sum(parts.sizes[index] for index in missing)
    if there:
        print(f"going on: {there:,} of {files.n:,} draws are there", flush=True)
    with tqdm(total=files.n, initial=there, desc="draws", unit="draw", disable=None) as bar:
        for index in missing:
            number = files.first + index
            if number:  # the first goes on where the pilot ended
                corrector.generator = _generator(request, corrector.beta, number)
            _draw_part(corrector, files, index, bar)


def _draw_part(corrector: Corrector, files: DrawFiles, index: int, bar: tqdm) -> None:
    parts = files.parts
    before, size, blocks, done = corrector.f_evals, parts.sizes[index], [], 0
    for block in corrector.draws(files.n):
        blocks.append(block.at(torch.arange(min(len(block), size - done))))
        done += len(blocks[-1])
        bar.update(len(blocks[-1]))
        if done == size:
            break
    parts.write(index, blocks, corrector.f_evals - before)


def _tell_of(
    request: Request,
    run: LoadedRun,
    status: Status,
    corrector: Corrector,
    files: DrawFiles,
    tally: Tally,
    trouble: str,
) -> None:
    """Write a picture of the first draws, and what all are."""
    heading = f"{run.summary.get('model', '?')} / {run.summary.get('criterion', '?')} · "
    heading += f"β = {corrector.beta:.4g} · correct={request.correct} · verdict: {status}"
    files.picture(heading)
    pilot = corrector.pilot
    about = {
        "run": str(run.path),
        "beta": corrector.beta,
        "correct": str(request.correct),
        "n": files.n,
        "seed": request.seed,
        "threads": torch.get_num_threads(),
        "files": [path.name for path in files.names],
        "criterion_evaluations": len(pilot.log_weights) + files.parts.f_evals,
        "log_z": pilot.log_z,
        "ess_fraction": pilot.ess_fraction,
        "pareto_k": pilot.pareto_k if np.isfinite(pilot.pareto_k) else None,
        "verdict": str(status),
        "doubt": trouble,
    }
    if request.share.count > 1:
        about |= {"shard": request.shard, "n_of_all": request.n}
    if request.correct is not Correct.NONE:
        about |= {
            "log_weight_bound": corrector.log_weight_bound,
            "mean_f": tally.mean,
            "mean_f_se": tally.mean_se,
            "effective_draws": tally.effective,
            "largest_share": tally.largest_share,
        }
    write_json(files.beside(".json"), about)


def _generator(request: Request, beta: float, *part: int) -> torch.Generator:
    return derived_generator(request.seed, "sample", request.correct, beta, *part)
