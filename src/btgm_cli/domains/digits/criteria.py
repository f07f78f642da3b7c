"""Criteria read off a network of its own: a classifier h (§4.1), or a discriminator (§4.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import shape_of_x
from btgm_cli.domains.digits.classifier import frozen_classifier, logits_of
from btgm_cli.domains.digits.discriminator import (
    Discriminator,
    require_same_generator,
    slopes,
)
from btgm_cli.store.checkpoints import load_network

DISCRIMINATOR = "criterion.discriminator"

N_SLOPES = 256
FLAT = 1e-6
"""A gradient in z that leads nowhere, nats."""
SATURATED = 0.9
"""The share of draws with one from which on a discriminator cannot be followed."""


class OfClassifier:
    """What every criterion of a classifier has: the network, and the class of an image.

    All of them start from the log-softmax of the logits, never from the log of a clipped
    probability, so that the gradient lives far from a class.

    Args:
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __init__(self, classifier: str = "classifier_mnist") -> None:
        self.network: nn.Module = frozen_classifier(classifier)
        with torch.no_grad():
            self.n_classes = int(self.network(torch.zeros(1, 1, 28, 28)).shape[-1])

    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of each image, shape (n,)."""
        return self._logits(x).argmax(-1)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """log h(· | x) in nats, shape (n, n_classes), for images x (n, 1, 28, 28) in [0, 1]."""
        return torch.log_softmax(self._logits(x), -1)

    def _logits(self, x: Tensor) -> Tensor:
        self.network.to(x.device)
        return logits_of(self.network, x)

    def _checked(self, name: str, label: int) -> int:
        if isinstance(label, bool) or label not in range(self.n_classes):
            expected = f"must be one of the classes 0 … {self.n_classes - 1}"
            raise SettingError(f"criterion.{name}", label, expected)
        return label


class LogClass(OfClassifier):
    """f(x) = log h(ℓ | x) in nats: favour one class (Eq. 11).

    Args:
        label: the class ℓ to favour, 0 … number of classes − 1.
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __init__(self, label: int, classifier: str = "classifier_mnist") -> None:
        super().__init__(classifier)
        self.label = self._checked("label", label)

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        return self.log_probabilities(x)[:, self.label]


class ClassProbability(LogClass):
    """f(x) = h(ℓ | x): the paper's hard case, flat nearly everywhere and steep between (§4.2).

    Args:
        label: the class ℓ to favour, 0 … number of classes − 1.
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """f within 0 … 1 of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        return super().__call__(x).exp()


class Entropy(OfClassifier):
    """f(x) = −Σ h log h in nats: images between classes, to debug the classifier (§4.1)."""

    def __call__(self, x: Tensor) -> Tensor:
        """f within 0 … log n_classes of shape (n,) for images x (n, 1, 28, 28) in [0, 1]."""
        log_h = self.log_probabilities(x)
        return -(log_h.exp() * log_h).sum(-1)


class SecondClass(OfClassifier):
    """f(x) = the second largest h(ℓ | x): images on a border of two classes (§4.1)."""

    def __call__(self, x: Tensor) -> Tensor:
        """f within 0 … ½ of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        return self.log_probabilities(x).topk(2, -1).values[:, 1].exp()


class LogOdds(OfClassifier):
    """f(x) = log h(ℓ | x) − log h(ℓ' | x) in nats: one class at the expense of another.

    Args:
        label: the class ℓ to favour, 0 … number of classes − 1.
        against: the class ℓ' to avoid, another one.
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __init__(self, label: int, against: int, classifier: str = "classifier_mnist") -> None:
        super().__init__(classifier)
        self.label = self._checked("label", label)
        self.against = self._checked("against", against)
        if against == label:
            raise SettingError("criterion.against", against, "must differ from criterion.label")

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        log_h = self.log_probabilities(x)
        return log_h[:, self.label] - log_h[:, self.against]


class RealLogOdds(OfClassifier):
    """f(x) = log p_D(x) / p(x) in nats, as a discriminator of real and generated images has it.

    Its tilts are q_beta = p^(1 - beta) p_D^beta, as far as the discriminator knows (Eq. 13). It
    tells the classes of x by a classifier, so that a lost digit can be named.

    Args:
        discriminator: name of a packaged discriminator or path of a checkpoint; one that was
            trained on draws of the model.
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __init__(
        self,
        discriminator: str = "discriminator_vae_mnist",
        classifier: str = "classifier_mnist",
    ) -> None:
        super().__init__(classifier)
        self.name = discriminator
        self.discriminator = load_network(Discriminator, discriminator, DISCRIMINATOR)

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        f: Tensor = self.discriminator.to(x.device)(x)
        return f

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> RealLogOdds:
        """The same criterion, once it is known to fit the model, by `N_SLOPES` of its draws.

        Raises:
            SettingError: The model makes other images, is not the generator that the
                discriminator learned from, or leaves it hardly a gradient.
        """
        shape = shape_of_x(model, device)
        if shape != (1, 28, 28):
            expected = f"judges images of shape (1, 28, 28), this model gives x of shape {shape}"
            raise SettingError(DISCRIMINATOR, self.name, expected)
        require_same_generator(self.discriminator, model, DISCRIMINATOR, self.name)
        z = model.sample_prior(N_SLOPES, generator).to(device)
        flat = (slopes(self.discriminator.to(device), model, z) < FLAT).double().mean().item()
        if flat >= SATURATED:
            expected = (
                f"is saturated: its gradient in z is below {FLAT:g} on {flat:.0%} of the draws; "
                "train one for fewer steps, or with model.label_smoothing or model.spectral_norm"
            )
            raise SettingError(DISCRIMINATOR, self.name, expected)
        return self
