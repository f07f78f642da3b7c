"""The training of the load VAE, its gates, and `btgm train` around them."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from btgm_cli.cli.train import main, read_settings
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.pretraining import gates as load_gates
from btgm_cli.domains.load.pretraining.gates import (
    evaluate_vae,
)
from btgm_cli.domains.load.pretraining.jobs import VaeJob
from btgm_cli.domains.load.pretraining.vae import VaeSettings, VaeTrainee
from btgm_cli.domains.load.weekly import WeeklyLoad
from btgm_cli.domains.pretraining.loop import run_loop
from btgm_cli.domains.pretraining.settings import RunSettings

SMALL = VaeSettings(
    households=2, steps=6, batch=4, latent_dim=3, channels=4, encoder_channels=4, hidden=4
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def load() -> WeeklyLoad:
    """Five households in ten weeks."""
    load_kw = 0.1 + torch.rand(50, 336, generator=rng()) * torch.rand(50, 1, generator=rng())
    return WeeklyLoad(load_kw, torch.arange(50) % 5, torch.arange(50) // 5)


def train(run: RunSettings, load: WeeklyLoad) -> VaeNetwork:
    trainee = VaeTrainee(load.training(), SMALL, run.seed, run.torch_device)
    run_loop(trainee, SMALL, run)
    return trainee.network


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_to_the_bit(load, tmp_path, monkeypatch):
    whole = RunSettings("net", out=str(tmp_path / "whole"), save_every=2, device="cpu")
    parted = replace(whole, out=str(tmp_path / "parted"))
    expected = train(whole, load)
    step = VaeTrainee.step

    def killed(self, index):
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(VaeTrainee, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        train(parted, load)
    monkeypatch.setattr(VaeTrainee, "step", step)
    found = train(replace(parted, resume=True), load)
    ours, theirs = found.state_dict(), expected.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    other = train(replace(whole, seed=1), load)
    assert not torch.equal(other.spread.weight, expected.spread.weight)


def test_training_sees_no_held_out_week_and_raises_the_bound(load):
    load.load_kw[load.week % 5 == 0] = torch.nan
    trainee = VaeTrainee(load.training(), replace(SMALL, steps=60), 0, torch.device("cpu"))
    losses = [trainee.step(k)["negative ELBO"] for k in range(60)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 10


def test_weight_of_the_kl_rises_and_stays(load):
    trainee = VaeTrainee(load, replace(SMALL, steps=100, warmup=0.1), 0, torch.device("cpu"))
    assert [trainee._kl_weight(k) for k in (0, 4, 9, 50)] == [0.1, 0.5, 1, 1]
    trainee.settings = replace(SMALL, warmup=0.0)
    assert trainee._kl_weight(0) == 1


@pytest.mark.parametrize("bad", [{"steps": 0}, {"rate": 0.0}, {"warmup": 1.0}, {"households": -1}])
def test_bad_setting_is_named(bad):
    (name,) = bad
    with pytest.raises(SettingError, match=rf"^model\.{name}="):
        VaeSettings(**{**asdict(SMALL), **bad})


def test_gates_hold_where_the_curves_are_real_and_fail_where_not(load, monkeypatch):
    monkeypatch.setattr(load_gates, "SAMPLES", 500)
    monkeypatch.setattr(load_gates, "SPLIT_SAMPLES", 100)
    trainee = VaeTrainee(load, SMALL, 0, torch.device("cpu"))
    real = load_gates.real_curves(load, 2)
    monkeypatch.setattr(load_gates, "model_curves", lambda network: (real, real))
    evaluation = evaluate_vae(trainee.network, load, 2)
    assert evaluation.passed
    assert len(evaluation.gates) == 10
    assert evaluation.metrics["real_peak_q99_kw"] == evaluation.metrics["sampled_peak_q99_kw"]
    assert "household_halves_peak_q90" in evaluation.metrics
    assert "household_80_20_peak_q90" not in evaluation.metrics  # one household is not two
    monkeypatch.setattr(load_gates, "model_curves", lambda network: (1.06 * real, real))
    failed = [g.name for g in evaluate_vae(trainee.network, load, 2).gates if not g.passed]
    assert failed == [
        *("peak 50 %", "peak 90 %", "energy 50 %", "energy 90 %"),
        "daily profile, largest difference",
    ]


@pytest.mark.slow
def test_training_leaves_weights_card_and_pictures(load, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load_gates, "SAMPLES", 200)
    monkeypatch.setattr(load_gates, "SPLIT_SAMPLES", 100)
    (tmp_path / "energy").mkdir()
    arrays = {"load_kw": load.load_kw, "household": load.household, "week_start": load.week * 7}
    np.savez(tmp_path / "energy" / "weekly_load.npz", **{k: v.numpy() for k, v in arrays.items()})
    (tmp_path / "energy" / "ATTRIBUTION.txt").write_text("Thanks to all.\n")
    changed = [f"model.{k}={v}" for k, v in asdict(SMALL).items()]
    given = ["model=vae_energy", *changed, f"data_dir={tmp_path}", "device=cpu"]
    out = tmp_path / "out"
    assert main([*given, f"out={out}"]) == 3  # six steps pass no gate
    names = {path.name for path in out.iterdir()}
    assert {"vae_energy.safetensors", "vae_energy.json", "samples.png", "fidelity.png"} <= names
    card = json.loads((out / "vae_energy.json").read_text())
    assert card["data_attribution"] == "Thanks to all."
    assert list(card["data_sha256"]) == ["weekly_load.npz"]
    trained = capsys.readouterr().out
    checkpoint = f"checkpoint={out / 'vae_energy.safetensors'}"
    assert main([*given, "evaluate_only=true", checkpoint]) == 3
    assert capsys.readouterr().out == trained
    with pytest.raises(SettingError, match=r"model\.households=6: must be from 1 to 5"):
        main(["model=vae_energy", "model.households=6", f"data_dir={tmp_path}"])


def test_config_holds_every_setting_at_its_default():
    kind, settings, _ = read_settings(["model=vae_energy"])
    assert (kind, settings) == (VaeJob, VaeSettings())
