"""`btgm sample DIR`: draws of a tuned model, as they are or corrected to the exact tilt."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from btgm_cli.cli.draw_files import DrawFiles, joined
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.settings import arguments, checked, path_of, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report import draw_draws
from btgm_cli.store.files import write_json
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.truth.trust import doubt, too_dear
from btgm_cli.tuned.correction import Correct, Corrector, Draws
from btgm_cli.tuned.model import TunedModel

USAGE = """usage: btgm sample DIR [SETTING=VALUE ...]

  n=10000         draws
  beta=           a β of the run; by default its last
  correct=none    none: draws of the tuned model, with weights; resample, rejection or mcmc: draws
                  of the exact tilt, by way of the tuned model's; rejection is refused where one
                  would take more than 100 of those
  out=            a .npz file, or .parquet for vectors; by default DIR/draws/…npz. Many draws make
                  several files, numbered
  seed=0
  threads=        CPU threads; by default torch's choice. Other counts may change the last bits"""

SHOWN = 64


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

    def __post_init__(self) -> None:
        require_least(self, n=1, beta=0, seed=0)
        require_threads(self.threads)


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
    request = checked(Request, arguments(argv[1:]))
    with cpu_threads(request.threads), sparing({"n": request.n}):
        return _sample(request, load_run(path_of(argv[0])))


def _sample(request: Request, run: LoadedRun) -> int:
    """Draw, write and tell; the exit code."""
    row = run.pareto.iloc[run.index(request.beta)]
    beta, status = float(row["beta"]), Status(row["status"])
    tuned = run.tuned(beta)
    path = request.out or run.run.path / "draws" / f"beta_{beta:.6g}_{request.correct}.npz"
    files = DrawFiles(path, request.n, _shape(tuned))
    generator = derived_generator(request.seed, "sample", request.correct, beta)
    corrector = Corrector(tuned, run.f(beta), beta, generator)
    if refused := too_dear(request.correct, corrector.pilot):
        return _told(f"no draws: {refused}")
    _write(request, run, status, corrector, files)
    print("\n".join(str(path) for path in [*files.written, files.beside(".png")]))
    whole = Status(run.summary.get("status", status))
    return _told(doubt(whole, status, request.correct, corrector.pilot))


def _told(trouble: str) -> int:
    """The exit code, once what is wrong with the draws is told, if anything is."""
    if trouble:
        print(f"btgm sample: {trouble}", file=sys.stderr)
    return 3 if trouble else 0


def _write(
    request: Request, run: LoadedRun, status: Status, corrector: Corrector, files: DrawFiles
) -> None:
    """Draw, and write the draws, a picture of the first ones, and what they are."""
    first = _stream(corrector, request, files)
    heading = f"{run.summary.get('model', '?')} / {run.summary.get('criterion', '?')} · "
    heading += f"β = {corrector.beta:.4g} · correct={request.correct} · verdict: {status}"
    draw_draws(first.x.float().cpu().numpy(), heading, files.beside(".png"))
    pilot = corrector.pilot
    about = {
        "run": str(run.run.path),
        "beta": corrector.beta,
        "correct": str(request.correct),
        "n": request.n,
        "seed": request.seed,
        "threads": torch.get_num_threads(),
        "files": [path.name for path in files.written],
        "criterion_evaluations": corrector.f_evals,
        "log_z": pilot.log_z,
        "ess_fraction": pilot.ess_fraction,
        "pareto_k": pilot.pareto_k if np.isfinite(pilot.pareto_k) else None,
        "verdict": str(status),
    }
    write_json(files.beside(".json"), about)


def _stream(corrector: Corrector, request: Request, files: DrawFiles) -> Draws:
    """Hand the draws to the files; returns the first ones."""
    first: list[Draws] = []
    done = 0
    with tqdm(total=request.n, desc="draws", unit="draw", disable=None) as bar:
        for block in corrector.draws(request.correct):
            part = block.at(torch.arange(min(len(block), request.n - done)))
            if sum(map(len, first)) < SHOWN:
                first.append(part.at(torch.arange(min(len(part), SHOWN))))
            files.add(part)
            done += len(part)
            bar.update(len(part))
            if done == request.n:
                break
    files.flush()
    return joined(first)


def _shape(tuned: TunedModel) -> tuple[int, ...]:
    """The shape of one x."""
    z = tuned.model.sample_prior(2, derived_generator(0))
    with torch.no_grad():
        return tuple(tuned.model.decode(z).shape[1:])
