"""A run arrives where it is sent, and is whole where it cannot be."""

import importlib.util
import json
import math
import socket

import numpy as np
import pandas as pd
import pytest

from btgm_cli.cli import main
from btgm_cli.core.errors import SettingError
from btgm_cli.report import draw_all
from btgm_cli.report.trackers import event_files, mlflow_server, tracked
from btgm_cli.store.runs import read_run
from tests.test_sweeps import TINY

RUN = ["run", *TINY, "target.betas=[0,0.3]", "criterion=linear", "out=run"]


@pytest.fixture(autouse=True)
def place(here, monkeypatch):
    monkeypatch.delenv(mlflow_server.URI, raising=False)
    return here


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    assert main([*RUN[:-1], f"out={path}"]) in (0, 3)
    draw_all(read_run(path))
    return path


def rows(path):
    numbers = pd.read_csv(path / "pareto.csv").select_dtypes("number")
    return numbers.replace([math.inf, -math.inf], math.nan)


def test_what_is_sent_is_what_the_files_have(run):
    told = tracked.tracked(run)
    table = rows(run)
    for k, row in enumerate(told.rows):
        assert row == table.iloc[k].dropna().to_dict()
    assert {row["beta"] for row in told.rows} == {0.0, 0.3}
    assert told.settings["tuning.n_eval"] == "200"
    assert told.settings["target.betas"] == "[0, 0.3]"
    assert told.words["status"] == json.loads((run / "summary.json").read_text())["status"]
    assert [picture.name for picture in told.pictures] == [
        "pareto.png",
        "samples.png",
        "theory_vs_empirical.png",
    ]


def test_tensorboard_reads_back_rows_pictures_and_settings(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # the second time in place of the first
        place = event_files.EventFiles("logs").send(run)
    assert place == "logs/run"
    read = EventAccumulator(place, size_guidance={"tensors": 0})
    read.Reload()
    table = rows(run)
    for name in ("beta", "kl", "mean_f", "kl_gap", "ess_fraction"):
        events = read.Scalars(name)
        assert [event.step for event in events] == [0, 1]
        assert [event.value for event in events] == pytest.approx(list(table[name]), rel=1e-6)
    assert set(read.Tags()["images"]) == {"pareto", "samples", "theory_vs_empirical"}
    words = read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| `tuning.n_eval` | `200` |" in words


def test_mlflow_reads_back_rows_pictures_and_settings(run, here, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{here}/runs"
    for _ in range(2):  # the second time in place of the first
        assert uri in mlflow_server.MlflowServer(uri, "tuned").send(run)
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("tuned").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["tuning.n_eval"] == "200"
    assert found.data.tags["status"] in ("ok", "ok_corrected", "undertrained")
    table = rows(run)
    for name in ("beta", "kl", "mean_f", "kl_gap", "ess_fraction"):
        history = client.get_metric_history(found.info.run_id, name)
        assert [metric.step for metric in history] == [0, 1]
        assert np.array_equal([metric.value for metric in history], table[name])
    files = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert files == {"pareto.png", "samples.png", "theory_vs_empirical.png", "report.html"}


def test_a_server_that_is_down_costs_a_line_and_no_run(here, capsys, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setitem(mlflow_server.PATIENCE, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main([*RUN, "tracker=mlflow", f"tracker.uri={uri}"]) in (0, 3)
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if "not sent" in line]
    assert line.startswith("btgm run: not sent by MlflowServer (")
    assert line.endswith(f"all is in {here}/run, and btgm run resume={here}/run sends it again")
    assert out.splitlines()[-1] == f"{here}/run"
    assert len(pd.read_csv("run/pareto.csv")) == 2
    assert (here / "run" / "report.html").is_file()
    assert "not sent" in (here / "run" / "run.log").read_text()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_told_before_any_work(here, capsys, monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(tracked, "find_spec", lambda asked: None if asked == name else find(asked))
    assert main([*RUN, f"tracker={name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"tracker='{name}': needs {name}: pip install 'btgm[{name}]'")
    assert not (here / "run").exists()


def test_mlflow_needs_a_server(monkeypatch):
    monkeypatch.setattr(mlflow_server, "require_library", lambda *named: None)
    with pytest.raises(SettingError, match=r"tracker.uri=None: must name a server"):
        mlflow_server.MlflowServer().check()
    monkeypatch.setenv(mlflow_server.URI, "http://localhost:1")
    mlflow_server.MlflowServer().check()


def test_settings_of_a_tracker_are_checked(here, capsys):
    assert main([*RUN, "tracker=wandb"]) == 2
    assert "mlflow" in capsys.readouterr().err
    assert main([*RUN, "tracker=mlflow", "tracker.uri=3"]) == 2
    assert "tracker.uri=3" in capsys.readouterr().err
    assert not (here / "run").exists()
