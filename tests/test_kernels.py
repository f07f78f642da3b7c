"""Kernels along a coordinate: their means of a normal in closed form, their wishes, refusals."""

import math

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.combined.kernels import Kernels, along
from btgm_cli.domains.densities.energy import Energy
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.domains.densities.systems import double_well

N = 40_000


def first(x):
    return along(x, [1.0, 0.0])


def kernels(**settings):
    return Kernels(
        **{"of": Energy(double_well), "coordinate": first, "low": -2.5, "high": 2.5} | settings
    )


def test_their_means_of_a_normal_are_the_closed_forms():
    """R ~ N(m, s²) has E hₖ = σ/√(σ² + s²) · exp(−(m − centre)² / 2(σ² + s²))."""
    model, generator = Normal(2, mean=[0.4, 0.0], scale=[0.8, 1.0]), derived_generator(0)
    found = settled(kernels(), model, generator)
    parts = found.parts(model.decode(model.sample_prior(N, generator))).double()
    assert list(found.terms) == ["of", *(f"k{i}" for i in range(11))]
    width, centres = 5 / 11, torch.linspace(-2.5, 2.5, 11, dtype=torch.double)
    spread = width**2 + 0.8**2
    exact = width / math.sqrt(spread) * torch.exp(-((0.4 - centres) ** 2) / (2 * spread))
    errors = parts[:, 1:].std(0) / math.sqrt(N)
    assert (abs(parts[:, 1:].mean(0) - exact) < 4 * errors).all()


def test_a_coordinate_spread_evenly_has_means_of_a_quarter_and_half_of_that_at_the_ends():
    x = torch.stack([torch.linspace(-2.5, 2.5, 20_001), torch.zeros(20_001)], -1)
    means = torch.stack([kernels().terms[f"k{i}"](x).mean() for i in range(11)])
    assert means[5].item() == pytest.approx(math.sqrt(2 * math.pi) / 11, abs=1e-4)
    assert means[0].item() == pytest.approx(math.sqrt(2 * math.pi) / 22, abs=1e-4)


def test_the_first_weights_are_those_of_the_criterion_alone():
    model, generator = Normal(2, scale=1.5), derived_generator(1)
    x = model.decode(model.sample_prior(50, generator))
    found = settled(kernels(count=3), model, generator)
    assert torch.allclose(found(x), -double_well(x) - model.log_prob(x), atol=1e-4)
    led = found.weighted([0.5, 0.0, 2.0, 0.0])
    assert torch.allclose(
        led(x), 0.5 * found(x) + 2 * torch.exp(-0.5 * (x[:, 0] * 3 / 5) ** 2), atol=1e-4
    )


def test_a_linear_coordinate():
    x = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    assert along(x, [0.8, -1.0], 0.75).tolist() == pytest.approx([-0.45, 1.75])
    with pytest.raises(
        SettingError, match=r"direction=.*a number for each coordinate of x, \(2,\)"
    ):
        along(x, [1.0])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"count": 1}, "criterion.count=1: must be a whole number, 2 or more"),
        ({"count": True}, "criterion.count=True"),
        ({"high": -2.5}, "criterion.high=-2.5: must be above criterion.low, -2.5"),
    ],
)
def test_kernels_that_are_none_are_refused(settings, told):
    with pytest.raises(SettingError) as refused:
        kernels(**settings)
    assert told in str(refused.value)
