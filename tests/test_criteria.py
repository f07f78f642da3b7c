"""Criteria against values worked out by hand, and against each other."""

import pytest
import torch

from btgm_cli.core import SettingError
from btgm_cli.criteria import ClassProbability, Entropy, LogClass, LogOdds, SecondClass


class Fixed(torch.nn.Module):
    """A classifier of three classes whose probabilities are the first pixels themselves."""

    def forward(self, x):
        return x.flatten(1)[:, :3].clamp(min=1e-30).log()


@pytest.fixture(autouse=True)
def _fixed_classifier(monkeypatch):
    monkeypatch.setattr("btgm_cli.criteria.classifier.load_classifier", lambda _: Fixed())


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
