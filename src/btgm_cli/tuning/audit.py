"""`audit`: anyone's draws, from Python."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.blame import blaming, name_of
from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, draw_x
from btgm_cli.core.seeds import derived_generator
from btgm_cli.truth.audit import Draws, examine_draws
from btgm_cli.truth.audit_verdict import Audit, judge_draws, limit_of
from btgm_cli.truth.references import reference_for
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuning.checks import check_model, fitting

Values = Tensor | NDArray[np.floating]

LEAST_DRAWS = 100
"""Fewer tell nothing."""


def audit(
    z: Values | None,
    model: GenerativeModel,
    criterion: Criterion,
    beta: float,
    log_q: Values | None = None,
    *,
    x: Values | None = None,
    thresholds: Thresholds | None = None,
    f_samples: int | None = None,
    n_reference: int = 50_000,
    n_particles: int = 8_000,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Audit:
    """Hold anyone's draws against the exact tilt q_β ∝ p·exp(βf).

    Args:
        z: unweighted draws of the latent variable, shape (n, D), n at least 100; None for x.
        model: the frozen generator, on `device`.
        criterion: f.
        beta: the tilt, per unit of f.
        log_q: log density of these draws in the latent space, nats, shape (n,), if it is known.
        x: the draws where z is not known, shape (n, *X); ignored beside z.
        thresholds: of the verdict.
        f_samples: draws of x for each z of a stochastic decoder, see `Tuning`.
        n_reference: draws of p behind the reference.
        n_particles: of the reference's tempered SMC, where one is needed.
        seed: of everything random.
        device: where to compute.

    Returns:
        `status` with its reason and remedy, and all `figures`: E f, coverage, precision, shares
        of classes, tests and, with log q̂, `kl_gap` in nats.

    Raises:
        SettingError: draws of another shape, or not finite, or a model or criterion that cannot
            be used.

    Examples:
        >>> import torch
        >>> from btgm_cli import audit, load_criterion, load_model
        >>> model, criterion = load_model("gaussian"), load_criterion("linear")
        >>> z = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
        >>> tilt = criterion.tilted(0.5, z)  # exact draws at β = 0.5
        >>> print(audit(tilt, model, criterion, beta=0.5).status)
        ok
        >>> wrong = audit(tilt, model, criterion, beta=0.8)
        >>> print(wrong.status, wrong.verdict.reason)
        undertrained E f is 0.4764 instead of 0.8, p = ...
    """
    if not isinstance(beta, int | float) or not 0 <= beta < math.inf:
        raise SettingError("beta", beta, "must be a finite number, 0 or more")
    check_model(model, seed, device)
    f = fitting(model, criterion, f_samples=f_samples, seed=seed, device=device)
    draws = _checked(z, x, log_q, f, torch.device(device))
    reference = reference_for(f, n_reference, n_particles, seed, device)
    with blaming("criterion", name_of(criterion), "fails on these draws"):
        figures, pictured = examine_draws(draws, f, beta, reference, seed)
    verdict, remedy = judge_draws(figures, thresholds or Thresholds())
    return Audit(beta, figures, limit_of(figures), verdict, remedy, pictured)


def _checked(
    z: Values | None,
    x: Values | None,
    log_q: Values | None,
    f: LatentCriterion,
    device: torch.device,
) -> Draws:
    """The draws as tensors of the right shapes."""
    if z is None:
        if log_q is not None:
            raise SettingError("log_q", "given", "is of draws z: give them too")
        generator = derived_generator(0, "shape", device=device)
        one = draw_x(f.model, f.model.sample_prior(2, generator), generator)
        return Draws(None, _tensor("x", x, tuple(one.shape[1:]), device))
    places = _tensor("z", z, (f.model.latent_dim,), device)
    if log_q is None:
        return Draws(places)
    density = _tensor("log_q", log_q, (), device)
    if len(density) != len(places):
        expected = f"must have a value for each of the {len(places)} draws"
        raise SettingError("log_q", f"array of {len(density)}", expected)
    return Draws(places, None, density)


def _tensor(
    name: str, values: Values | None, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Draws (n, *shape), all finite."""
    given = torch.empty(0) if values is None else _own(values)
    found = f"array {tuple(given.shape)} of {str(given.dtype).removeprefix('torch.')}"
    if given.shape[1:] != shape or given.dim() != 1 + len(shape) or not given.is_floating_point():
        wanted = ", ".join(["n", *map(str, shape)])
        raise SettingError(name, found, f"must be floats of shape ({wanted})")
    if len(given) < LEAST_DRAWS:
        raise SettingError(name, found, f"must be {LEAST_DRAWS} draws or more")
    bad = int((~torch.isfinite(given)).sum())
    if bad:
        raise SettingError(name, found, f"must be finite, but {bad} of the numbers are not")
    # A log density keeps its digits; z and x are what the model computes with.
    return given.to(device, torch.get_default_dtype() if shape else torch.double)


def _own(values: Values) -> Tensor:
    """Values as a tensor, whatever the strides and the order of bytes of an array."""
    if isinstance(values, Tensor):
        return values.detach()
    return torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
