"""Networks on disk: the same again after loading, and a line for whatever is wrong."""

import json
from hashlib import sha256

import pytest
import torch
from safetensors.torch import save_file

from btgm_cli import load_criterion, load_model
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.domains.digits.classifier import Classifier, load_classifier
from btgm_cli.domains.digits.generator import Digits, Generator, load_gan
from btgm_cli.store.checkpoints import (
    checkpoint_hash,
    find_checkpoint,
    packaged_checkpoints,
    save_network,
)

GENERATORS = ["gan_mnist", "gan_mnist32", "vae_mnist"]
DISCRIMINATORS = ["discriminator_gan_mnist", "discriminator_vae_mnist"]
DIGITS = ["classifier_mnist", *DISCRIMINATORS, *GENERATORS]


def small_generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(latent_dim=3, hidden=8, channels=2)


@pytest.fixture
def stored(tmp_path) -> str:
    path = tmp_path / "mine.safetensors"
    save_network(path, small_generator())
    return str(path)


def test_generator_is_the_same_after_loading(stored):
    gan = load_gan(stored)
    z = torch.linspace(-1, 1, 12).view(4, 3)
    assert gan.latent_dim == 3
    assert torch.equal(gan.decode(z), small_generator()(z))


def test_classifier_is_the_same_after_loading(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(channels=2, hidden=5)
    save_network(tmp_path / "c.safetensors", classifier)
    loaded = load_classifier(str(tmp_path / "c.safetensors"))
    x = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28)
    assert torch.equal(loaded(x), classifier(x))
    assert loaded.features(x).shape == (2, 5)
    assert torch.equal(loaded(x), loaded.head(loaded.features(x)))


def test_gan_is_a_frozen_generative_model_differentiable_in_z(stored):
    gan = load_gan(stored)
    assert isinstance(gan, GenerativeModel)
    assert not any(parameter.requires_grad for parameter in gan.parameters())
    assert not any(module.training for module in gan.generator.modules())
    z = gan.sample_prior(5, torch.Generator().manual_seed(0)).requires_grad_()
    x = gan.decode(z)
    assert x.shape == (5, 1, 28, 28)
    assert x.min() >= 0
    assert x.max() <= 1
    (slope,) = torch.autograd.grad(x.sum(), z)
    assert slope.abs().sum() > 0


def test_prior_is_standard_normal(stored):
    gan = load_gan(stored)
    z = gan.sample_prior(20_000, torch.Generator().manual_seed(0))
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    assert torch.allclose(gan.prior_log_prob(z), exact, atol=1e-5)
    assert z.mean(0).abs().max() < 4 / 20_000**0.5
    assert (z.var(0) - 1).abs().max() < 4 * (2 / 20_000) ** 0.5


def test_writing_twice_gives_the_same_bytes(stored, tmp_path):
    again = tmp_path / "again.safetensors"
    save_network(again, small_generator())
    assert checkpoint_hash(stored) == checkpoint_hash(str(again))
    assert checkpoint_hash(stored) == sha256(again.read_bytes()).hexdigest()


def test_state_dict_fits_the_default_architecture(tmp_path):
    with torch.random.fork_rng():
        generator = Generator()
    torch.save(generator.state_dict(), tmp_path / "mine.pt")
    z = torch.zeros(1, 10)
    assert torch.equal(load_gan(str(tmp_path / "mine.pt")).decode(z), generator(z))


class Payload:
    def __reduce__(self):
        return print, ("this must not run",)


BAD_FILES = {
    "corrupt.safetensors": lambda path: path.write_bytes(b"\x08not a header"),
    "empty.safetensors": lambda path: path.write_bytes(b""),
    "metadata.safetensors": lambda path: save_file(
        {"w": torch.zeros(1)}, path, metadata={"btgm": "{"}
    ),
    "keys.safetensors": lambda path: save_file({"w": torch.zeros(1)}, path),
    "architecture.safetensors": lambda path: save_file(
        {"w": torch.zeros(1)},
        path,
        metadata={"btgm": json.dumps({"family": "generator", "architecture": {"depth": 3}})},
    ),
    "classifier.safetensors": lambda path: save_network(path, Classifier(2, 3)),
    "corrupt.pt": lambda path: path.write_bytes(b"not a pickle"),
    "list.pt": lambda path: torch.save([1, 2], path),
    "code.pt": lambda path: torch.save(Payload(), path),
    "keys.pt": lambda path: torch.save({"w": torch.zeros(1)}, path),
    "other.txt": lambda path: path.write_text("no weights"),
    "folder.safetensors": lambda path: path.mkdir(),
    "missing.safetensors": lambda path: None,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_checkpoint_is_one_line_with_the_choices(name, tmp_path, capsys):
    path = tmp_path / name
    with torch.random.fork_rng():
        BAD_FILES[name](path)
    with pytest.raises(SettingError, match=r"model\.checkpoint=.*gan_mnist") as caught:
        load_gan(str(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_unknown_name_lists_the_packaged_ones():
    with pytest.raises(SettingError, match="classifier_mnist, discriminator_gan_mnist"):
        find_checkpoint("gan_minst")


@pytest.mark.parametrize("name", DIGITS)
def test_packaged_checkpoint_is_small_and_its_card_tells_of_it(name):
    assert name in packaged_checkpoints()
    weights = find_checkpoint(name)
    assert weights.stat().st_size < 4 * 2**20
    card = json.loads(find_checkpoint(name).with_suffix(".json").read_text())
    assert card["sha256"] == checkpoint_hash(name)
    recipe = card["command"].removeprefix("btgm train model=").split()[0]
    assert name.startswith(recipe)  # a variant's name goes on
    assert all(gate["passed"] for gate in card["gates"])


@pytest.mark.parametrize("name", ["gan_mnist", "vae_mnist"])
def test_packaged_generator_was_measured_by_the_packaged_classifier(name):
    card = json.loads(find_checkpoint(name).with_suffix(".json").read_text())
    assert card["judge_sha256"] == checkpoint_hash("classifier_mnist")


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_packaged_discriminator_knows_the_packaged_generator(name):
    """The logit tells its own draws, and is a criterion of that model."""
    model = load_model(name.removeprefix("discriminator_"))
    criterion = settled(
        load_criterion("discriminator", discriminator=name),
        model,
        torch.Generator().manual_seed(0),
    )
    z = model.sample_prior(500, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (criterion(model.decode(z)) < 0).double().mean() > 0.95


def test_packaged_pair_makes_digits():
    gan, classifier = load_gan(), load_classifier()
    assert isinstance(gan, Digits)
    z = gan.sample_prior(500, torch.Generator().manual_seed(0))
    with torch.no_grad():
        confidence, digit = classifier(gan.decode(z)).softmax(1).max(1)
    assert (confidence > 0.9).double().mean() > 0.85
    assert set(digit.tolist()) == set(range(10))
