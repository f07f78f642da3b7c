"""Criteria against values worked out by hand, and against each other."""

import math

import pytest
import torch

from btgm_cli.core.contracts import Classified
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.combined.criteria import Affine, Normalized, WeightedSum, negated
from btgm_cli.domains.digits.classifier import frozen_classifier, load_classifier
from btgm_cli.domains.digits.criteria import (
    ClassProbability,
    Entropy,
    LogClass,
    LogOdds,
    SecondClass,
)
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Tuning, tune

GENERATOR = derived_generator(0)


class Fixed(torch.nn.Module):
    """A classifier of three classes whose probabilities are the first pixels themselves."""

    def forward(self, x):
        return x.flatten(1)[:, :3].clamp(min=1e-30).log()


@pytest.fixture(autouse=True)
def _fixed_classifier(monkeypatch):
    monkeypatch.setattr("btgm_cli.domains.digits.criteria.frozen_classifier", lambda _: Fixed())


def images(*probabilities):
    x = torch.zeros(len(probabilities), 1, 28, 28)
    x[:, 0, 0, :3] = torch.tensor(probabilities)
    return x


X = images((0.5, 0.25, 0.25), (0.1, 0.7, 0.2))


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (lambda: LogClass(1), [-1.3862944, -0.3566749]),
        (lambda: ClassProbability(1), [0.25, 0.7]),
        (Entropy, [1.0397208, 0.8018186]),
        (SecondClass, [0.25, 0.2]),
        (lambda: LogOdds(1, 2), [0.0, 1.2527630]),
    ],
)
def test_values_by_hand(criterion, expected):
    torch.testing.assert_close(criterion()(X), torch.tensor(expected))


def test_classes_are_told_by_every_criterion_of_a_classifier():
    for criterion in (LogClass(0), ClassProbability(0), Entropy(), SecondClass(), LogOdds(0, 1)):
        assert criterion.classes(X).tolist() == [0, 1]
        assert criterion.n_classes == 3


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (lambda: ClassProbability(3), "criterion.label=3"),
        (lambda: LogOdds(True, 1), "criterion.label=True"),
        (lambda: LogOdds(0, 5), "criterion.against=5"),
        (lambda: LogOdds(1, 1), "criterion.against=1"),
    ],
)
def test_a_class_that_is_not_there_is_refused_by_name(build, setting):
    with pytest.raises(SettingError, match=setting):
        build()


def first_pixel(x):
    return x.flatten(1)[:, 0]


def test_an_affine_criterion_by_hand():
    torch.testing.assert_close(Affine(first_pixel, 2.0, -1.0)(X), torch.tensor([0.0, -0.8]))
    torch.testing.assert_close(negated(first_pixel)(X), torch.tensor([-0.5, -0.1]))


def test_a_weighted_sum_by_hand():
    total = WeightedSum({"p": first_pixel, "h": ClassProbability(1)}, {"h": 10, "p": 2})
    torch.testing.assert_close(total(X), torch.tensor([3.5, 7.2]))
    torch.testing.assert_close(total.parts(X)[:, 1], torch.tensor([0.25, 0.7]))
    torch.testing.assert_close(total.weighted([1, 0])(X), first_pixel(X))


def test_normalized_under_p_has_mean_0_and_variance_1():
    model = Gaussian(3)
    f = Normalized(lambda x: 5.0 + 3.0 * x[:, 0]).under(model, derived_generator(0))
    values = f(model.sample_prior(40_000, derived_generator(1))).double()
    # Both the draws that it was normalized by and these are finite many.
    error = math.sqrt(1 / 10_000 + 1 / 40_000)
    assert abs(values.mean().item()) <= 4 * error
    assert abs(values.std().item() - 1) <= 4 * error / math.sqrt(2)
    assert f.own_beta == pytest.approx(1 / 3, rel=4 / math.sqrt(2 * 10_000))


def test_normalization_reaches_into_combinations():
    model, generator = Gaussian(3), derived_generator(0)
    ramp = Normalized(lambda x: 4.0 * x[:, 0])
    total = settled(WeightedSum({"a": ramp, "b": Linear()}, {"a": 1, "b": 1}), model, generator)
    x = model.sample_prior(5000, derived_generator(1))
    torch.testing.assert_close(total.parts(x)[:, 0].std(), torch.tensor(1.0), atol=0.06, rtol=0)
    assert settled(negated(ramp), model, generator).own_beta == pytest.approx(-0.25, rel=0.03)
    assert settled(first_pixel, model, generator) is first_pixel


def test_what_cannot_be_normalized_is_refused():
    with pytest.raises(SettingError, match="cannot be normalized"):
        Normalized(lambda x: 0 * x[:, 0]).under(Gaussian(3), derived_generator(0))
    with pytest.raises(SettingError, match="call its method `under` first"):
        Normalized(Linear())(torch.zeros(2, 3))


@pytest.mark.parametrize("weights", [{"a": 1}, {"a": 1, "b": 1, "c": 1}])
def test_weights_must_be_those_of_the_terms(weights):
    with pytest.raises(SettingError, match=r"criterion\.weights.*each of a, b"):
        WeightedSum({"a": Linear(), "b": Linear()}, weights)


def test_classes_are_told_through_combinations_and_only_if_there_are_any():
    inner = negated(LogClass(0))
    assert isinstance(inner, Classified)
    assert inner.classes(X).tolist() == [0, 1]
    assert isinstance(WeightedSum({"p": first_pixel, "c": inner}, {"p": 1, "c": 1}), Classified)
    assert not isinstance(negated(first_pixel), Classified)


def test_beta_is_told_on_both_scales():
    """The tilt of 3 x₀ at β is that of the normalized criterion at 3 β."""
    model = Gaussian(3)
    f = LatentCriterion(model, Normalized(lambda x: 3.0 * x[:, 0]).under(model, GENERATOR))
    settings = Tuning(first_steps=5, n_eval=500, n_reference=20_000, min_acceptance_rate=1.0)
    flow = InverseAutoregressive(3, depth=1, hidden=[8])
    target = Target(betas=[0.6])
    point = tune(model, f.criterion, target=target, flow=flow, settings=settings).points[-1]
    assert point.figures.beta_own == pytest.approx(0.2, rel=0.03)
    assert point.figures.beta_normalized == pytest.approx(0.6, rel=0.03)


class Counting(Fixed):
    """The same, which knows how often it was asked."""

    asked = 0

    def forward(self, x):
        self.asked += 1
        return super().forward(x)


@pytest.fixture
def counting(monkeypatch):
    network = Counting()
    monkeypatch.setattr("btgm_cli.domains.digits.criteria.frozen_classifier", lambda _: network)
    return network


def test_wishes_of_one_classifier_ask_it_once_for_the_same_images(counting):
    terms = {str(label): ClassProbability(label) for label in range(3)}
    wishes = WeightedSum(terms, dict.fromkeys(terms, 1.0))
    x, counting.asked = X.clone(), 0
    with torch.no_grad():
        assert torch.allclose(wishes.parts(x), X[:, 0, 0, :3])
        assert counting.asked == 1
        x[:, 0, 0, :3] = torch.tensor([0.2, 0.3, 0.5])  # the same tensor, and other images
        assert torch.allclose(wishes.parts(x), torch.tensor([0.2, 0.3, 0.5]))
        assert torch.allclose(wishes.parts(X.clone()), X[:, 0, 0, :3])
    assert counting.asked == 3


def test_with_gradient_each_wish_has_a_graph_of_its_own(counting):
    x = X.clone().requires_grad_()
    with torch.no_grad():
        ClassProbability(0)(x)
    for label in range(2):
        ClassProbability(label)(x).sum().backward()
    third = X[:, 0, 0, 2]  # of h = (p₀ + p₁) / (p₀ + p₁ + p₂)
    assert torch.allclose(x.grad[:, 0, 0, :3], torch.stack([third, third, third - 1], 1))


def test_classifiers_of_the_same_weights_are_one():
    kept = frozen_classifier()
    assert frozen_classifier("classifier_mnist") is kept
    assert load_classifier() is not kept
