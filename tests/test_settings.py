"""From values to settings objects: each of the type that is declared, or refused in a line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from btgm_cli.cli.settings import arguments, checked
from btgm_cli.core.errors import SettingError


class Colour(StrEnum):
    RED = "red"
    DEEP_BLUE = "deep blue"


@dataclass(frozen=True)
class Everything:
    count: int = 1
    rate: float = 0.5
    flag: bool = False
    name: str = "n"
    colour: Colour = Colour.RED
    folder: Path | None = None
    limit: int | None = None
    path: Sequence[float] | None = None
    parts: tuple[str, ...] = ()
    by_name: Mapping[str, float] | None = None
    either: int | str = 0


@dataclass(frozen=True)
class Needy:
    n: int


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("count", 3, 3),
        ("rate", 3, 3),
        ("rate", math.inf, math.inf),
        ("flag", True, True),
        ("colour", "deep blue", Colour.DEEP_BLUE),
        ("colour", Colour.RED, Colour.RED),
        ("folder", "here", Path("here")),
        ("folder", None, None),
        ("limit", None, None),
        ("path", [0, 0.5], [0, 0.5]),
        ("parts", ["a", "b"], ("a", "b")),
        ("by_name", {"a": 1, "b": 0.5}, {"a": 1, "b": 0.5}),
        ("either", "x", "x"),
    ],
)
def test_a_value_of_the_declared_type_is_taken(name, value, kept):
    found = getattr(checked(Everything, {name: value}), name)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", True, "must be a whole number"),
        ("count", "10", "must be a whole number"),
        ("count", 10.5, "must be a whole number"),
        ("count", 10.0, "must be a whole number"),
        ("count", None, "must be a whole number"),
        ("limit", 1.5, "must be a whole number"),
        ("rate", "1", "must be a number"),
        ("rate", False, "must be a number"),
        ("rate", math.nan, "must be a number"),
        ("flag", 1, "must be true or false"),
        ("flag", "yes", "must be true or false"),
        ("name", 3, "must be text"),
        ("colour", "RED", "choose one of red, deep blue"),
        ("folder", 3, "must be a path"),
        ("folder", "", "must be a path"),
        ("path", 2, "must be a list of numbers"),
        ("path", "12", "must be a list of numbers"),
        ("path", [0, "a"], "must be a list of numbers"),
        ("path", [True], "must be a list of numbers"),
        ("parts", "ab", "must be a list of texts"),
        ("by_name", 2, "must be {NAME: NUMBER, …}"),
        ("by_name", {"a": "b"}, "must be {NAME: NUMBER, …}"),
        ("by_name", {1: 2.0}, "must be {NAME: NUMBER, …}"),
        ("either", 1.5, "must be a whole number or must be text"),
        ("colours", "red", "unknown setting (did you mean colour?); choose from count, rate"),
    ],
)
def test_another_value_is_refused_by_name(name, value, words):
    with pytest.raises(SettingError) as told:
        checked(Everything, {name: value}, "some.")
    assert str(told.value).startswith(f"some.{name}={value!r}: {words}")


def test_what_has_no_default_must_be_given():
    with pytest.raises(SettingError, match=r"^n=None: must be given$"):
        checked(Needy, {})


def test_arguments_are_read_as_in_a_configuration_file():
    given = ["n=3", "rate=1e-3", "flag=true", "none=null", "word=none", "empty=", "is=a=b"]
    assert arguments([*given, "list=[1, a,0.5]", "n=4"]) == {
        **{"n": 4, "rate": 1e-3, "flag": True, "none": None, "word": "none", "empty": ""},
        **{"is": "a=b", "list": [1, "a", 0.5]},
    }


@pytest.mark.parametrize("argument", ["n", "=3", ""])
def test_what_is_no_setting_is_refused(argument):
    with pytest.raises(SettingError, match="must be given as SETTING=VALUE"):
        arguments([argument])
