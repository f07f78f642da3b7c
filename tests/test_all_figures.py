"""`btgm figure all`: the runs of all figures as one sweep, what is finished stays, one page."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imsave

from btgm_cli.cli import figures, main
from btgm_cli.cli.engines import Engine
from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.store.files import write_text
from tests.pages import checked, embedded
from tests.test_sweeps import TINY

NAMES = ("fig5", "fig6")
MADE = []
"""Names, in order, of what was made."""

FAULTS = {}
"""What making a figure raises, by its name."""


@dataclass(frozen=True)
class Tiny:
    """A figure that takes no time."""

    name: str
    beta: float = 0.3

    def runs(self):
        target = f"target.betas=[{self.beta}]"
        return {"default": [*TINY, target, "criterion=linear"]} if self.name == "fig5" else {}

    def make(self, runs, out):
        MADE.append(self.name)
        if self.name in FAULTS:
            raise FAULTS[self.name]
        assert set(runs) == set(self.runs())
        files = [out / f"{self.name}.md", out / f"{self.name}.png"]
        write_text(files[0], "| β |\n")
        imsave(files[1], np.zeros((2, 2)))
        return files


@pytest.fixture(autouse=True)
def tiny(here, monkeypatch):
    monkeypatch.setattr(figures, "load_figure", lambda name, quick: Tiny(name))
    MADE.clear()
    FAULTS.clear()


def make(here, **changes):
    asked = {"quick": False, "threads": 1, "engine": Engine([]), "names": NAMES} | changes
    return figures.make_all(here / "all", **asked)


def test_all_figures_are_made_once_and_told_on_one_page(here, capsys):
    assert make(here) == 0
    assert MADE == ["fig5", "fig6"]
    page = checked((here / "all" / "index.html").read_text(), here / "all")
    assert "2 of 2 made" in page.text
    assert "nines are the last to leave" in page.text  # the claim of Fig. 5
    assert "btgm figure fig6" in page.text
    pictures = page.all("img")
    assert len(pictures) == 2
    assert all(isinstance(embedded(picture["src"]), bytes) for picture in pictures)
    assert {"fig5/fig5.md", "fig6/fig6.md"} <= {link["href"] for link in page.all("a")}
    table = pd.read_csv(here / "all" / "index.csv")
    assert table["folder"].tolist() == ["fig5/runs/default"]
    assert table["status"][0] in page.text

    before = {p: p.stat().st_mtime_ns for p in (here / "all").glob("fig*/**/*") if p.is_file()}
    assert make(here) == 0
    assert MADE == ["fig5", "fig6"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out.splitlines()[-1] == str(here / "all" / "index.html")

    # What has changed since is made again, and that alone.
    (here / "all" / "fig6" / "fig6.md").write_text("mine")
    assert make(here) == 0
    assert MADE == ["fig5", "fig6", "fig6"]


def test_a_kill_leaves_finished_figures_and_the_same_command_goes_on(here, monkeypatch):
    FAULTS["fig7"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as stopped:
        make(here, names=("fig6", "fig7"))
    assert stopped.value.__notes__ == ["the same command goes on"]
    page = checked((here / "all" / "index.html").read_text(), here / "all")
    assert "1 of 2 made" in page.text
    assert "Not made yet." in page.text
    FAULTS.clear()
    assert make(here, names=("fig6", "fig7")) == 0
    assert MADE == ["fig6", "fig7", "fig7"]


def test_a_figure_that_cannot_be_made_takes_no_other_down(here, capsys):
    FAULTS["fig6"] = DataError("there.npz", "is <damaged>")
    assert make(here, names=("fig6", "fig7")) == 2
    assert MADE == ["fig6", "fig7"]
    assert "btgm figure: fig6: there.npz: is <damaged>" in capsys.readouterr().err
    page = checked((here / "all" / "index.html").read_text(), here / "all")
    assert "Not made: there.npz: is <damaged>" in page.text
    FAULTS.clear()
    assert make(here, names=("fig6", "fig7")) == 0
    assert MADE == ["fig6", "fig7", "fig6"]


def test_a_folder_of_other_settings_is_refused(here, monkeypatch, capsys):
    with monkeypatch.context() as patch:  # planned, and no more
        patch.setattr(figures, "_made", lambda recipe, sweep, here: "")
        assert make(here) == 0
    monkeypatch.setattr(figures, "load_figure", lambda name, quick: Tiny(name, beta=0.4))
    with pytest.raises(SettingError, match=r"other settings \(target.betas=\[0.3\], not \[0.4\]"):
        make(here)
    assert main(["figure", "all", "quick=maybe"]) == 2
    assert "quick='maybe'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_planned_run_that_another_command_has_made_is_taken_as_it_is(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(figures, "_made", lambda recipe, sweep, **how: "")
        assert make(here, names=("fig5",)) == 0
        patch.setattr(torch, "get_num_threads", lambda: 2)  # of the other command
        overrides = [item for item in Tiny("fig5").runs()["default"] if item != "threads=1"]
        assert main(["run", *overrides, "out=all/fig5/runs/default"]) in (0, 3)
    manifest = here / "all" / "fig5" / "runs" / "default" / "manifest.json"
    before = manifest.read_bytes()
    assert make(here, names=("fig5",)) == 0
    assert MADE == ["fig5"]
    assert manifest.read_bytes() == before
