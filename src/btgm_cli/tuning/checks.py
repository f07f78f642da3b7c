"""One check of a user's model and criterion before the work starts, naming what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core import Criterion, GenerativeModel, SettingError

N = 64
"""Draws tried."""


def check_pair(model: GenerativeModel, criterion: Criterion, generator: torch.Generator) -> None:
    """Try the pair on a few draws: shapes, finiteness, and a gradient to follow.

    Raises:
        SettingError: names the model or the criterion, and its fault.
    """
    z = model.sample_prior(N, generator).requires_grad_()
    if z.shape != (N, model.latent_dim):
        expected = f"sample_prior({N}) must return shape ({N}, {model.latent_dim})"
        raise SettingError("model", _name(model), f"{expected}, not {tuple(z.shape)}")
    _check_vector("model", _name(model), "prior_log_prob", model.prior_log_prob(z))
    x = model.decode(z)
    if x.shape[0] != N:
        expected = f"decode must return one x for each of {N} z, not shape {tuple(x.shape)}"
        raise SettingError("model", _name(model), expected)
    f = _apply(criterion, x)
    _check_vector("criterion", _name(criterion), "f", f)
    if f.grad_fn is None:
        expected = "f(decode(z)) has no gradient in z; the flow needs a differentiable criterion"
        raise SettingError("criterion", _name(criterion), expected)
    (gradient,) = torch.autograd.grad(f.sum(), z)
    if not torch.isfinite(gradient).all():
        share = (~torch.isfinite(gradient)).any(-1).double().mean().item()
        expected = f"the gradient of f is not finite for {share:.1%} of draws"
        raise SettingError("criterion", _name(criterion), expected)
    if not gradient.any():
        raise SettingError("criterion", _name(criterion), "the gradient of f is zero everywhere")


def _apply(criterion: Criterion, x: Tensor) -> Tensor:
    try:
        return criterion(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())
        expected = f"fails on x of shape {tuple(x.shape)} ({reason})"
        raise SettingError("criterion", _name(criterion), expected) from error


def _check_vector(setting: str, value: str, what: str, result: Tensor) -> None:
    if not isinstance(result, Tensor) or result.shape != (N,) or not result.is_floating_point():
        got = (
            f"{tuple(result.shape)} {result.dtype}" if isinstance(result, Tensor) else "no tensor"
        )
        expected = f"{what} must return floats of shape (n,) = ({N},), not {got}"
        raise SettingError(setting, value, expected)
    bad = (~torch.isfinite(result)).double().mean().item()
    if bad:
        raise SettingError(setting, value, f"{what} is not finite for {bad:.1%} of draws")


def _name(thing: object) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))
