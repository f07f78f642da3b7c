"""One check of a user's model and criterion before the work starts, naming what is wrong."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from btgm_cli.core.blame import blaming, name_of
from btgm_cli.core.contracts import (
    Classified,
    Criterion,
    GenerativeModel,
    KnowsTilts,
    SeesPrior,
    StochasticDecoder,
    Summed,
)
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import (
    CHUNK,
    LatentCriterion,
    draw_x,
    evaluate,
    settled,
    shape_of_x,
)
from btgm_cli.core.memory import require_memory
from btgm_cli.core.results import Reference
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.core.views import SETTING
from btgm_cli.tuning.prior_check import check_prior
from btgm_cli.tuning.settings import Gradient, Tuning
from btgm_cli.tuning.trial import OTHER_SIZES, N, Trial, leaves

N_CONSTANT = 4000
"""Draws on which f must vary, where the first are all alike: it may be a rare event."""

MEMBERS = ("latent_dim", "sample_prior", "prior_log_prob", "decode")
"""Of a model."""


def fitting(
    model: GenerativeModel,
    criterion: Criterion,
    *,
    f_samples: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> LatentCriterion:
    """f̂ of a model and a criterion, tried on a few draws, and normalized where it asks for that.

    Args:
        model: the frozen generator, checked.
        criterion: f.
        f_samples: draws of x for each z, see `LatentCriterion`.
        seed: of the normalization, of a decoder's noise, and of the draws tried.
        device: where both are.

    Raises:
        SettingError: names the model or the criterion, and its fault.
    """
    generator = derived_generator(seed, "check", device=device)
    with blaming("model", name_of(model), "noise or decode_with fails"):
        x = draw_x(model, model.sample_prior(N, generator), generator)
    floats = (f_samples or 1) * CHUNK * x[0].numel()
    require_memory("tuning.f_samples", f_samples, floats, device)
    for setting, part in leaves(criterion):
        if not isinstance(part, SeesPrior):
            _check_f(setting, part, x)
    with blaming("criterion", name_of(criterion), "fails under this model"):
        known = settled(criterion, model, derived_generator(seed, "normalize"), device)
    with blaming("model", name_of(model), "noise fails"):
        return LatentCriterion(model, known, f_samples, seed, device)


def check_model(model: GenerativeModel, seed: int, device: torch.device | str = "cpu") -> None:
    """Try a model alone: members, shapes, and whether its draws are those of its density.

    Raises:
        SettingError: names the model and its fault.
    """
    check_members(model)
    generator = derived_generator(seed, "check model", device=device)
    try_it = partial(Trial, "model", model)
    z = _draws(model, N, generator)
    for n in OTHER_SIZES:
        _draws(model, n, generator)
    with torch.no_grad():
        try_it("prior_log_prob", "z", model.prior_log_prob).run(z)
        if not isinstance(model, StochasticDecoder):
            try_it("decode", "z", model.decode).run(z, vector=False)
    check_prior(model, derived_generator(seed, "check prior", device=device))


def check_members(model: object) -> None:
    """Refuse what is no model, before it is asked for anything.

    Raises:
        SettingError: names what it lacks.
    """
    name, missing = name_of(model), []
    with blaming("model", name, "cannot be looked at"):
        missing = [member for member in MEMBERS if not hasattr(model, member)]
    if missing:
        expected = f"has no {', '.join(missing)}; a model needs {', '.join(MEMBERS)}"
        raise SettingError("model", name, f"{expected}, see btgm_cli.StandardNormal")
    dim = getattr(model, "latent_dim", None)
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise SettingError("model", name, f"latent_dim must be a whole number, not {dim!r}")


def check_pair(f: LatentCriterion, generator: torch.Generator) -> bool:
    """Try f̂ on a few draws: shape, finiteness, and whether f varies.

    Returns:
        Whether f̂ has a gradient to follow.

    Raises:
        SettingError: names the criterion and its fault.
    """
    z = f.model.sample_prior(N, generator).requires_grad_()
    x = draw_x(f.model, z.detach(), generator)
    name = name_of(f.criterion)
    _check_f("criterion", f.criterion, x)
    _check_known(f, x)
    with blaming("criterion", name, "fails where its gradient in z is asked for"):
        values = f(z)
    Trial("criterion", f.criterion, "f", "x", f.criterion).checked(values, z)
    if _is_constant(values) and _is_constant(
        evaluate(f, f.model.sample_prior(N_CONSTANT, generator))
    ):
        expected = f"f is {values[0].item():z.4g} on all {N_CONSTANT} draws: nothing to favour"
        raise SettingError("criterion", name, expected)
    if values.grad_fn is None:
        return False
    with blaming("criterion", name, "fails where its gradient in z is asked for"):
        (gradient,) = torch.autograd.grad(values.sum(), z, materialize_grads=True)
    if not torch.isfinite(gradient).all():
        share = (~torch.isfinite(gradient)).any(-1).double().mean().item()
        expected = f"the gradient of f is not finite for {share:.1%} of draws"
        raise SettingError("criterion", name, expected)
    return bool(gradient.any())


def chosen_gradient(settings: Tuning, has_gradient: bool, criterion: Criterion) -> Gradient:
    """The gradient to train by, where `auto` is settled.

    Raises:
        SettingError: f̂ has no gradient to reparametrise.
    """
    wanted = settings.gradient
    if wanted is Gradient.AUTO and settings.min_acceptance_rate < 1:
        return Gradient.SURROGATE
    if wanted is Gradient.AUTO:
        return Gradient.REPARAMETRISED if has_gradient else Gradient.SCORE
    if wanted is Gradient.REPARAMETRISED and not has_gradient:
        expected = f"{name_of(criterion)} has no gradient in z; choose surrogate, score or auto"
        raise SettingError("tuning.gradient", str(wanted), expected)
    return Gradient(wanted)


def check_sizes(f: LatentCriterion, settings: Tuning, device: torch.device | str) -> None:
    """Refuse more draws than memory can hold at once.

    Raises:
        SettingError: names the setting.
    """
    latent, x = f.model.latent_dim, math.prod(shape_of_x(f.model, device))
    for name in ("n_eval", "n_reference", "n_particles"):  # z, f and what is derived from them
        count = getattr(settings, name)
        require_memory(f"tuning.{name}", count, 4 * count * (latent + 3), device)
    # Every layer keeps what its gradient takes.
    floats = 10 * settings.batch_size * (settings.f_samples or 1) * (latent + x)
    require_memory("tuning.batch_size", settings.batch_size, floats, device)


def check_target(target: Target, criterion: Criterion) -> None:
    """Refuse wishes for terms that the criterion does not have.

    Raises:
        SettingError: no sum, or other names than those of its terms.
    """
    for view in target.asked:
        if not isinstance(criterion, Summed):
            expected = (
                f"{name_of(criterion)} has no terms; views need a sum, such as criterion=sum"
            )
            raise SettingError(SETTING, view.text, expected)
        if view.of not in criterion.terms:
            expected = f"no criterion {view.of}; choose from {', '.join(criterion.terms)}"
            raise SettingError(SETTING, view.text, expected)
    if target.at_least is None:
        return
    if not isinstance(criterion, Summed):
        expected = f"{name_of(criterion)} has no terms; choose criterion=sum, or a sum of your own"
        raise SettingError("target.at_least", dict(target.at_least), expected)
    if set(target.at_least) != set(criterion.terms):
        expected = f"must give a mean for each of {', '.join(criterion.terms)}"
        raise SettingError("target.at_least", dict(target.at_least), expected)


def _draws(model: GenerativeModel, n: int, generator: torch.Generator) -> Tensor:
    """Draws z (n, D) of the prior, if that is what it gives."""
    trial = Trial("model", model, "sample_prior", "z", model.prior_log_prob)
    wanted = (n, model.latent_dim)
    with blaming("model", name_of(model), f"sample_prior({n}) fails"):
        z = model.sample_prior(n, generator)
    if not isinstance(z, Tensor) or z.shape != wanted or not z.is_floating_point():
        got = f"{tuple(z.shape)} {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise trial.refusal(f"must return floats of shape (n, latent_dim) = {wanted}, not {got}")
    # A generator made on "cuda" has no index, and what it draws has.
    if z.device != torch.empty(0, device=generator.device).device:
        raise trial.refusal(f"must draw on {generator.device}, where its generator is")
    if not torch.isfinite(z).all():
        raise trial.refusal("gives draws that are not finite")
    return z


def _check_f(setting: str, criterion: object, x: Tensor) -> None:
    """Try one criterion on x (N, *X)."""
    if not callable(criterion):
        expected = "must be a function of x, or an object that can be called as one"
        raise SettingError(setting, name_of(criterion), expected)
    with torch.no_grad():
        Trial(setting, criterion, "f", "x", criterion).run(x)


def _check_known(f: LatentCriterion, x: Tensor) -> None:
    """Try what else a criterion says that it knows: classes of x (N, *X), and its tilts."""
    criterion, name = f.criterion, name_of(f.criterion)
    if isinstance(criterion, Classified):
        with torch.no_grad(), blaming("criterion", name, "classes fails"):
            found = criterion.classes(x.clone())
            whole = not found.is_floating_point() and found.shape == (len(x),)
            fits = whole and bool(((found >= 0) & (found < criterion.n_classes)).all())
        if not fits:
            expected = "classes must return whole numbers of shape (n,), from 0 to n_classes − 1"
            raise SettingError("criterion", name, expected)
    if isinstance(criterion, KnowsTilts):
        with blaming("criterion", name, "closed_form fails"):
            source = criterion.closed_form(f.model)
            known = source is None or isinstance(source.at(0.0), Reference)
        if not known:
            expected = "closed_form must return a source whose at(β) gives a Reference, or None"
            raise SettingError("criterion", name, expected)


def _is_constant(values: Tensor) -> bool:
    return bool((values == values[0]).all())
