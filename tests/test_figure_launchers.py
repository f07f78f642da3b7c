"""`btgm figure` with a launcher: its runs side by side, whoever began them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from btgm_cli.cli import engines, figure, figures, main, work
from btgm_cli.cli.engines import Engine
from btgm_cli.core.errors import BtgmError
from btgm_cli.store.files import write_text
from btgm_cli.store.manifest import read_manifest
from btgm_cli.store.sweeps import FAILED, SWEEP, State, state_of
from tests.test_engines import JOBLIB, launches  # noqa: F401
from tests.test_sweeps import TINY

FIGURE = ["figure", "fig10", "out=made"]
RUNS = Path("made", "runs")
SETTINGS = [item for item in TINY if not item.startswith("threads=")]


@dataclass(frozen=True)
class Two:
    """A figure of two runs that takes no time."""

    name: str = "fig10"

    def runs(self):
        return {name: [*SETTINGS, f"criterion={name}"] for name in ("linear", "quadratic")}

    def make(self, runs, out):
        assert list(runs) == list(self.runs())
        return [write_text(out / f"{self.name}.md", "| β |\n") or out / f"{self.name}.md"]


@pytest.fixture
def two(here, monkeypatch):
    monkeypatch.setattr(figure, "load_figure", lambda name, quick: Two())
    monkeypatch.setattr(figures, "load_figure", lambda name, quick: Two(name))


@pytest.fixture
def unlucky(monkeypatch):
    """Runs by the criterion `quadratic` fail, in whatever process of a sweep."""
    whole = work.execute

    def execute(job, manifest, path, **how):
        if path.name == "quadratic":
            raise BtgmError("no such luck")
        return whole(job, manifest, path, **how)

    monkeypatch.setattr(work, "execute", execute)


def threads(name):
    return read_manifest(RUNS / name).settings["threads"]


def test_a_launcher_does_what_is_left_and_keeps_the_rest(two, launches, monkeypatch, capsys):  # noqa: F811
    asked, _ = launches
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 2)  # two would take ten times as long
        begun = ["run", *Two().runs()["linear"], f"out={RUNS / 'linear'}"]
        assert main(begun) in (0, 3)
    before = {file: file.read_bytes() for file in RUNS.rglob("*") if file.is_file()}
    assert main([*FIGURE, JOBLIB]) == 0
    assert asked == [[1]]
    assert {file: file.read_bytes() for file in before} == before
    assert (threads("linear"), threads("quadratic")) == (2, 1)
    assert [file.parent for file in Path("made").rglob(SWEEP)] == [RUNS]
    assert capsys.readouterr().out.endswith("| β |\n\nmade/fig10.md\n")

    # Of other threads or launchers are neither runs nor plans, and none is made again.
    before = {file: file.read_bytes() for file in RUNS.rglob("*") if file.is_file()}
    for how in ([], ["threads=2"], [JOBLIB, "threads=2"]):
        assert main([*FIGURE, *how]) == 0
    assert asked == [[1]]
    assert {file: file.read_bytes() for file in before} == before


def test_a_run_that_fails_is_told_and_the_other_is_kept(two, unlucky, launches, capsys):  # noqa: F811
    assert main([*FIGURE, JOBLIB]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    told = "the runs in made/runs did not all end: quadratic: failed: no such luck"
    assert line == f"btgm figure: {told}"
    assert state_of(RUNS / "linear") is State.FINISHED
    kept = (RUNS / "linear" / "manifest.json").read_bytes()
    # Here, then, and the reason goes with it.
    assert main(FIGURE) == 0
    assert (RUNS / "linear" / "manifest.json").read_bytes() == kept
    assert not list(RUNS.rglob(FAILED))
    assert state_of(RUNS / "quadratic") is State.FINISHED


@pytest.mark.usefixtures("two", "unlucky")
def test_the_runs_of_all_figures_are_launched_at_once(here, launches, monkeypatch, capsys):  # noqa: F811
    asked, _ = launches
    run = {"fig3": "linear", "fig4": "quadratic"}
    monkeypatch.setattr(Two, "runs", lambda two: {run[two.name]: [*SETTINGS, "criterion=linear"]})
    how = {"quick": False, "threads": None, "names": tuple(run)}
    assert figures.make_all(here / "all", engine=Engine([JOBLIB]), **how) == 2
    assert asked == [[0, 1]]
    told = "btgm figure: fig4: fig4/runs/quadratic did not end: see index.csv"
    assert capsys.readouterr().err.splitlines() == [told]
    assert "1 of 2 made" in " ".join((here / "all" / "index.html").read_text().split())


@pytest.mark.parametrize("name", ["fig10", "all"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hydra/launcher=joblip", "hydra/launcher='joblip': unknown (did you mean "),
        ("hydra.launcher.jobs=3", "hydra.launcher.jobs='3': there is no such setting"),
        (JOBLIB, "hydra/launcher='btgm_joblib': is not installed: pip install 'btgm[joblib]'"),
    ],
)
def test_a_launcher_that_cannot_be_used_is_one_line(here, monkeypatch, capsys, name, given, told):
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    assert main(["figure", name, given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"btgm figure: {told}")
    assert not list(here.iterdir())


@pytest.mark.slow
def test_a_real_launcher_makes_the_same_figure_to_the_bit(here):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    for how in (["threads=1", "out=here"], [JOBLIB, "out=there"]):
        assert main(["figure", "fig3", "quick=true", *how]) == 0
    for name in ("fig3.csv", "fig3.md"):
        assert Path("here", name).read_bytes() == Path("there", name).read_bytes()
