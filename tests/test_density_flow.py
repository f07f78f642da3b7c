"""A flow fitted to configurations, runs on it, and runs on those."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import load_run
from btgm_cli.cli import main
from btgm_cli.core.contracts import ExplicitDensity
from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.domains.densities.flow import DensityFlow, load_flow_model
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.domains.densities.pretraining.configurations import read_configurations
from btgm_cli.tuned.pushed import PushedDensity

EXACT = Normal(2, [1.0, -1.0], covariance=[[1.0, 0.8], [0.8, 2.0]])
BRIEF = ["threads=1", "device=cpu"]
QUICK = [
    *BRIEF,
    "flow.hidden=[8]",
    "flow.depth=2",
    "target.betas=[0.5,1]",
    "tuning.first_steps=20",
    "tuning.steps=10",
    "tuning.min_acceptance_rate=1",
    "tuning.n_eval=500",
    "tuning.n_reference=2000",
    "tuning.n_particles=200",
    "samples=4",
]


def drawn(n=3000):
    return EXACT.decode(EXACT.sample_prior(n, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a flow that `btgm train` has fitted to draws of `EXACT`."""
    folder = tmp_path_factory.mktemp("flow")
    np.save(folder / "x.npy", drawn().numpy())
    small = ["model.steps=100", "model.depth=2", "model.hidden=8", "model.bins=4"]
    asked = ["train", "model=flow", f"data={folder / 'x.npy'}", *small, *BRIEF]
    assert main([*asked, f"out={folder / 'net'}"]) == 0
    return folder


def test_the_card_tells_how_likely_what_was_held_out_is(trained):
    card = json.loads((trained / "net" / "flow.json").read_text())
    entropy = -EXACT.log_prob(drawn()).mean().item()
    se = EXACT.log_prob(drawn(300)).std().item() / math.sqrt(300)
    assert abs(card["metrics"]["held-out log-likelihood, nats"] + entropy) < 4 * se
    assert all(gate["passed"] for gate in card["gates"])
    assert list(card["data_sha256"]) == ["x.npy"]
    assert (trained / "net" / "samples.png").is_file()


def test_the_flow_is_the_density_of_its_data(trained):
    model = load_flow_model(str(trained / "net" / "flow.safetensors"))
    assert isinstance(model, ExplicitDensity)
    x = EXACT.decode(EXACT.sample_prior(2000, torch.Generator().manual_seed(1)))
    divergence = (EXACT.log_prob(x) - model.log_prob(x)).mean().item()
    assert 0 <= divergence < 0.05


@pytest.mark.slow
def test_a_run_on_the_flow_and_one_on_that_run(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    energy = ["criterion=energy", "system=double_well_bgflow", *QUICK]
    asked = ["model=flow", "model.checkpoint=net/flow.safetensors", *energy]
    assert main(["run", *asked, "out=first"]) in (0, 3)
    assert main(["run", "model=tuned", "model.run=first", *energy, "out=second"]) in (0, 3)
    first, second = load_run("first"), load_run("second")
    assert isinstance(second.model, PushedDensity)
    assert "model.run" in second.manifest.checkpoints
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(second.model.decode(z), first.model.decode(first.tuned().flow(z)[0]))
    # The earlier run's β, and from elsewhere.
    monkeypatch.chdir(trained / "net")
    assert load_run("../second").model.latent_dim == 2
    capsys.readouterr()
    assert main(["run", "model=tuned", "model.run=../first", "model.beta=0.7", *energy]) == 2
    assert "beta=0.7: this run has 0.5, 1" in capsys.readouterr().err
    assert main(["run", "model=tuned", "model.run=nowhere", *energy]) == 2
    told = capsys.readouterr().err
    assert "model.run='nowhere': is no run directory with a finished β" in told
    assert len(told.strip().splitlines()) == 1


def test_configurations_come_as_csv_too(tmp_path):
    x = drawn(200)
    pd.DataFrame(x.numpy(), columns=["x0", "x1"]).to_csv(tmp_path / "x.csv", index=False)
    assert torch.allclose(read_configurations(str(tmp_path / "x.csv")), x)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((50, 2)), r"n at least 100 and D at least 2, not \(50, 2\)"),
        (np.zeros((200, 1)), r"not \(200, 1\)"),
        (np.zeros((200, 2, 2)), r"not \(200, 2, 2\)"),
        (np.full((200, 2), np.nan), "holds 200 configurations that are not finite"),
        (np.array([{}] * 200), "holds no table of numbers"),
    ],
)
def test_other_arrays_are_refused(x, words, tmp_path):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(DataError, match=words):
        read_configurations(str(tmp_path / "x.npy"))


def test_other_files_are_refused_in_a_line(here, capsys):
    (here / "x.csv").write_text("a,b\n1,two\n")
    np.save(here / "plane.npy", np.repeat(drawn(200)[:, :1].numpy(), 2, axis=1))
    for data, words in {
        "???": "data='???': must be given",
        "x.txt": "must be the path of a .npy or .csv file",
        "gone.npy": "must be the path of a .npy or .csv file",
        "x.csv": "holds no table of numbers",
        "plane.npy": "lie in fewer dimensions than they have coordinates",
    }.items():
        given = [f"data={data}"] * (data != "???")
        assert main(["train", "model=flow", *given, "model.steps=1", *BRIEF]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert len(told.strip().splitlines()) == 1


def test_a_file_that_is_no_density_flow_is_refused():
    with pytest.raises(SettingError, match="holds a generator, expected a density_flow"):
        load_flow_model("gan_mnist")
    with pytest.raises(SettingError, match=r"model.checkpoint='gone.safetensors': no such"):
        load_flow_model("gone.safetensors")


def test_a_flow_is_the_same_after_loading(tmp_path):
    from btgm_cli.store.checkpoints import save_network

    network = DensityFlow(3, depth=3, hidden=8, bins=4, bound=3, seed=5)
    network.set_scale(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    save_network(tmp_path / "f.safetensors", network)
    loaded = load_flow_model(str(tmp_path / "f.safetensors"))
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.decode(z), network(z))
