"""`btgm free-energy DIR`: free energies of a run's tilt in kT, refused where they may be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from btgm_cli import __version__
from btgm_cli.cli.coordinates import coordinate_of
from btgm_cli.cli.free_energies import Told, between, refused
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.settings import arguments, checked, path_of, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import draw_x, shape_of_x
from btgm_cli.core.memory import sparing
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report.free_energy import ABOUT, PROFILE, draw_profile
from btgm_cli.store.files import require_free_of, require_writable, write_json
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import finite_or_none, write_table
from btgm_cli.tilt.free_energy import Difference, Profile, difference, profile
from btgm_cli.truth.free_energy import Weighed, contradicted, too_few, weighed
from btgm_cli.truth.trust import doubt, off
from btgm_cli.tuned.correction import Correct, Corrector
from btgm_cli.tuned.guests import Guest

USAGE = """usage: btgm free-energy DIR along=x0 range=[LOW,HIGH] [SETTING=VALUE ...]
       btgm free-energy DIR1 DIR2 [SETTING=VALUE ...]

Of one run, F(r) = -log p(r) in kT along a coordinate r of x, by weighted draws of its tuned model
and, as many, of p, which visits what lies between the basins:

  along=          x0, x1, … of x in a row, or module:function, which takes x and gives one number
                  for each
  range=          [LOW,HIGH] of the coordinate
  bins=100        of the profile
  split=          also the difference of the sides, F(r > split) - F(r < split)
  beta=           a β of the run; by default its last
  n=100000        draws
  also=           [DIR2,...]: other runs on the same x, of whose tuned models as many draws take
                  part, such as one led along the coordinate; all know the density of x
  out=            a folder; by default DIR/free_energy/…

Of two runs, F2 - F1 = -log Z2 + log Z1 of their last β, by Bennett's acceptance ratio between the
draws of each tuned model and those of the exact tilt that its run has kept:

  n=100000        draws of each tuned model
  out=            a folder; by default DIR1/free_energy/…

For both:

  seed=0
  threads=        CPU threads; by default torch's choice. Other counts may change the last bits

Where the weights' Pareto k is too large, or a side may have been lost, nothing is written and the
exit code is 3."""


@dataclass(frozen=True)
class Request:
    """What was asked of one run; see `USAGE`.

    Raises:
        SettingError: a value out of range.
    """

    along: str
    range: tuple[float, ...]
    split: float | None = None
    bins: int = 100
    beta: float | None = None
    n: int = 100_000
    also: tuple[Path, ...] = ()
    seed: int = 0
    threads: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        require_least(self, bins=1, beta=0, n=1000, seed=0)
        require_threads(self.threads)
        if len(self.range) != 2 or not all(map(math.isfinite, self.range)):
            raise SettingError("range", list(self.range), "must be two numbers, as [-2.5,2.5]")
        low, high = self.range
        if not low < high:
            raise SettingError("range", list(self.range), "must rise from the first to the second")
        if self.split is not None and not low < self.split < high:
            expected = f"must lie within the range, {low:g} … {high:g}"
            raise SettingError("split", self.split, expected)

    def folder(self, run: LoadedRun, beta: float) -> Path:
        """Where to write."""
        name = self.along.replace(":", ".")
        return self.out or run.path / "free_energy" / f"beta_{beta:.6g}_{name}"


def main(argv: Sequence[str]) -> int:
    """Tell free energies of one run, or of two.

    Returns:
        0, or 3 where they cannot be relied on; nothing is written then.

    Raises:
        SettingError: no such run, β or coordinate, a setting out of range, or files in the way.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    folders = [item for item in argv if "=" not in item or path_of(item).exists()]
    settings = arguments([item for item in argv if item not in folders])
    if not 1 <= len(folders) <= 2:
        raise SettingError("run directory", folders, "name one, or two: btgm free-energy DIR …")
    if len(folders) == 2:
        return between([path_of(name) for name in folders], settings)
    request = checked(Request, settings)
    with cpu_threads(request.threads), sparing({"n": request.n}):
        return _along(request, load_run(path_of(folders[0])))


def _along(request: Request, run: LoadedRun) -> int:
    """Weigh, judge, write and tell; the exit code."""
    index = run.index(request.beta)
    row = run.pareto.iloc[index]
    beta, status = float(row["beta"]), Status(row["status"])
    out = request.folder(run, beta)
    require_writable("out", out)
    require_free_of(out, (ABOUT, PROFILE))
    tuned = run.tuned(beta)
    along = coordinate_of(request.along, shape_of_x(tuned.model))
    generator = derived_generator(request.seed, "free energy", beta)
    guests = [_guest(path, run.model) for path in request.also]
    corrector = Corrector(
        tuned, run.f(beta), beta, Correct.RESAMPLE, generator, n=request.n, among=guests
    )
    whole = Status(run.summary.get("status", status))
    if trouble := doubt(whole, status, Correct.RESAMPLE, corrector.pilot):
        return refused(run, trouble)
    draws = weighed(corrector, along, request.n)
    splits = () if request.split is None else (request.split,)
    sides = [difference(draws.along, draws.log_weights, split) for split in splits]
    trouble = next(filter(None, map(too_few, sides)), "")
    trouble = trouble or off(*draws.mean_f(), row["mean_f_ref"], row["mean_f_ref_se"])
    if not trouble and (kept := run.reference(index)):
        exact = along(draw_x(run.model, torch.from_numpy(kept.z), generator)).double()
        trouble = contradicted(draws, exact, kept.independent, *splits)
    if trouble:
        return refused(run, trouble)
    low, high = request.range
    edges = torch.linspace(low, high, request.bins + 1, dtype=torch.double)
    found = profile(draws.along, draws.log_weights, edges)
    told = Told(run, beta, status, corrector)
    _write(out, request, told, draws, found, sides)
    _tell(request, sides, out)
    return 0


def _guest(path: Path, model: GenerativeModel) -> Guest:
    """The tuned model at the last β of another run on the same x.

    Raises:
        SettingError: no such run, another x, or a model that does not know its density.
    """
    other = load_run(path).tuned()
    if shape_of_x(other.model) != shape_of_x(model):
        expected = f"has x of shape {shape_of_x(other.model)}, not {shape_of_x(model)}"
        raise SettingError("also", str(path), expected)
    try:
        return Guest(other, model)
    except TypeError as error:
        raise SettingError("also", str(path), str(error)) from error


def _write(
    out: Path,
    request: Request,
    told: Told,
    draws: Weighed,
    found: Profile,
    sides: Sequence[Difference],
) -> None:
    """The profile's table, what it is, and its picture from these files alone."""
    columns = (found.edges[:-1], found.edges[1:], found.free_energy, found.error, found.effective)
    names = ("left", "right", "free_energy_kt", "free_energy_kt_se", "effective_draws")
    numbers = [[finite_or_none(value) for value in column.tolist()] for column in columns]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*numbers, strict=True)]
    write_table(out / PROFILE, rows)
    mean, mean_se = draws.mean_f()
    about: dict[str, Any] = {
        **told.about(),
        "along": request.along,
        "range": list(request.range),
        "bins": request.bins,
        "n": request.n,
        "also": [str(path) for path in request.also],
        "share_of_p": told.corrector.proposals.share,
        "seed": request.seed,
        "threads": torch.get_num_threads(),
        "mean_f": mean,
        "mean_f_se": mean_se,
        "version": __version__,
    }
    for side in sides:
        about |= {
            "split": request.split,
            "delta_f_kt": side.value,
            "delta_f_kt_se": side.error,
            "share_above": side.above,
            "effective_draws_of_a_side": side.effective,
        }
    write_json(out / ABOUT, about)
    draw_profile(out)


def _tell(request: Request, sides: Sequence[Difference], out: Path) -> None:
    """What the terminal shows."""
    for side in sides:
        along, at = request.along, f"{request.split:g}"
        told = f"{side.value:.4f} ± {side.error:.2g} kT"
        print(f"F({along} > {at}) - F({along} < {at}) = {told}")
    print(out)
