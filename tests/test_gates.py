"""Measuring a network against its gates, and `btgm train` around it."""

import json
from pathlib import Path

import pytest
import torch

from btgm_cli.cli.train import main, read_settings
from btgm_cli.cli.tree import choices, conf_dir
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.classifier import Classifier, load_classifier
from btgm_cli.domains.digits.generator import load_gan
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.pretraining import jobs
from btgm_cli.domains.digits.pretraining.classifier import ClassifierSettings
from btgm_cli.domains.digits.pretraining.discriminator import DiscriminatorSettings
from btgm_cli.domains.digits.pretraining.gan import GanSettings
from btgm_cli.domains.digits.pretraining.gates import (
    calibration_error,
    evaluate_classifier,
    evaluate_generator,
    frechet_distance,
)
from btgm_cli.domains.digits.pretraining.vae import VaeSettings
from btgm_cli.domains.pretraining.gates import Gate, GateReport
from btgm_cli.store.checkpoints import checkpoint_hash, save_network

SMALL = ["model.steps=2", "model.channels=2", "model.hidden=8", "device=cpu", "threads=1"]
SMALL_GAN = [*SMALL, "model.batch=32", "model.critic_channels=2", "model.critic_hidden=8"]


@pytest.fixture
def digits(monkeypatch) -> Mnist:
    rng = torch.Generator().manual_seed(0)
    images, labels = torch.rand(200, 1, 28, 28, generator=rng), torch.arange(200) % 10
    mnist = Mnist(images, labels, images[:160], labels[:160])
    monkeypatch.setattr(jobs, "load_mnist", lambda data_dir: mnist)
    return mnist


@pytest.fixture
def judge(tmp_path) -> str:
    """The path of a small untrained classifier, quick to ask."""
    with torch.random.fork_rng():
        save_network(tmp_path / "judge.safetensors", Classifier(2, 8))
    return f"model.classifier={tmp_path / 'judge.safetensors'}"


def normal(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_frechet_distance_of_a_set_to_itself_is_zero():
    assert frechet_distance(normal(100, 5), normal(100, 5)) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_scaled_and_shifted_gaussians():
    x, shift = normal(200, 4), torch.tensor([1.0, 2.0, 0.0, -1.0])
    spread = torch.cov(x.T).trace().item()
    expected = 6 + spread * (1 - 3) ** 2
    y = 3 * (x - x.mean(0)) + x.mean(0) + shift
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_gaussians_with_other_axes():
    """In two dimensions tr(M^(1/2)) = (tr M + 2 det(M)^(1/2))^(1/2)."""
    x = normal(300, 2)
    y = x @ torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.double)
    cov_x, cov_y = torch.cov(x.T), torch.cov(y.T)
    product = cov_x @ cov_y
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    expected = shift + cov_x.trace() + cov_y.trace() - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected.item(), rel=1e-9)


def test_calibration_error_by_hand():
    """Two answers at 0.9, one right: |0.5 - 0.9|; two at 0.6, both right: |1 - 0.6|."""
    sure, unsure = [0.9, 0.1], [0.6, 0.4]
    logits = torch.tensor([sure, sure, unsure, unsure], dtype=torch.double).log()
    assert calibration_error(logits, torch.tensor([0, 1, 0, 0])) == pytest.approx(0.4)


def test_gate_tells_its_range_and_verdict():
    assert str(Gate("share", 0.95, low=0.9)).split() == ["share", "0.9500", ">=", "0.9", "pass"]
    assert str(Gate("distance", 3.5, high=3.0)).endswith("FAIL")
    assert GateReport([Gate("a", 1.0, low=0.0)], {}).passed
    assert not GateReport([Gate("a", float("nan"), low=0.0)], {}).passed


def test_classifier_is_judged_by_the_test_images(digits):
    classifier = load_classifier()
    evaluation = evaluate_classifier(classifier, digits)
    right = (classifier(digits.test_images).argmax(1) == digits.test_labels).double().mean()
    assert evaluation.metrics["test_accuracy"] == pytest.approx(right.item())
    assert not evaluation.passed


def test_generator_is_judged_by_share_confidence_and_distance(digits, monkeypatch):
    monkeypatch.setattr("btgm_cli.domains.digits.pretraining.gates.SAMPLES", 200)
    evaluation = evaluate_generator(load_gan().generator, load_classifier(), digits)
    metrics = evaluation.metrics
    shares = [metrics[f"share_of_{digit}"] for digit in range(10)]
    assert sum(shares) == pytest.approx(1)
    assert [gate.value for gate in evaluation.gates] == [
        min(shares),
        max(shares),
        metrics["confident_share"],
        metrics["frechet_generated_test"] / metrics["frechet_train_test"],
    ]


def test_training_leaves_weights_card_and_pictures(digits, judge, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["model=gan_mnist", *SMALL_GAN, judge, f"out={out}"]
    assert main(given) == 3  # two steps pass no gate
    names = {path.name for path in out.iterdir()}
    assert {"gan_mnist.safetensors", "gan_mnist.json", "losses.png", "samples.png"} <= names
    card = json.loads((out / "gan_mnist.json").read_text())
    assert card["sha256"] == checkpoint_hash(str(out / "gan_mnist.safetensors"))
    assert card["settings"]["objective"] == "ns_r1"
    assert card["command"].startswith("btgm train model=gan_mnist model.steps=2")
    assert str(out) not in card["command"]
    assert "FAIL" in capsys.readouterr().out
    assert main([*given, "--resume"]) == 3
    again = json.loads((out / "gan_mnist.json").read_text())
    assert {**again, "training_seconds": 0} == {**card, "training_seconds": 0}


def test_a_trained_network_can_be_measured_again(digits, tmp_path, capsys):
    given = ["model=classifier_mnist", *SMALL, "model.batch=8", f"out={tmp_path}"]
    assert main(given) == 3
    trained = capsys.readouterr().out
    checkpoint = f"checkpoint={tmp_path / 'classifier_mnist.safetensors'}"
    assert main(["model=classifier_mnist", "evaluate_only=true", checkpoint]) == 3
    assert capsys.readouterr().out == trained


def test_all_gates_passed_is_exit_code_zero(monkeypatch, capsys):
    passed = GateReport([Gate("anything", 1.0, low=0.0)], {"more": 2.0})
    monkeypatch.setattr("btgm_cli.cli.train.evaluate", lambda kind, settings, run: passed)
    assert main(["model=gan_mnist", "evaluate_only=true"]) == 0
    assert "pass" in capsys.readouterr().out


def test_configs_hold_every_setting_at_its_default():
    assert choices("model", conf_dir() / "train") == [
        "classifier_mnist",
        "discriminator",
        "flow",
        "gan_mnist",
        "vae_energy",
        "vae_mnist",
    ]
    kind, gan, run = read_settings(["model=gan_mnist"])
    assert (kind, gan) == (jobs.GanJob, GanSettings())
    assert run.name == "gan_mnist"
    kind, classifier, _ = read_settings(["model=classifier_mnist"])
    assert (kind, classifier) == (jobs.ClassifierJob, ClassifierSettings())
    kind, vae, _ = read_settings(["model=vae_mnist"])
    assert (kind, vae) == (jobs.VaeJob, VaeSettings())
    kind, discriminator, run = read_settings(["model=discriminator", "generator=my/gan.pt"])
    assert (kind, discriminator) == (jobs.DiscriminatorJob, DiscriminatorSettings("my/gan.pt"))
    assert run.name == "discriminator_gan"


BAD = {
    "no model": (
        [],
        r"model=None: choose one of classifier_mnist, discriminator, flow, gan_mnist",
    ),
    "unknown model": (
        ["model=gan"],
        r"model='gan': choose one of classifier_mnist, discriminator",
    ),
    "unknown key": (["model=gan_mnist", "sede=1"], r"sede='1': unknown setting.*seed"),
    "misspelt key": (["model=gan_mnist", "model.step=1"], r"model\.step=.*did you mean steps"),
    "wrong type": (
        ["model=gan_mnist", "model.steps=few"],
        r"model\.steps='few': must be a whole number",
    ),
    "wrong choice": (["model=gan_mnist", "model.objective=x"], r"choose one of wgan_gp, ns_r1"),
    "a generator for nothing": (["model=gan_mnist", "generator=x"], r"generator='x': unknown"),
    "bad generator": (
        ["model=discriminator", "generator=x"],
        r"generator='x': no such checkpoint",
    ),
    "no generator": (
        ["model=discriminator", "generator=classifier_mnist"],
        r"generator='classifier_mnist': holds a classifier, expected a generator",
    ),
    "no data": (["model=gan_mnist", "data_dir=nowhere"], r"btgm data fetch mnist"),
    "bad judge": (
        ["model=gan_mnist", "model.classifier=x"],
        r"model\.classifier='x': no such checkpoint",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_setting_is_refused_before_any_work(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides, message = BAD[case]
    kind = Exception if case == "no data" else SettingError
    with pytest.raises(kind, match=message) as caught:
        main(overrides)
    assert "\n" not in str(caught.value)
    assert list(Path().iterdir()) == []
