"""`btgm audit FILE`: anyone's draws held against the exact tilt, with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from btgm_cli import __version__
from btgm_cli.cli.config import build_model, build_object, compose_config, values_of
from btgm_cli.cli.given_draws import given_draws
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.places import dated
from btgm_cli.cli.settings import checked, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.cli.tree import conf_dir, text_of
from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Status
from btgm_cli.core.target import Target
from btgm_cli.report.audit import ABOUT, SEEN, TESTS, draw_audit
from btgm_cli.store.files import file_hash, replacing, require_writable, write_json
from btgm_cli.store.tables import finite_or_none, write_table
from btgm_cli.truth.audit_verdict import Audit, failed
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuning.audit import audit

PARTS = ("model", "criterion", "target", "verdict")


@dataclass(frozen=True)
class Settings:
    """What can be set beside the parts; see `conf/audit.yaml`.

    Raises:
        SettingError: a value out of range.
    """

    f_samples: int | None
    n_reference: int
    n_particles: int
    seed: int
    device: str
    threads: int | None
    out: Path | None

    def __post_init__(self) -> None:
        require_least(self, f_samples=1, n_reference=1000, n_particles=100, seed=0)
        require_threads(self.threads)
        if self.out is not None:
            require_writable("out", self.out)


def main(argv: Sequence[str]) -> int:
    """Audit a file of draws.

    Returns:
        0 for the verdict ok, else 3; tables and picture are written in either case.

    Raises:
        SettingError: a setting, or draws, that cannot be used, or a folder that is taken.
        DataError: a damaged file.
    """
    if not argv or argv[0] in ("-h", "--help"):
        usage = "usage: btgm audit FILE target.betas=[BETA] [SETTING=VALUE ...]"
        print(f"{usage}\n\n{text_of(conf_dir() / 'audit.yaml')}", end="")
        return 0 if argv else 2
    if argv[0].partition("=")[1] and not Path(argv[0]).exists():
        raise SettingError("draws", argv[0], "name a file of draws first: btgm audit FILE …")
    cfg = compose_config("audit", argv[1:])
    settings = checked(Settings, values_of(cfg, *PARTS))
    beta = _beta(cfg)
    names = {group: str(cfg.hydra.runtime.choices[group]) for group in ("model", "criterion")}
    out = _folder(settings.out, names)
    with cpu_threads(settings.threads):
        found = _audit(Path(argv[0]), cfg, settings, beta)
    _write(out, found, Path(argv[0]), names, settings)
    _tell(found, out)
    return 0 if found.status is Status.OK else 3


def _beta(cfg: DictConfig) -> float:
    """The one β of the draws."""
    target = checked(Target, values_of(cfg.target), "target.")
    if target.betas is None or len(target.betas) != 1:
        given = None if target.betas is None else list(target.betas)
        expected = "must be the one β that the draws are said to have, such as [0.5]"
        raise SettingError("target.betas", given, expected)
    return float(target.betas[0])


def _audit(path: Path, cfg: DictConfig, settings: Settings, beta: float) -> Audit:
    """Build the parts, read the draws and judge them."""
    device = pick_device(settings.device)
    thresholds = checked(Thresholds, values_of(cfg.verdict), "verdict.")
    model = build_model(cfg.model, device)
    given = given_draws(path, model.latent_dim)
    return audit(
        given.get("z"),
        model,
        build_object(cfg.criterion, "criterion"),
        beta,
        given.get("log_q"),
        x=given.get("x"),
        thresholds=thresholds,
        f_samples=settings.f_samples,
        n_reference=settings.n_reference,
        n_particles=settings.n_particles,
        seed=settings.seed,
        device=device,
    )


def _folder(out: Path | None, names: dict[str, str]) -> Path:
    """Where to write.

    Raises:
        SettingError: an audit is there already.
    """
    path = out or dated("audit", *names.values())
    if (path / ABOUT).exists():
        raise SettingError("out", str(path), f"already holds an {ABOUT}; choose another folder")
    return path


def _write(
    out: Path, found: Audit, draws: Path, names: dict[str, str], settings: Settings
) -> None:
    """Tables first, then the picture, from the files alone."""
    with replacing(out / SEEN) as temporary:
        np.savez(temporary, allow_pickle=False, **asdict(found.pictured))
    failing = failed(found.figures)
    rows = [
        asdict(test) | {"limit": found.limit, "failed": test in failing}
        for test in found.figures.comparisons
    ]
    write_table(out / TESTS, rows)
    about = {
        "draws": str(draws),
        "draws_hash": file_hash(draws),
        **names,
        "beta": found.beta,
        "status": str(found.status),
        "reason": found.verdict.reason,
        "remedy": found.remedy,
        **_plain(asdict(found.figures)),
        "seed": settings.seed,
        "threads": torch.get_num_threads(),
        "versions": {"btgm": __version__, "torch": torch.__version__},
    }
    write_json(out / ABOUT, about)
    draw_audit(out)


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as JSON has them; the tests have a table of their own."""
    return {
        name: _plain(value) if isinstance(value, dict) else finite_or_none(value)
        for name, value in figures.items()
        if name != "comparisons"
    }


def _tell(found: Audit, out: Path) -> None:
    """What the terminal shows."""
    figures, exact = found.figures, found.figures.reference
    lines = [
        f"draws      {figures.n}, {figures.n_distinct} distinct, worth {figures.n_effective:.0f}",
        f"E f        {figures.mean_f:.4g} ± {figures.mean_f_se:.2g}"
        f" (tilt {exact.mean:.4g} ± {exact.mean_se:.2g}, by {exact.method})",
        f"coverage   {figures.coverage:.1%} ± {figures.coverage_se:.1%}",
        f"precision  {figures.precision:.1%} ± {figures.precision_se:.1%}",
    ]
    lines += [
        f"{test.test:19} p = {test.p:.2g}{'  fails' if test in failed(figures) else ''}"
        for test in figures.comparisons
    ]
    if weights := figures.weights:
        lines.append(f"kl_gap     {weights.kl_gap:.3g} ± {weights.kl_gap_se:.2g} nats")
    reason = f": {found.verdict.reason}" if found.verdict.reason else ""
    lines.append(f"verdict    {found.status}{reason}")
    if found.remedy:
        lines.append(f"remedy     {found.remedy}")
    print("\n".join([*lines, str(out)]))
