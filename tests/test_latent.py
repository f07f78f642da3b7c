"""f̂(z) = E f(x) over the decoder's noise (Eq. 10), on a decoder whose f̂ is known."""

import math

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import (
    F_SAMPLES,
    LatentCriterion,
    draw_x,
    evaluate,
    settled,
)
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.combined.criteria import Normalized, WeightedSum, negated
from btgm_cli.tuned.correction import Correct, Corrector
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import Tuning, tune

DIM, SCALE = 3, 0.5


class Noisy(Gaussian):
    """x = z + SCALE · noise."""

    def noise(self, n, generator):
        return torch.randn(n, self.latent_dim, generator=generator)

    def decode_with(self, z, noise):
        return z + SCALE * noise


def square(x):
    """f̂(z) = |z|² + SCALE² D."""
    return x.square().sum(-1)


Z = Gaussian(DIM).sample_prior(50, derived_generator(1))


def test_a_plain_decoder_is_decoded_once():
    f = LatentCriterion(Gaussian(DIM), square)
    torch.testing.assert_close(f(Z), square(Z))
    values, classes = f.with_classes(Z)
    assert torch.equal(values, f(Z))
    assert classes is None


@pytest.mark.parametrize("k", [1, 4, 400])
def test_a_stochastic_decoder_is_averaged_over_k_draws(k):
    f = LatentCriterion(Noisy(DIM), square, f_samples=k)
    # Var f given z is 4 SCALE² |z|² + 2 SCALE⁴ D.
    error = torch.sqrt((4 * SCALE**2 * square(Z) + 2 * SCALE**4 * DIM) / k)
    assert ((f(Z) - square(Z) - SCALE**2 * DIM).abs() <= 4 * error).all()


def test_it_is_one_smooth_function_of_z():
    """The same z has the same f̂ in any batch, and a gradient: 2 (z + SCALE · mean noise)."""
    f = LatentCriterion(Noisy(DIM), square, f_samples=4, seed=2)
    torch.testing.assert_close(f(Z)[7:9], f(Z[7:9]))
    torch.testing.assert_close(evaluate(f, Z), LatentCriterion(Noisy(DIM), square, 4, 2)(Z))
    assert not torch.equal(f(Z), LatentCriterion(Noisy(DIM), square, 4, 3)(Z))
    z = Z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(z).sum(), z)
    noise = Noisy(DIM).noise(4, derived_generator(2, "decoder"))
    torch.testing.assert_close(gradient, 2 * (Z + SCALE * noise.mean(0)))


def test_eight_draws_unless_said_otherwise():
    noise = Noisy(DIM).noise(F_SAMPLES, derived_generator(0, "decoder"))
    expected = torch.stack([square(Z + SCALE * e) for e in noise]).mean(0)
    torch.testing.assert_close(LatentCriterion(Noisy(DIM), square)(Z), expected)


class Listening(Noisy):
    """Notes where its draws are made and used; what it decodes to is on the CPU."""

    def __init__(self, dim):
        super().__init__(dim)
        self.drawn, self.decoded = [], []

    def sample_prior(self, n, generator):
        self.drawn.append(generator.device.type)
        return super().sample_prior(n, generator)

    def noise(self, n, generator):
        self.drawn.append(generator.device.type)
        return super().noise(n, generator)

    def decode_with(self, z, noise):
        self.decoded += [z.device.type, noise.device.type]
        x = Gaussian(self.latent_dim).sample_prior(len(noise) * len(z), derived_generator(0))
        return x.unflatten(0, (len(noise), len(z)))


def test_the_noise_is_the_same_on_every_device():
    model = Listening(DIM)
    f = LatentCriterion(model, square, device="meta")
    assert f(Z.to("meta")).shape == (len(Z),)
    assert model.drawn == ["cpu"]
    assert set(model.decoded) == {"meta"}


def test_f_is_the_same_function_on_every_device(device):
    noise = Noisy(DIM).noise(4, derived_generator(2, "decoder"))
    expected = torch.stack([square(Z + SCALE * e) for e in noise]).mean(0)
    f = LatentCriterion(Noisy(DIM), square, f_samples=4, seed=2, device=device)
    torch.testing.assert_close(f(Z.to(device)).cpu(), expected)


def test_a_criterion_is_normalized_by_the_same_draws_on_every_device():
    model = Listening(DIM)
    total = WeightedSum(
        {"a": Normalized(square), "b": negated(Normalized(square))}, {"a": 1, "b": 2}
    )
    f = settled(total, model, derived_generator(0), "meta")
    assert set(model.drawn) == {"cpu"}
    assert set(model.decoded) == {"meta"}
    assert f.weights == total.weights


def test_several_draws_of_a_plain_decoder_are_refused():
    with pytest.raises(SettingError, match=r"tuning\.f_samples=3.*same x each time"):
        LatentCriterion(Gaussian(DIM), square, f_samples=3)


def test_draws_of_x_have_fresh_noise():
    x = draw_x(Noisy(DIM), torch.zeros(20_000, DIM), derived_generator(5))
    error = 4 * SCALE / math.sqrt(2 * x.numel())
    assert abs(x.std().item() - SCALE) <= error


def test_each_x_has_a_noise_of_its_own_and_each_z_is_decoded_once():
    model, n, k = Noisy(DIM), 400, 50
    decoded = []
    decode_with = model.decode_with
    model.decode_with = lambda z, noise: decoded.append(len(z)) or decode_with(z, noise)
    f = LatentCriterion(model, lambda x: x[..., 0])
    noise = (f.afresh(torch.zeros(n, DIM), k, derived_generator(6)) / SCALE).double()
    assert decoded == [n]
    assert noise.shape == (n, k)
    # Means of rows and of columns would be too far apart if either shared their noise.
    for means, each in ((noise.mean(1), k), (noise.mean(0), n)):
        spread = means.square().mean().item() * each
        assert abs(spread - 1) <= 4 * math.sqrt(2 / len(means))


def test_a_plain_decoder_has_no_noise():
    f = LatentCriterion(Gaussian(DIM), square)
    assert torch.equal(f.afresh(Z, 3, derived_generator(0)), square(Z)[:, None].expand(-1, 3))


def test_a_stochastic_model_is_tuned_and_sampled_with_its_noise():
    """f = a·x: f̂ = a·z + a constant, so that the tilt is the shift by β of the oracle."""
    flow = InverseAutoregressive(DIM, depth=2, hidden=[32])
    settings = Tuning(
        first_steps=250, steps=120, n_eval=4000, n_reference=20_000, min_acceptance_rate=1.0
    )
    result = tune(
        Noisy(DIM), Linear(), target=Target(betas=[0.0, 0.7]), flow=flow, settings=settings
    )
    assert result.status is Status.OK
    last = result.points[-1]
    assert abs(last.figures.reference.kl - 0.245) <= 4 * last.figures.reference.kl_se
    x = result.tuned.sample(20_000, derived_generator(1))
    spread = math.sqrt(1 + SCALE**2)
    assert abs(x[:, 0].std().item() - spread) <= 4 * spread / math.sqrt(2 * len(x)) + 0.02


def test_corrected_draws_carry_the_latent_criterion_and_a_draw_of_x():
    f = LatentCriterion(Noisy(DIM), square, f_samples=4)
    tuned = TunedModel(f.model, InverseAutoregressive(DIM))
    block = next(Corrector(tuned, f, 0.1, Correct.NONE, derived_generator(1)).draws(1000))
    torch.testing.assert_close(block.f, f(block.z))
    assert abs((block.x - block.z).std().item() - SCALE) < 0.05
