"""The standard normal prior that generators share, and the device picker."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from btgm_cli import StandardNormal
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.digits.generator import load_gan
from btgm_cli.domains.load.generator import load_vae


class Mine(StandardNormal, nn.Module):
    """A generator of a user's own with weights."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.scale = nn.Parameter(torch.ones(()))

    def decode(self, z):
        return self.scale * z


def test_a_generator_needs_only_decode():
    model = Mine(3)
    assert isinstance(model, GenerativeModel)
    assert list(model.state_dict()) == ["scale"]
    z = model.sample_prior(4, derived_generator(0))
    exact = MultivariateNormal(torch.zeros(3), torch.eye(3)).log_prob(z)
    assert torch.allclose(model.prior_log_prob(z), exact)


def test_the_models_that_ship_draw_alike():
    for model, dim in ((Gaussian(10), 10), (load_gan(), 10), (load_vae(), 12)):
        assert isinstance(model, StandardNormal)
        assert model.latent_dim == dim
        z = model.sample_prior(5, derived_generator(0))
        assert torch.equal(z, torch.randn(5, dim, generator=derived_generator(0)))


@pytest.mark.parametrize("bad", [1, 0, -3, True, 2.0, "4", None])
def test_a_latent_dimension_that_is_none_is_refused(bad):
    with pytest.raises(SettingError, match=r"^model\.latent_dim=.*whole number, 2 or more$"):
        Mine(bad)


def test_device_is_picked_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(SettingError, match=r"^device='cuda': this machine has no CUDA device"):
        pick_device("cuda")
    with pytest.raises(SettingError, match=r"^device='tpu': choose one of auto, cpu, cuda$"):
        pick_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")
