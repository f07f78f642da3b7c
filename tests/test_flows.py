"""Every flow: Jacobian against autograd, inverse, identity at the start, copy, save and load."""

import copy

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tuned.flows import InverseAutoregressive, SplineCoupled, load_flow, save_flow

FAMILIES = [InverseAutoregressive, SplineCoupled]
DIM = 5


def trained(family, **settings):
    """A flow far from the identity, as training would leave it."""
    flow = family(DIM, depth=6, hidden=[16, 16], **settings)
    generator = derived_generator(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return flow


@pytest.fixture
def z0():
    return torch.randn(64, DIM, generator=derived_generator(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_at_the_start(family, z0):
    z, log_det = family(DIM)(z0)
    assert (z - z0).abs().max() < 5e-3
    assert log_det.abs().max() < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_log_det_is_the_jacobians(family, z0):
    flow = trained(family)
    _, log_det = flow(z0)
    for k in range(8):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], z0[k])
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(
            log_det[k].item(), abs=1e-4
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_inverse_undoes_forward(family, z0, device):
    flow, z0 = trained(family).to(device), z0.to(device)
    z, log_det = flow(z0)
    assert (z - z0).abs().max() > 0.1
    back, back_log_det = flow.inverse(z)
    assert torch.allclose(back, z0, atol=1e-4)
    assert torch.allclose(back_log_det, log_det, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_coordinate_depends_on_every_other(family, z0):
    flow = trained(family)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], z0[0])
    assert (jacobian.abs() > 1e-7).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_used_flow_can_be_copied_saved_and_loaded(family, z0, tmp_path):
    flow = trained(family)
    z, log_det = flow(z0)
    z.sum().backward()
    assert torch.equal(copy.deepcopy(flow)(z0)[0], z)
    save_flow(tmp_path / "flow.safetensors", flow.settings, flow.snapshot())
    loaded = load_flow(tmp_path / "flow.safetensors")
    assert torch.equal(loaded(z0)[0], z)
    assert torch.equal(loaded(z0)[1], log_det)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_fixes_the_weights(family):
    first, second, other = family(DIM, seed=1), family(DIM, seed=1), family(DIM, seed=2)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_density_integrates_to_one():
    """Importance sampling with the flow as proposal recovers the mass of a Gaussian."""
    flow = trained(InverseAutoregressive)
    z0 = torch.randn(50_000, DIM, generator=derived_generator(3)).double()
    z, log_det = flow.double()(z0)

    def log_prob(x):
        return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)

    weights = (log_prob(z) - (log_prob(z0) - log_det)).exp().detach()
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() - 1) <= 4 * error


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"depth": 0}, "flow.depth"),
        ({"depth": 1.5}, "flow.depth"),
        ({"hidden": []}, "flow.hidden"),
        ({"hidden": "wide"}, "flow.hidden"),
        ({"latent_dim": 1}, "latent_dim"),
    ],
)
def test_bad_settings_are_named(settings, setting):
    with pytest.raises(SettingError, match=setting):
        InverseAutoregressive(**{"latent_dim": DIM, **settings})


@pytest.mark.parametrize(("name", "value"), [("bins", 1), ("bound", -1.0)])
def test_bad_spline_settings_are_named(name, value):
    with pytest.raises(SettingError, match=f"flow.{name}"):
        SplineCoupled(DIM, **{name: value})


def test_a_file_that_is_no_flow_is_refused(tmp_path):
    (tmp_path / "flow.safetensors").write_bytes(b"no flow")
    with pytest.raises(SettingError, match="not a saved flow"):
        load_flow(tmp_path / "flow.safetensors")
