"""The search for a flow's depth and rate, with runs stood in for: its budget, and a kill."""

import json

import pandas as pd
import pytest

optuna = pytest.importorskip("optuna")

from experiments.flow_search import search as searched  # noqa: E402

from btgm_cli.store.manifest import MANIFEST, PARETO  # noqa: E402
from btgm_cli.store.runs import SUMMARY  # noqa: E402

EACH = 10_000
OPTIMUM = 3


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """What was asked for, of a `btgm run` whose gap is smallest at a depth of `OPTIMUM`."""
    asked = []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(searched.sys, "argv", ["search"])

    def main(arguments):
        asked.append(arguments)
        told = dict(item.split("=", 1) for item in arguments[1:])
        if "resume" in told:
            path = searched.Path(told["resume"])
        else:
            path = searched.Path(told["out"])
            path.mkdir()
            (path / MANIFEST).write_text(json.dumps({"depth": int(told["flow.depth"])}))
        if len(asked) == runs_until_kill[0]:
            raise KeyboardInterrupt
        depth = json.loads((path / MANIFEST).read_text())["depth"]
        row = {"kl_gap": 0.05 + 0.01 * abs(depth - OPTIMUM), "kl_gap_se": 0.002}
        pd.DataFrame([row | {"ess_fraction": 0.5, "status": "ok"}]).to_csv(path / PARETO)
        (path / SUMMARY).write_text(json.dumps({"f_evals": EACH}))
        return 0

    runs_until_kill = [0]
    monkeypatch.setattr(searched, "main", main)
    return asked, runs_until_kill


def test_the_defaults_come_first_and_no_trial_begins_beyond_the_budget(runs, tmp_path, capsys):
    asked, _ = runs
    searched.search(tmp_path, 5 * EACH)
    assert asked[0][-3:-1] == ["flow.depth=6", "tuning.learning_rate=0.002"]
    table = pd.read_csv(tmp_path / "trials.csv")
    assert len(table) == len(asked) == 5
    assert table["worth"].tolist() == pytest.approx(
        (0.054 + 0.01 * (table["flow.depth"] - OPTIMUM).abs()).tolist()
    )
    assert capsys.readouterr().out.split()[0] == "trial"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_killed_trial_is_gone_on_with_and_no_finished_one_is_made_again(runs, tmp_path):
    asked, kill = runs
    kill[0] = 3
    with pytest.raises(KeyboardInterrupt):
        searched.search(tmp_path, 5 * EACH)
    cut = asked[-1][-1].removeprefix("out=")
    searched.search(tmp_path, 5 * EACH)
    assert asked[3] == ["run", f"resume={cut}"]
    folders = [item[-1] for item in asked[:3] + asked[4:]]
    assert len(set(folders)) == len(folders) == 5
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 5
