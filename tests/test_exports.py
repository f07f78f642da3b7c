"""What a run leaves beside its tables, by a model, a criterion and an export of the user's own."""

import sys

from btgm_cli.cli import main
from tests.test_cli import SMALL

OWN_PARTS = """
from dataclasses import dataclass

from btgm_cli.domains.analytic.gaussian import Gaussian

MADE = []

def model():
    MADE.append("model")
    return Gaussian(2)

class Criterion:
    def __init__(self):
        MADE.append("criterion")

    def __call__(self, x):
        return x[:, 0]

@dataclass(frozen=True)
class Note:
    text: str

    def __post_init__(self):
        MADE.append("note")

    def check(self, model):
        assert model.latent_dim == 2

    def write(self, path, draws):
        assert not draws.doubt
        shapes = *draws.tilted(5).shape, *draws.prior(3).shape
        (path / "note.txt").write_text(f"{self.text}: {shapes}")
        return ""

    def draw(self, path):
        (path / "note.png").touch()
        return [path / "note.png"]
"""


def test_a_run_is_built_once_and_its_exports_are_found(tmp_path, monkeypatch):
    """A model, a criterion and an export of the user's own tell when they are made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_parts.py").write_text(OWN_PARTS)
    for group in ("model", "criterion", "extra"):
        (tmp_path / group).mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: own_parts.model\n")
    (tmp_path / "criterion" / "mine.yaml").write_text("_target_: own_parts.Criterion\n")
    (tmp_path / "extra" / "mine.yaml").write_text("_target_: own_parts.Note\ntext: it\n")
    own = ["run", "model=mine", "criterion=mine", "+extra=mine", *SMALL, "target.betas=[0,0.1]"]
    own += ["tuning.first_steps=10"]
    assert main([*own, "out=run"]) == 0
    made = sys.modules["own_parts"].MADE
    assert made == ["note", "model", "criterion"]
    # What is left beside the tables is the export's, and is redrawn without the model.
    note = tmp_path / "run" / "note.txt"
    assert note.read_text() == "it: (5, 2, 3, 2)"
    (tmp_path / "run" / "note.png").unlink()
    assert main(["report", "run"]) == 0
    assert made == ["note", "model", "criterion", "note"]
    assert (tmp_path / "run" / "note.png").is_file()
    assert main([*own, "extra.text=3", "out=other"]) == 2
    # A job of a sweep is built from its manifest alone.
    assert main([*own, "-m", "out=third"]) == 0
    assert (tmp_path / "third" / "0_mine_mine" / "note.txt").is_file()
    monkeypatch.delitem(sys.modules, "own_parts")
