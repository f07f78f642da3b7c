"""The examples of every public name are true; each one imports all that it uses."""

import doctest

import pytest

import btgm_cli
from btgm_cli.cli import main


def is_behaviour(public: object) -> bool:
    """A class or function; a protocol only says what others must have."""
    return callable(public) and not getattr(public, "_is_protocol", False)


NAMES = [name for name in btgm_cli.__all__ if is_behaviour(getattr(btgm_cli, name))]


@pytest.fixture(scope="module")
def folder_of_a_run(tmp_path_factory):
    """Where `shifted` is what the example of `load_run` asks for, tuned in a moment."""
    folder = tmp_path_factory.mktemp("runs")
    asked = ["model=gaussian", "criterion=linear", "target.betas=[0,0.5]"]
    quick = ["flow.depth=2", "flow.hidden=[16]", "tuning.first_steps=20", "tuning.n_eval=1000"]
    quick += ["tuning.min_acceptance_rate=1", "tuning.n_reference=2000"]
    code = main(["run", *asked, *quick, "samples=8", f"out={folder / 'shifted'}"])
    assert code in (0, 3)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_public_name_are_true(name, request, monkeypatch):
    found = doctest.DocTestFinder().find(getattr(btgm_cli, name), name, globs={})
    examples = [example for test in found for example in test.examples]
    assert examples, f"btgm_cli.{name} has no example in its docstring"
    assert not any(example.options.get(doctest.SKIP) for example in examples)
    if name == "load_run":
        monkeypatch.chdir(request.getfixturevalue("folder_of_a_run"))
    runner, told = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS), []
    for test in found:
        runner.run(test, out=told.append)
    assert not told, "".join(told)
