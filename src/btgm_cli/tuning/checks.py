"""One check of a user's model and criterion before the work starts, naming what is wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion, GenerativeModel, Summed
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, draw_x, evaluate
from btgm_cli.core.target import Target
from btgm_cli.tuning.settings import Gradient

N = 64
"""Draws tried."""

N_CONSTANT = 4000
"""Draws on which f must vary, where the first are all alike: it may be a rare event."""


def check_pair(f: LatentCriterion, generator: torch.Generator) -> bool:
    """Try a model and a criterion on a few draws: shapes, finiteness, and whether f varies.

    Returns:
        Whether f̂ has a gradient to follow.

    Raises:
        SettingError: names the model or the criterion, and its fault.
    """
    z = _check_model(f.model, generator).requires_grad_()
    x = draw_x(f.model, z.detach(), generator)
    _check_f(f.criterion, _apply(f.criterion, x))
    values = f(z)
    _check_f(f.criterion, values)
    name = _name(f.criterion)
    if _is_constant(values) and _is_constant(
        evaluate(f, f.model.sample_prior(N_CONSTANT, generator))
    ):
        expected = f"f is {values[0].item():z.4g} on all {N_CONSTANT} draws: nothing to favour"
        raise SettingError("criterion", name, expected)
    if values.grad_fn is None:
        return False
    (gradient,) = torch.autograd.grad(values.sum(), z, materialize_grads=True)
    if not torch.isfinite(gradient).all():
        share = (~torch.isfinite(gradient)).any(-1).double().mean().item()
        expected = f"the gradient of f is not finite for {share:.1%} of draws"
        raise SettingError("criterion", name, expected)
    return bool(gradient.any())


def chosen_gradient(wanted: Gradient, has_gradient: bool, criterion: Criterion) -> Gradient:
    """The gradient to train by, where `auto` is settled.

    Raises:
        SettingError: f̂ has no gradient to reparametrise.
    """
    if wanted is Gradient.AUTO:
        return Gradient.REPARAMETRISED if has_gradient else Gradient.SCORE
    if wanted is Gradient.REPARAMETRISED and not has_gradient:
        expected = f"{_name(criterion)} has no gradient in z; choose score or auto"
        raise SettingError("tuning.gradient", str(wanted), expected)
    return Gradient(wanted)


def check_target(target: Target, criterion: Criterion) -> None:
    """Refuse wishes for terms that the criterion does not have.

    Raises:
        SettingError: no sum, or other names than those of its terms.
    """
    if target.at_least is None:
        return
    if not isinstance(criterion, Summed):
        expected = f"{_name(criterion)} has no terms; choose criterion=sum, or a sum of your own"
        raise SettingError("target.at_least", dict(target.at_least), expected)
    if set(target.at_least) != set(criterion.terms):
        expected = f"must give a mean for each of {', '.join(criterion.terms)}"
        raise SettingError("target.at_least", dict(target.at_least), expected)


def _check_model(model: GenerativeModel, generator: torch.Generator) -> Tensor:
    """Draws z (N, D) of a model whose methods return what they should."""
    z = model.sample_prior(N, generator)
    if z.shape != (N, model.latent_dim):
        expected = f"sample_prior({N}) must return shape ({N}, {model.latent_dim})"
        raise SettingError("model", _name(model), f"{expected}, not {tuple(z.shape)}")
    _check_vector("model", _name(model), "prior_log_prob", model.prior_log_prob(z))
    x = model.decode(z)
    if x.shape[0] != N:
        expected = f"decode must return one x for each of {N} z, not shape {tuple(x.shape)}"
        raise SettingError("model", _name(model), expected)
    return z


def _check_f(criterion: Criterion, values: Tensor) -> None:
    _check_vector("criterion", _name(criterion), "f", values)


def _is_constant(values: Tensor) -> bool:
    return bool((values == values[0]).all())


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
