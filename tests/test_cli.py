"""The command line in a temporary directory: files, columns, exit codes, kill and resume."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import load_run
from btgm_cli.cli import execute, main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report import draw_all

GAUSSIAN = ["run", "model=gaussian", "model.latent_dim=3", "criterion=linear"]
SMALL = [
    "flow.depth=2",
    "flow.hidden=[16]",
    "tuning.first_steps=150",
    "tuning.steps=100",
    "tuning.learning_rate=0.01",
    "tuning.n_eval=1000",
    "tuning.checkpoint_every=20",
    "tuning.min_acceptance_rate=1",
]
PATH = "target.betas=[0,0.5,1]"
COLUMNS = [
    "beta",
    "mean_f",
    "mean_f_se",
    "kl",
    "kl_se",
    "var_f",
    "m3_f",
    "mean_f_ref",
    "kl_ref",
    "log_z_ref",
    "ref_method",
    "ref_ess",
    "kl_gap",
    "ess_fraction",
    "steps",
    "f_evals",
    "seconds",
    "status",
]


def run_in(directory, *overrides):
    code = main([*GAUSSIAN, *SMALL, *overrides, f"out={directory}"])
    return code, Path(directory)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run along a path of β, in the place where runs are by default, and what it told."""
    folder, told = tmp_path_factory.mktemp("finished"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        patch.chdir(folder)
        patch.setattr(execute, "draw_all", draw_all)
        assert main([*GAUSSIAN, *SMALL, PATH]) == 0
    (run,) = (folder / "outputs" / "gaussian" / "linear").iterdir()
    return run, told.getvalue()


def test_a_run_leaves_what_other_tools_rely_on(finished):
    run, told = finished
    assert told.startswith("estimated cost of effective draws at β = 1, by the closed form")
    assert told.splitlines()[-1].endswith(run.name)
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    paid = {name for name in files if name.startswith("paid/")}
    assert paid
    assert files - paid == {
        *("pareto.csv", "trace.csv", "theory.csv", "cost.csv", "summary.json", "run.log"),
        "reference.npy",
        *("samples.png", "pareto.png", "theory_vs_empirical.png", "report.html"),
        *(f"flow/{k:03d}.safetensors" for k in range(3)),
        *(f"samples/{k:03d}.npy" for k in range(3)),
        *("manifest.json", ".lock"),
    }
    table = pd.read_csv(run / "pareto.csv")
    assert set(COLUMNS) <= set(table.columns)
    assert table["beta"].tolist() == [0, 0.5, 1]
    assert (table["status"] == "ok").all()
    assert (table["ref_method"] == "closed_form").all()
    assert np.allclose(table["kl_ref"], table["beta"] ** 2 / 2)
    assert (table["kl"] - table["kl_ref"]).abs().max() < 4 * table["kl_se"].max() + 0.05
    assert table["kl_gap"].max() < 0.05
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "ok"
    assert summary["target"] == {"betas": [0, 0.5, 1]}
    assert summary["seed"] == 0
    assert summary["f_evals"] == table["f_evals"].sum()
    assert len(pd.read_csv(run / "trace.csv")) == 3


@pytest.mark.slow
def test_the_gan_is_tuned_against_importance_sampling(here):
    """The shipped generator and classifier, end to end; the default path is the slow test's."""
    small = ["target.betas=[0,0.3]", "tuning.first_steps=20", "tuning.min_acceptance_rate=1"]
    draws = ["tuning.n_eval=1000", "tuning.n_reference=3000", "samples=8", "out=gan"]
    assert main(["run", "model=gan_mnist", "criterion=log_class4", *small, *draws]) == 0
    table = pd.read_csv(here / "gan" / "pareto.csv")
    assert table["status"].tolist() == ["ok", "ok_corrected"]
    shares = [float(share) for share in table["class_shares"].iloc[0].split()]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(1)
    assert table["ref_method"].tolist() == ["mis", "mis"]
    assert table["ref_reliable"].all()
    prior = table.iloc[0]
    error = 4 * np.hypot(prior["mean_f_se"], prior["mean_f_ref_se"])
    assert abs(prior["mean_f"] - prior["mean_f_ref"]) <= error
    # Twenty steps cannot do it, and the run must show that.
    assert table["kl_gap"].iloc[1] > 10 * table["kl_gap_se"].iloc[1]
    summary = json.loads((here / "gan" / "summary.json").read_text())
    assert len(summary["checkpoint_hash"]) == len(summary["classifier_hash"]) == 64


@pytest.mark.slow
def test_several_wishes_at_once_from_the_command_line(here, capsys):
    terms = ["criterion=sum", "criterion@criterion.terms.first=linear"]
    terms += ["criterion@criterion.terms.second=quadratic", "tuning.n_reference=20000"]
    wishes = "target.at_least={first: 0.5, second: -1.5}"
    code, run = run_in("both", *terms, wishes, "tuning.first_steps=200", "tuning.tolerance=0.05")
    assert code == 0
    table, trace = pd.read_csv(run / "pareto.csv"), pd.read_csv(run / "trace.csv")
    last = trace.iloc[-1]
    for name, wish in (("first", 0.5), ("second", -1.5)):
        assert last[f"at_least_{name}"] == wish
        assert last[f"mean_{name}"] >= wish - max(0.05 * 0.5, 2 * last[f"mean_{name}_se"])
    multipliers = np.array([last["multiplier_first"], last["multiplier_second"]])
    weights = [float(part) for part in str(table["weights"].iloc[-1]).split()]
    assert np.allclose(np.array(weights) * table["beta"].iloc[-1], multipliers)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["target"] == {"at_least": {"first": 0.5, "second": -1.5}}
    # Its draws know the weights that were found, which the configuration does not.
    assert main(["sample", "both", "n=2000", "out=draws.npz"]) == 0
    with np.load("draws.npz") as stored:
        drawn = dict(stored)
    x = torch.from_numpy(drawn["x"])
    first, second = x.sum(1) / np.sqrt(x.shape[1]), -0.5 * x.square().sum(1)
    assert np.allclose(drawn["f"], weights[0] * first + weights[1] * second, atol=1e-4)


@pytest.mark.slow
def test_views_from_the_command_line(here, capsys, pages):
    statements = '["E(linear) = 0.5", "P(quadratic > -1) = 0.5"]'
    asked = [f"target.views={statements}", *SMALL[:3], "tuning.n_learn=1000", "out=viewed"]
    assert main(["run", "model=gaussian", "model.latent_dim=3", *asked]) == 0
    views = pd.read_csv(here / "viewed" / "views.csv")
    assert views["view"].tolist() == ["E(linear)=0.5", "P(quadratic>-1)=0.5"]
    assert views["met"].all()
    assert "draws effective" in capsys.readouterr().out
    assert "views" in (here / "viewed" / "report.html").read_text()
    before = (here / "viewed" / "views.png").read_bytes()
    assert main(["report", "viewed"]) == 0
    assert (here / "viewed" / "views.png").read_bytes() == before
    assert main(["run", "resume=viewed"]) == 0
    assert pd.read_csv(here / "viewed" / "views.csv").equals(views)
    # Its draws are of the sum that was found, cut where it was.
    assert main(["sample", "viewed", "n=4000", "correct=resample", "out=draws.npz"]) == 0
    with np.load("draws.npz") as stored:
        x = stored["x"].astype(np.float64)
    linear, quadratic = x.sum(1) / np.sqrt(3), -0.5 * (x**2).sum(1)
    # Four errors of the draws, and as much as the views may be off.
    assert abs(linear.mean() - 0.5) <= 4 * 1.2 * linear.std() / 4000**0.5 + 0.01
    assert abs((quadratic > -1).mean() - 0.5) <= 4 * 1.2 * 0.5 / 4000**0.5 + 0.01


@pytest.mark.slow
def test_the_default_run_is_as_tight_as_the_readme_says(here, whole_calibration):
    assert main(["run", "model=gan_mnist", "criterion=log_class4", "out=gan"]) == 0
    table = pd.read_csv(here / "gan" / "pareto.csv")
    assert table["beta"].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert table["ref_reliable"].all()
    assert table["kl_gap"].max() <= 0.1
    assert table["ess_fraction"].min() >= 0.5
    assert (table["status"] == "ok").all()


def test_the_same_seed_writes_the_same_numbers(finished, here):
    run_in("again", PATH)
    run_in("other", "target.betas=[0]", "seed=1")
    paths = (finished[0], here / "again", here / "other")
    tables = [pd.read_csv(path / "pareto.csv").drop(columns="seconds") for path in paths]
    assert tables[0].equals(tables[1])
    assert not tables[0].iloc[:1].equals(tables[2])
    first, second = ((path / "flow" / "002.safetensors").read_bytes() for path in paths[:2])
    assert first == second


def test_a_missed_target_exits_3_after_everything_is_written(here, capsys, pictures):
    code = main(
        [
            *["run", "model=gaussian", "criterion=quadratic", *SMALL],
            *["target.C_f=1.0", "out=missed"],
        ]
    )
    assert code == 3
    summary = json.loads((here / "missed" / "summary.json").read_text())
    assert summary["status"] == "infeasible_target"
    assert "cannot be met" in summary["message"]
    assert summary["remedy"].startswith("btgm run model=gaussian criterion=quadratic")
    assert " target.C_f=-" in summary["remedy"]
    assert "out=" not in summary["remedy"]
    assert summary["remedy"] in capsys.readouterr().out
    assert (here / "missed" / "pareto.png").is_file()


def test_a_criterion_that_is_nan_somewhere_ends_with_a_verdict_and_all_files(
    here, capsys, pictures
):
    (here / "criterion").mkdir()
    (here / "criterion" / "sometimes.yaml").write_text("_target_: odd.f\n_partial_: true\n")
    (here / "odd.py").write_text(
        "def f(x):\n    return x[:, 0].masked_fill(x[:, 0] > 3, float('nan'))\n"
    )
    code = main([*GAUSSIAN[:3], *SMALL, "criterion=sometimes", "out=odd"])
    assert code == 3
    summary = json.loads((here / "odd" / "summary.json").read_text())
    assert summary["status"] == "unreliable_reference"
    assert "NaN" in summary["message"]
    assert "check the criterion" in capsys.readouterr().out
    assert (here / "odd" / "theory_vs_empirical.png").is_file()
    sys.modules.pop("odd")


def test_a_target_run_keeps_the_trace_of_its_search(here):
    code, run = run_in("searched", "target.C_D=0.5", "tuning.n_eval=4000")
    assert code == 0
    trace = pd.read_csv(run / "trace.csv")
    assert {"pass", "beta", "kl", "goal", "residual", "lower", "upper", "next_beta"} <= set(trace)
    assert trace["converged"].tolist()[-1]
    assert abs(trace["residual"].iloc[-1]) <= max(0.005, 2 * trace["kl_se"].iloc[-1])


@pytest.mark.slow
def test_a_sweep_makes_one_run_directory_each(here):
    sweep = ["-m", "criterion=linear,quadratic", "target.C_D=0.2,0.4", "out=sweep"]
    assert main([*GAUSSIAN[:3], *SMALL, "tuning.max_updates=1", *sweep]) in (0, 3)
    assert len(list((here / "sweep").glob("*/pareto.csv"))) == 4
    budgets = [
        json.loads(p.read_text())["target"] for p in (here / "sweep").glob("*/summary.json")
    ]
    assert sorted(t["C_D"] for t in budgets) == [0.2, 0.2, 0.4, 0.4]


@pytest.mark.slow
def test_a_users_target_and_yaml_in_the_working_directory_are_found(here):
    (here / "mine.py").write_text("def first(x):\n    return x[:, 0]\n")
    (here / "criterion").mkdir()
    (here / "criterion" / "first.yaml").write_text("_target_: mine.first\n_partial_: true\n")
    code = main([*GAUSSIAN[:3], "criterion=first", *SMALL, "target.betas=[0,0.5]"])
    del sys.modules["mine"]  # as in a new process; not to be put back
    assert code == 0
    (run,) = (here / "outputs" / "gaussian" / "first").iterdir()
    assert pd.read_csv(run / "pareto.csv")["ref_method"].tolist() == ["mis", "mis"]


def test_a_finished_run_can_be_loaded_and_redrawn_from_python(finished, here):
    run = here / "kept"
    shutil.copytree(finished[0], run)
    loaded = load_run(run)
    z, log_q = loaded.tuned(1.0).draw(2000, derived_generator(5))
    # Tuned along (1, 1, 1)/√3 at β = 1, E f = 1 with standard deviation 1.
    f = z.sum(-1) / 3**0.5
    assert abs(f.mean() - 1) <= 4 / 2000**0.5 + 0.05
    assert log_q.shape == (2000,)
    with pytest.raises(Exception, match=r"this run has 0, 0\.5, 1"):
        loaded.tuned(0.7)
    pictures = [run / f"{name}.png" for name in ("samples", "pareto", "theory_vs_empirical")]
    for picture in pictures:
        picture.unlink()
    assert main(["report", str(run)]) == 0
    assert all(picture.stat().st_size > 5000 for picture in pictures)


@pytest.mark.slow
def test_a_run_killed_mid_training_resumes_to_the_same_numbers(here):
    """A real SIGKILL to a real process, once some steps of the second β are checkpointed."""
    slow = ["tuning.first_steps=400", PATH]
    _, whole = run_in("whole", *slow)
    command = [sys.executable, "-m", "btgm_cli", *GAUSSIAN, *SMALL, *slow]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "out=killed"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    killed = here / "killed"
    deadline = time.monotonic() + 60
    while not (killed / "flow" / "training.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "summary.json").exists(), "killed too late to test anything"
    assert len(pd.read_csv(killed / "pareto.csv")) == 1
    assert main(["run", "resume=killed"]) == 0
    tables = [pd.read_csv(p / "pareto.csv").drop(columns="seconds") for p in (whole, killed)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    for k in range(3):
        name = f"flow/{k:03d}.safetensors"
        assert (whole / name).read_bytes() == (killed / name).read_bytes()
    assert not (killed / "flow" / "training.pt").exists()


@pytest.mark.slow
def test_resuming_a_finished_run_changes_no_number(here):
    _, run = run_in("done", PATH)
    before = (run / "pareto.csv").read_bytes()
    assert main(["run", "resume=done"]) == 0
    assert (run / "pareto.csv").read_bytes() == before
