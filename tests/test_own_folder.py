"""Modules, checkpoints and YAMLs of a user's own: found again from any working directory."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch

from btgm_cli import load_model, load_run
from btgm_cli.cli import main
from btgm_cli.core.errors import SettingError
from btgm_cli.store.checkpoints import save_network
from btgm_cli.store.manifest import require_run, write_manifest

MODULE = """import torch
from btgm_cli import StandardNormal


class Ring(StandardNormal):
    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)

    def decode(self, z):
        return 2 * z
"""
TINY = [
    *("flow.depth=1", "flow.hidden=[8]", "tuning.first_steps=5", "tuning.steps=5"),
    *("tuning.n_eval=200", "tuning.n_reference=500", "tuning.n_particles=200"),
    *("tuning.min_acceptance_rate=1", "samples=4", "target.betas=[0,0.1]", "threads=1"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a generator, beside a run that was made in it."""
    folder = tmp_path_factory.mktemp("made")
    home = folder / "home"
    (home / "model").mkdir(parents=True)
    (home / "rings.py").write_text(MODULE)
    (home / "model" / "ring.yaml").write_text("# A ring.\n_target_: rings.Ring\nlatent_dim: 2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "path", list(sys.path))
        assert main(["run", "model=ring", "criterion=linear", *TINY, "out=../run"]) in (0, 3)
    sys.modules.pop("rings", None)
    return folder


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of that folder, and the run as if made there; the working directory is another."""
    for name in ("home", "run"):
        shutil.copytree(made / name, tmp_path / name)
    home, run = tmp_path / "home", tmp_path / "run"
    assert require_run(run).folder == str(made / "home")
    write_manifest(run, replace(require_run(run), folder=str(home)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield home
    sys.modules.pop("rings", None)


def _forget(monkeypatch, home):
    """As in a new process."""
    sys.modules.pop("rings", None)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(home)])


def test_a_run_is_found_from_any_working_directory(home, capsys):
    assert json.loads((home.parent / "run" / "manifest.json").read_text())["folder"] == str(home)
    assert main(["report", "../run"]) == 0
    assert main(["sample", "../run", "n=10", "out=draws.npz"]) in (0, 3)
    assert main(["run", "resume=../run"]) in (0, 3)
    assert load_run("../run").model.decode(torch.ones(1, 2)).tolist() == [[2.0, 2.0]]


def test_a_folder_that_is_no_more_is_named(home, capsys):
    shutil.move(home, home.parent / "moved")
    for command in (["sample", "../run", "n=10"], ["run", "resume=../run"]):
        capsys.readouterr()
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "model._target_='rings.Ring': there is no module rings in" in error
        assert f"{home}, which is no more" in error
        assert str(home.parent / "elsewhere") in error
    with pytest.raises(SettingError, match="no module rings"):
        _ = load_run("../run").model
    assert main(["report", "../run"]) == 0  # needs no model


def test_the_module_may_lie_in_the_working_directory_instead(home):
    shutil.copy(home / "rings.py", "rings.py")
    shutil.rmtree(home)
    assert main(["sample", "../run", "n=10", "out=draws.npz"]) in (0, 3)


def test_another_module_of_that_name_is_not_taken_for_it(home, monkeypatch, capsys):
    other = home.parent / "elsewhere"
    (other / "rings.py").write_text(MODULE.replace("2 * z", "5 * z"))
    monkeypatch.syspath_prepend(str(other))  # as in a notebook there
    assert main(["sample", "../run", "n=10"]) == 2
    error = capsys.readouterr().err
    assert f"the run had {home / 'rings.py'}, and {other / 'rings.py'} comes first here" in error


def test_a_manifest_without_a_folder_is_read(home):
    run = home.parent / "run"
    write_manifest(run, replace(require_run(run), folder=""))
    shutil.copy(home / "rings.py", "rings.py")
    assert main(["sample", "../run", "n=10", "out=draws.npz"]) in (0, 3)


@pytest.mark.slow
def test_a_relative_checkpoint_is_found_again(tmp_path, monkeypatch, capsys):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(home)
    save_network(home / "mine.safetensors", load_model("gan_mnist").generator)
    own = ["model.checkpoint=mine.safetensors", "criterion=white"]
    assert main(["run", *own, *TINY, "target.betas=[0]", "out=../run"]) in (0, 3)
    monkeypatch.chdir(elsewhere)
    assert main(["sample", "../run", "n=10", "out=draws.npz"]) in (0, 3)
    (home / "mine.safetensors").unlink()
    capsys.readouterr()
    assert main(["sample", "../run", "n=10", "out=again.npz"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("btgm sample: model.checkpoint='mine.safetensors': ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("inside", "folder"),
    [
        (".", "out"),
        ("conf", "target"),
        *(
            pytest.param(inside, folder, marks=pytest.mark.slow)
            for inside in (".", "conf")
            for folder in ("seed", "samples", "threads", "device")
        ),
    ],
)
def test_a_folder_named_like_a_setting_changes_nothing(tmp_path, monkeypatch, folder, inside):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / inside / folder).mkdir(parents=True)
    (tmp_path / inside / folder / "3.yaml").write_text("a: 1\n")
    settings = ["seed=3", "threads=1", "device=cpu", "flow=iaf", "target.betas=[0]", "samples=3"]
    assert main(["run", "model=gaussian", "criterion=linear", *TINY, *settings, "out=x"]) == 0
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == manifest["settings"]["samples"] == 3


def test_list_shows_the_options_of_the_working_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for place, name in (("model", "ring"), ("conf/criterion", "bent"), ("model", "gaussian")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / f"{name}.yaml").write_text(f"# About {name}.\n_target_: x.y\n")
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "ring             About ring. (your own: model/ring.yaml)" in listed
    assert "bent             About bent. (your own: conf/criterion/bent.yaml)" in listed
    assert "About gaussian" not in listed  # the package's comes first
