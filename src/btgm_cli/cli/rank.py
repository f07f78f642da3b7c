"""`btgm rank`: compare criteria before any run, from draws of the model alone (§4.2)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from btgm_cli import __version__
from btgm_cli.cli.config import build_model, compose_config, values_of
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_criterion
from btgm_cli.cli.options import Options
from btgm_cli.cli.places import dated
from btgm_cli.cli.settings import checked, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.cli.tree import conf_dir, text_of
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.memory import require_memory, sparing
from btgm_cli.core.results import Reference
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report.ranking import ABOUT, NORMS, PICTURES, RANKING, draw_ranking
from btgm_cli.store.files import replacing, require_free_of, require_writable, write_json
from btgm_cli.store.tables import write_table
from btgm_cli.tuning.checks import check_model, fitting
from btgm_cli.tuning.ranking import (
    LEAST_DRAWS,
    Look,
    Ranked,
    difficulty_text,
    in_order,
    look,
    rank,
    ratio_text,
    recommend,
    walk,
)

WALK = "ranking_k.csv"
PAPER = "paper (§4.2, another GAN): maximum norm 60-100 for h, 10-15 for log h"


@dataclass(frozen=True)
class Settings:
    """What can be set beside the model; see `conf/rank.yaml`.

    Raises:
        SettingError: a value out of range.
    """

    criteria: tuple[str, ...]
    n: int
    kl: float
    seed: int
    device: str
    threads: int | None
    out: Path | None

    def __post_init__(self) -> None:
        require_least(self, n=LEAST_DRAWS, seed=0)
        require_threads(self.threads)
        if not 0 < self.kl < math.inf:
            raise SettingError("kl", self.kl, "must be a positive number of nats")
        if not self.criteria or len(set(self.criteria)) < len(self.criteria):
            expected = "must be a list of different criteria, such as [class4,log_class4]"
            raise SettingError("criteria", list(self.criteria), expected)


@dataclass(frozen=True)
class Request:
    """What was asked for, checked and built."""

    model_name: str
    model: GenerativeModel
    criteria: dict[str, LatentCriterion]
    z: Tensor
    kl: float
    seed: int
    out: Path


def main(argv: Sequence[str]) -> int:
    """Rank criteria and leave tables and a picture.

    Raises:
        SettingError: a setting or a criterion that cannot be used, or a folder that is taken.
    """
    if any(argument in ("-h", "--help") for argument in argv):
        print(f"usage: btgm rank [SETTING=VALUE ...]\n\n{text_of(_file())}", end="")
        return 0
    cfg = compose_config("rank", Options("btgm rank").read(argv).settings)
    settings = checked(Settings, values_of(cfg, "model"))
    with cpu_threads(settings.threads):
        model = build_model(cfg.model, pick_device(settings.device))
        with sparing({"n": settings.n}):
            _rank(_request(settings, str(cfg.hydra.runtime.choices.model), model))
    return 0


def _request(settings: Settings, name: str, model: GenerativeModel) -> Request:
    """The criteria that the settings name, tried before any work."""
    seed, device = settings.seed, pick_device(settings.device)
    out = _folder(settings.out, name)
    check_model(model, seed, device)
    criteria = {item: _criterion(item, model, seed, device) for item in settings.criteria}
    require_memory("n", settings.n, 4 * settings.n * (model.latent_dim + 3), device)
    z = model.sample_prior(settings.n, derived_generator(seed, "rank", device=device))
    return Request(name, model, criteria, z, settings.kl, seed, out)


def _rank(request: Request) -> None:
    """Rank, write and tell."""
    started = time.perf_counter()
    looks, tilts, rows = {}, {}, []
    for name, f in tqdm(request.criteria.items(), desc="criteria", disable=None):
        looks[name] = look(name, f, request.z)
        tilts[name] = walk(looks[name])
        rows.append(rank(name, looks[name], tilts[name], request.kl))
    rows = in_order(rows)
    _write(request, rows, looks, tilts, time.perf_counter() - started)
    _tell(rows, request.out)


def _criterion(
    name: str, model: GenerativeModel, seed: int, device: torch.device
) -> LatentCriterion:
    """The criterion of this name, as a function of z."""
    try:
        return fitting(model, load_criterion(name), seed=seed, device=device)
    except SettingError as error:
        if not error.setting.startswith("criterion"):
            raise
        # What was typed is an item of `criteria`.
        text = str(error).partition(": ")[2]
        if "." in error.setting:
            text = f"{error}; for another one there, add a YAML of your own to the criteria"
        raise SettingError("criteria", name, text) from error


def _folder(out: Path | None, model: str) -> Path:
    """Where to write.

    Raises:
        SettingError: a ranking, or a part of one, is there already.
    """
    path = out or dated("rank", model)
    require_free_of(path, (RANKING, WALK, NORMS, ABOUT, *PICTURES))
    require_writable("out", path)
    return path


def _file() -> Path:
    return conf_dir() / "rank.yaml"


def _write(
    request: Request,
    rows: Sequence[Ranked],
    looks: dict[str, Look],
    tilts: dict[str, list[Reference]],
    seconds: float,
) -> None:
    """Tables first, then the picture, from the files alone."""
    out = request.out
    with replacing(out / NORMS) as temporary:
        norms = {row.criterion: looks[row.criterion].norms.float().numpy() for row in rows}
        np.savez(temporary, allow_pickle=False, **norms)
    walks = [_walk_rows(row, tilts[row.criterion]) for row in rows]
    write_table(out / WALK, [line for lines in walks for line in lines])
    about = {
        "model": request.model_name,
        "n": len(request.z),
        "kl": request.kl,
        "seed": request.seed,
        "device": str(request.z.device),
        "threads": torch.get_num_threads(),
        "recommendation": recommend(rows),
        "wall_seconds": round(seconds, 1),
        "versions": {"btgm": __version__, "torch": torch.__version__},
    }
    write_json(out / ABOUT, about)
    write_table(out / RANKING, [row.row for row in rows])
    draw_ranking(out)


def _walk_rows(row: Ranked, tilts: Sequence[Reference]) -> list[dict[str, Any]]:
    """Rows of `ranking_k.csv`: what importance sampling from p is worth at each β."""
    return [
        {
            "criterion": row.criterion,
            "beta": tilt.beta / row.std,
            "beta_normalized": tilt.beta,
            "kl": tilt.kl,
            "ess": tilt.ess,
            "pareto_k": tilt.pareto_k,
            "reliable": tilt.reliable,
        }
        for tilt in tilts
    ]


def _tell(rows: Sequence[Ranked], out: Path) -> None:
    """What the terminal shows: the table, the paper's figures, which to take, the folder."""
    table = pd.DataFrame([_shown(row) for row in rows])
    print(table.to_string(index=False))
    if any(re.fullmatch(r"(log_)?class\d*", row.criterion) for row in rows):
        print(PAPER)
    print(recommend(rows))
    print(out)


def _shown(row: Ranked) -> dict[str, str]:
    """One line of the table on the terminal."""
    return {
        "criterion": row.criterion,
        "difficulty": difficulty_text(row),
        "median norm": f"{row.norm_median:.3g}",
        "mean": f"{row.norm_mean:.3g}",
        "p99": f"{row.norm_p99:.3g}",
        "max": f"{row.norm_max:.3g}",
        "plateau": f"{row.plateau:.1%}",
        "tail": ratio_text(row),
        "max KL": f"{'> ' * row.kl_max_is_bound}{row.kl_max:.2f}",
        "Pareto k at 1 nat": f"{row.row['pareto_k_at_kl_1']:.2f}",
    }
