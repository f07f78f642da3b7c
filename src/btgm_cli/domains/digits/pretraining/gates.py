"""The gates: what a network must reach before it may travel with the package."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.digits.discriminator import Discriminator, slopes
from btgm_cli.domains.digits.generator import Digits, Generator
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.vae import VaeNetwork
from btgm_cli.domains.pretraining.elbo import held_out_bound
from btgm_cli.domains.pretraining.gates import CHUNK, SAMPLE_SEED, Gate, GateReport, in_chunks

SAMPLES = 10_000
CONFIDENT = 0.9
CALIBRATION_BINS = 15
SLOPE_QUANTILES = (0.5, 0.9, 0.99)


def evaluate_classifier(classifier: Classifier, data: Mnist) -> GateReport:
    """Accuracy on the test images (a gate), with the calibration of its probabilities."""
    logits = in_chunks(classifier, data.test_images)
    right = logits.argmax(1) == data.test_labels
    accuracy = right.double().mean().item()
    metrics = {
        "test_accuracy": accuracy,
        "test_nll_nats": cross_entropy(logits.double(), data.test_labels).item(),
        "test_calibration_error": calibration_error(logits, data.test_labels),
    }
    return GateReport([Gate("test accuracy", accuracy, low=0.993)], metrics)


def evaluate_generator(generator: Generator, classifier: Classifier, data: Mnist) -> GateReport:
    """Class balance, confidence and Fréchet distance of 10,000 samples from a fixed seed.

    Features are the classifier's penultimate layer. The yardstick of the Fréchet distance is that
    of all training images against the 10,000 test images, which is the stricter one: with only
    10,000 training images its bias of finite samples is twice as large (reported beside it).
    """
    z = prior_draws(generator, SAMPLES)
    features = in_chunks(lambda chunk: classifier.features(generator(chunk)), z)
    shares, confident = _class_shares(in_chunks(classifier.head, features))
    test = in_chunks(classifier.features, data.test_images)
    train = in_chunks(classifier.features, data.train_images)
    generated, yardstick = frechet_distance(features, test), frechet_distance(train, test)
    gates = [
        Gate("smallest share of a digit", min(shares), low=0.08),
        Gate("largest share of a digit", max(shares), high=0.12),
        Gate(f"share with confidence above {CONFIDENT}", confident, low=0.9),
        Gate("Fréchet distance over train-test", generated / yardstick, high=3.0),
    ]
    metrics = {
        **{f"share_of_{digit}": share for digit, share in enumerate(shares)},
        "confident_share": confident,
        "frechet_generated_test": generated,
        "frechet_train_test": yardstick,
        "frechet_10000_train_test": frechet_distance(train[:SAMPLES], test),
        "frechet_ratio": generated / yardstick,
    }
    return GateReport(gates, metrics)


def evaluate_vae(network: VaeNetwork, classifier: Classifier, data: Mnist) -> GateReport:
    """ELBO and reconstruction of the test images, and what a GAN's gates say of the means m(z).

    A VAE is blurrier than a GAN and its prior reaches where no image was encoded: its fidelity is
    told as it is, and no gate.
    """
    fidelity = evaluate_generator(network.decoder, classifier, data)
    elbo, kl = held_out_bound(network, data.test_images)
    rebuilt = in_chunks(lambda x: network.decoder(network.posterior(x)[0]), data.test_images)
    metrics = {
        "held_out_elbo_nats": elbo,
        "held_out_kl_nats": kl,
        "held_out_reconstruction_rmse": (rebuilt - data.test_images).square().mean().sqrt().item(),
        "pixel_scale": network.log_scale.exp().item(),
        **fidelity.metrics,
    }
    return GateReport([], metrics, told=fidelity.gates)


def evaluate_discriminator(network: Discriminator, model: Digits, data: Mnist) -> GateReport:
    """Accuracy and calibration on the test images and as many draws of the model (gates).

    Beside them what its logit f is worth as a criterion: its means, nats, and the quantiles of
    |grad_z f|, which is the paper's Fig. 11.
    """
    z = prior_draws(model.generator, len(data.test_images))
    real = in_chunks(network, data.test_images)
    fake = in_chunks(lambda part: network(model.decode(part)), z)
    logits = torch.cat([real, fake])
    two = torch.stack([torch.zeros_like(logits), logits], 1)
    labels = torch.cat([torch.ones_like(real), torch.zeros_like(fake)]).long()
    accuracy = (two.argmax(1) == labels).double().mean().item()
    error = calibration_error(two, labels)
    norms = torch.cat([slopes(network, model, part) for part in z.split(CHUNK)]).double()
    metrics = {
        "held_out_accuracy": accuracy,
        "held_out_nll_nats": cross_entropy(two.double(), labels).item(),
        "held_out_calibration_error": error,
        "temperature": network.temperature.item(),
        "mean_f_real_nats": real.double().mean().item(),
        "mean_f_generated_nats": fake.double().mean().item(),
        **{f"slope_q{round(100 * q)}": norms.quantile(q).item() for q in SLOPE_QUANTILES},
        "slope_largest": norms.max().item(),
    }
    gates = [
        Gate("accuracy on held-out draws", accuracy, low=0.98),
        Gate("calibration error", error, high=0.01),
    ]
    return GateReport(gates, metrics)


def prior_draws(generator: Generator, n: int) -> Tensor:
    """n draws of N(0, I), from the seed that every network is measured on: (n, latent_dim)."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    return torch.randn(n, generator.latent_dim, generator=rng)


def prior_images(generator: Generator, n: int) -> Tensor:
    """The images (n, 1, 28, 28) of `prior_draws`."""
    return in_chunks(generator, prior_draws(generator, n))


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), of the Gaussians fitted to x and y.

    GANs Trained by a Two Time-Scale Update Rule (Heusel et al., 2017),
    https://arxiv.org/abs/1706.08500, Eq. 6. The trace of the root is taken from the symmetric
    C_x^(1/2) C_y C_x^(1/2), which has the same eigenvalues.

    Args:
        x: Features (n, d).
        y: Features (m, d).
    """
    x, y = x.double(), y.double()
    cov_x, cov_y = torch.cov(x.T), torch.cov(y.T)
    values, vectors = torch.linalg.eigh(cov_x)
    root_x = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    roots = torch.linalg.eigvalsh(root_x @ cov_y @ root_x).clamp(min=0).sqrt()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    distance = shift + cov_x.trace() + cov_y.trace() - 2 * roots.sum()
    return max(0.0, float(distance))


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error: mean |accuracy - confidence| over bins of confidence.

    On Calibration of Modern Neural Networks (Guo et al., 2017),
    https://arxiv.org/abs/1706.04599, Eq. 3.

    Args:
        logits: Logits (n, classes).
        labels: Classes (n,).
    """
    confidence, found = logits.double().softmax(1).max(1)
    excess = (found == labels).double() - confidence
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    sums = torch.zeros(CALIBRATION_BINS, dtype=torch.double).index_add(0, bins, excess)
    return sums.abs().sum().item() / len(labels)


def _class_shares(logits: Tensor) -> tuple[list[float], float]:
    """The share of each class, and of samples with a probability above `CONFIDENT`."""
    confidence, found = logits.softmax(1).max(1)
    shares = torch.bincount(found, minlength=logits.shape[1]) / len(logits)
    return shares.tolist(), (confidence > CONFIDENT).double().mean().item()
