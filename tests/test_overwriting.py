"""Nothing is overwritten without a word: one line names what is there and what to do."""

import json
import sys
from pathlib import Path

import pytest

from btgm_cli.cli import figure, main

FULL = json.dumps({"figure": "fig1", "quick": False})


@pytest.mark.parametrize(
    ("command", "there", "told"),
    [
        (["train", "model=gan_mnist"], "gan_mnist.safetensors", "go on there with resume=true"),
        (["train", "model=vae_energy"], "vae_energy.json", "go on there with resume=true"),
        (["train", "model=gan_mnist"], "training_state.pt", "go on there with resume=true"),
        (["train", "model=classifier_mnist"], "samples.png", "choose another folder"),
        (["data", "build", "load", "--input", "a.csv"], "weekly_load.npz", "choose another"),
        (["data", "build", "load", "--input", "a.csv"], "ATTRIBUTION.txt", "choose another"),
        (["data", "build", "load", "--input", "a.csv"], "households.csv", "choose another"),
        (["rank", "model=gaussian", "criteria=[linear]"], "ranking.csv", "choose another folder"),
        (["rank", "model=gaussian", "criteria=[linear]"], "ranking_k.csv", "choose another"),
        (["rank", "model=gaussian", "criteria=[linear]"], "norms.npz", "choose another folder"),
        (["rank", "model=gaussian", "criteria=[linear]"], "ranking.pdf", "choose another folder"),
        (["figure", "fig1"], "fig1.md", "choose another folder"),
        (["figure", "fig6", "quick=true"], "fig6.csv", "choose another folder"),
    ],
)
def test_what_is_there_is_named_and_left(tmp_path, monkeypatch, capsys, command, there, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("a.csv").write_text("household,timestamp,kWh\n")
    Path("made").mkdir()
    Path("made", there).write_text("mine")
    assert main([*command, "out=made"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"out='made': already holds {there}; " in line
    assert told in line
    assert line.endswith("or remove it")
    assert [path.name for path in Path("made").iterdir()] == [there]
    assert Path("made", there).read_text() == "mine"


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        (FULL, "out='made': holds fig1 with quick=false; choose another folder or remove it"),
        (FULL.replace("fig1", "fig5"), "out='made': holds fig5 with quick=false"),
        ("{", "figure.json: is damaged (JSONDecodeError)"),
        ("[]", "figure.json: is damaged (TypeError)"),
    ],
)
def test_a_quick_figure_does_not_replace_another_one(tmp_path, monkeypatch, capsys, owner, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("made").mkdir()
    Path("made", "figure.json").write_text(owner)
    assert main(["figure", "fig1", "quick=true", "out=made"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert [path.name for path in Path("made").iterdir()] == ["figure.json"]


def test_a_figure_of_the_same_kind_is_made_again(tmp_path, monkeypatch):
    class Nothing:
        def runs(self):
            return {}

        def make(self, runs, out):
            (out / "fig1.md").write_text("page")
            return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figure, "load_figure", lambda name, quick: Nothing())
    for _ in range(2):
        assert main(["figure", "fig1", "quick=true", "out=made"]) == 0
    assert main(["figure", "fig1", "out=made"]) == 2
