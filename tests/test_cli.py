"""The command line in a temporary directory: files, columns, exit codes, kill and resume."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir

from btgm_cli import Target, Tuning, load_run
from btgm_cli.cli import main
from btgm_cli.cli import run as run_command
from btgm_cli.cli.config import build_criterion, build_flow, build_model, compose_config, values_of
from btgm_cli.cli.settings import checked
from btgm_cli.cli.tree import choices, conf_dir
from btgm_cli.core.seeds import derived_generator

GAUSSIAN = ["run", "model=gaussian", "model.latent_dim=3", "criterion=linear"]
SMALL = [
    "flow.depth=2",
    "flow.hidden=[16]",
    "tuning.first_steps=150",
    "tuning.steps=100",
    "tuning.learning_rate=0.01",
    "tuning.n_eval=1000",
    "tuning.checkpoint_every=20",
    "tuning.acceptance=1",
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


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def run_in(directory, *overrides):
    code = main([*GAUSSIAN, *SMALL, *overrides, f"out={directory}"])
    return code, Path(directory)


def test_a_run_leaves_what_other_tools_rely_on(here, capsys):
    assert main([*GAUSSIAN, *SMALL, PATH]) == 0
    (run,) = (here / "outputs" / "gaussian" / "linear").iterdir()
    assert capsys.readouterr().out.splitlines()[-1].endswith(run.name)
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert files == {
        *("pareto.csv", "trace.csv", "theory.csv", "cost.csv", "summary.json", "run.log"),
        "reference.npy",
        *("samples.png", "pareto.png", "theory_vs_empirical.png"),
        *(f"flow/{k:03d}.safetensors" for k in range(3)),
        *(f"samples/{k:03d}.npy" for k in range(3)),
        *(".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"),
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


def test_the_gan_is_tuned_against_importance_sampling(here):
    """The shipped generator and classifier, end to end; the default path is the slow test's."""
    small = ["target.betas=[0,0.3]", "tuning.first_steps=20", "tuning.acceptance=1"]
    draws = ["tuning.n_eval=1000", "tuning.n_reference=3000", "samples=8", "out=gan"]
    assert main(["run", "model=gan_mnist", "criterion=log_class4", *small, *draws]) == 0
    table = pd.read_csv(here / "gan" / "pareto.csv")
    assert table["status"].tolist() == ["ok", "ok_corrected"]
    shares = [float(share) for share in table["class_shares"].iloc[0].split()]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(1)
    assert table["ref_method"].tolist() == ["psis", "psis"]
    assert table["ref_reliable"].all()
    prior = table.iloc[0]
    error = 4 * np.hypot(prior["mean_f_se"], prior["mean_f_ref_se"])
    assert abs(prior["mean_f"] - prior["mean_f_ref"]) <= error
    # Twenty steps cannot do it, and the run must show that.
    assert table["kl_gap"].iloc[1] > 10 * table["kl_gap_se"].iloc[1]
    summary = json.loads((here / "gan" / "summary.json").read_text())
    assert len(summary["checkpoint_hash"]) == len(summary["classifier_hash"]) == 64


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
def test_the_default_run_is_as_tight_as_the_readme_says(here):
    assert main(["run", "model=gan_mnist", "criterion=log_class4", "out=gan"]) == 0
    table = pd.read_csv(here / "gan" / "pareto.csv")
    assert table["beta"].tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert table["ref_reliable"].all()
    assert table["kl_gap"].max() <= 0.1
    assert table["ess_fraction"].min() >= 0.5
    assert (table["status"] == "ok").all()


def test_the_same_seed_writes_the_same_numbers(here):
    tables = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_in(name, PATH, f"seed={seed}")
        tables.append(pd.read_csv(here / name / "pareto.csv").drop(columns="seconds"))
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    first, second = ((here / name / "flow" / "002.safetensors").read_bytes() for name in "ab")
    assert first == second


def test_a_missed_target_exits_3_after_everything_is_written(here, capsys):
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


def test_a_criterion_that_is_nan_somewhere_ends_with_a_verdict_and_all_files(here, capsys):
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


def test_a_sweep_makes_one_run_directory_each(here):
    sweep = ["-m", "criterion=linear,quadratic", "target.C_D=0.2,0.4", "out=sweep"]
    assert main([*GAUSSIAN[:3], *SMALL, "tuning.max_updates=1", *sweep]) in (0, 3)
    assert len(list((here / "sweep").glob("*/pareto.csv"))) == 4
    budgets = [
        json.loads(p.read_text())["target"] for p in (here / "sweep").glob("*/summary.json")
    ]
    assert sorted(t["C_D"] for t in budgets) == [0.2, 0.2, 0.4, 0.4]


def test_a_sweep_into_the_directory_of_another_is_refused(here, capsys):
    sweep = [*GAUSSIAN, *SMALL, "-m", "target.betas=[0],[0.0]", "out=sweep"]
    assert main(sweep) == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "sweep").rglob("*")}
    assert main(sweep) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (here / "sweep").rglob("*")} == before


def test_out_is_never_taken_for_a_group_of_options(here):
    (here / "out").mkdir()
    (here / "out" / "other.yaml").write_text("a: 1\n")
    assert main([*GAUSSIAN, *SMALL, "target.betas=[0]", "out=a run (1)"]) == 0
    assert (here / "a run (1)" / "pareto.csv").is_file()


def test_a_run_is_built_once(here, monkeypatch):
    """A model, a criterion and an export of the user's own tell when they are made."""
    (here / "own_parts.py").write_text(OWN_PARTS)
    for group in ("model", "criterion", "extra"):
        (here / group).mkdir()
    (here / "model" / "mine.yaml").write_text("_target_: own_parts.model\n")
    (here / "criterion" / "mine.yaml").write_text("_target_: own_parts.Criterion\n")
    (here / "extra" / "mine.yaml").write_text("_target_: own_parts.Note\ntext: it\n")
    own = ["run", "model=mine", "criterion=mine", "+extra=mine", *SMALL, "target.betas=[0,0.1]"]
    assert main([*own, "out=run"]) == 0
    made = sys.modules["own_parts"].MADE
    assert made == ["note", "model", "criterion"]
    # What is left beside the tables is the export's, and is redrawn without the model.
    note = here / "run" / "note.txt"
    assert note.read_text() == "it: (5, 2, 3, 2)"
    (here / "run" / "note.png").unlink()
    assert main(["report", "run"]) == 0
    assert made == ["note", "model", "criterion", "note"]
    assert (here / "run" / "note.png").is_file()
    assert main([*own, "extra.text=3", "out=other"]) == 2
    # Another process, such as a launcher's, has only the configuration.
    assert run_command._run_under_hydra([*own[1:], "hydra.run.dir=third"], {}) == 0
    assert (here / "third" / "note.txt").is_file()
    monkeypatch.delitem(sys.modules, "own_parts")


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


@pytest.mark.parametrize(
    ("arguments", "setting", "words"),
    [
        (["target.C_DD=1"], "target.C_DD", "choose from C_D, C_f, rho, at_least, betas"),
        (["target.C_D=1", "target.rho=0.1"], "target", "give one target, not 2"),
        (["target.C_D=abc"], "target.C_D", "must be a number"),
        (["target.C_D=-1"], "target.C_D", "positive"),
        (["target.betas=[1,0]"], "target.betas", "increasing"),
        (["target.betas=[0,1"], "target.betas=[0,1", "override"),
        (["model=gan"], "model='gan'", "gan_mnist, gaussian"),
        (["flow=glow"], "flow='glow'", "iaf, spline_coupling"),
        (["criterion=quadratic", "criterion.kk=3"], "criterion.kk='3'", "choose from k"),
        (["+model.colour=3"], "model.colour=3", "takes no such setting"),
        (["model.latent_dim=1"], "model.latent_dim=1", "2 or more"),
        (["foo=1"], "foo='1'", "choose from model, criterion"),
        (["+foo=1"], "foo=1", "choose from model, criterion"),
        (["bogus"], "override='bogus'", "missing EQUAL"),
        (["tuning.steps=1.5"], "tuning.steps=1.5", "whole number"),
        (["tuning.steps=no"], "tuning.steps", "whole number"),
        (["tuning.tolerance=no"], "tuning.tolerance", "must be a number"),
        (
            ["tuning.gradient=adam"],
            "tuning.gradient='adam'",
            "auto, reparametrised, score",
        ),
        (["tuning.f_samples=0"], "tuning.f_samples=0", "1 or more"),
        (["tuning.f_samples=3"], "tuning.f_samples=3", "same x each time"),
        (["target.at_least={first:1}"], "target.at_least", "has no terms"),
        (["target.at_least=2"], "target.at_least=2", "must be {NAME: NUMBER"),
        (["criterion=sum", "target.at_least={first:1}"], "target.at_least", "first, second"),
        (["target.betas=2"], "target.betas=2", "list of numbers"),
        (["seed=-1"], "seed=-1", "0 or more"),
        (["threads=0"], "threads=0", "1 or more"),
        (["device=tpu"], "device='tpu'", "auto, cpu, cuda"),
        (["flow.depth=0"], "flow.depth=0", "1 or more"),
        (["criterion.direction=[1,2]"], "criterion.direction", "as many entries"),
        (["criterion._target_=nope.f"], "criterion._target_='nope.f'", "No module named 'nope'"),
        (["criterion=log_class4"], "criterion='LogClass'", "fails on x of shape"),
        (["criterion=log_class", "criterion.label=12"], "criterion.label=12", "0 … 9"),
        (["-m", "target.C_D=1,-1"], "target.C_D=-1", "positive"),
        (["resume=nowhere"], "resume", "takes its settings from the run"),
        (["tunning.steps=3"], "tunning.steps='3'", "did you mean tuning?"),
        (["seed.x=3"], "seed.x='3'", "no such setting"),
        (["target.C_D=1,2"], "target.C_D='1,2'", "btgm run -m sweeps"),
        (["+seed=3"], "seed='3'", "leave out the +"),
        (["model=null"], "model='null'", "gan_mnist, gaussian"),
        (["flow@x=iaf"], "flow@x='iaf'", "did you mean flow?"),
        (["target.C_D=${nothing}"], "target.C_D", "'nothing' not found"),
        (["+criterion.of=3"], "criterion.of=3", "takes no such setting; choose from direction"),
        (["flow._target_=torch.nn.ReLU"], "flow.depth=2", "takes no such setting"),
        (["-m", "seed=interval(0,1)"], "seed='interval(0,1)'", "a list of values to sweep over"),
        (["out=x", "hydra.run.dir=y"], "out='x'", "hydra.run.dir=y say the same thing"),
        (["-m", "out=x", "hydra.sweep.dir=y", "seed=0,1"], "out='x'", "say the same thing"),
        (["out="], "out=''", "must be a folder"),
        (["hydra.runn.dir=x"], "hydra.runn.dir='x'", "did you mean run?"),
        (["verdict.kl_gap=nan"], "verdict.kl_gap=nan", "must be a number"),
        (["tuning.steps=true"], "tuning.steps=True", "must be a whole number"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(here, capsys, arguments, setting, words):
    assert main([*GAUSSIAN, "flow.depth=2", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert setting in error
    assert words in error
    assert not list(here.iterdir())


def test_a_run_directory_that_is_taken_is_not_touched(here, capsys):
    run_in("taken", "target.betas=[0]")
    before = {path: path.stat().st_mtime_ns for path in (here / "taken").rglob("*")}
    code, _ = run_in("taken", "target.betas=[0]")
    assert code == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (here / "taken").rglob("*")} == before


@pytest.mark.parametrize("command", [["run", "resume=nowhere"], ["report", "nowhere"], ["runn"]])
def test_commands_name_what_is_missing(here, capsys, command):
    assert main(command) == 2
    assert command[-1].removeprefix("resume=") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["list", "model=gaussian"], "takes no settings"),
        (["report", "out=x"], "out='x': unknown setting"),
        (["report", "hydra.run.dir=x"], "hydra.run.dir='x': unknown setting"),
        (["rank", "model=gaussian", "hydra.run.dir=x"], "hydra.run.dir='x': unknown setting"),
        (["train", "model=vae_energy", "hydra.run.dir=x"], "hydra.run.dir='x': unknown setting"),
    ],
)
def test_a_setting_that_a_command_does_not_have_is_refused(here, capsys, command, told):
    assert main(command) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize("command", ["--help", "--version", "list"])
def test_what_computes_nothing_waits_for_no_library(command):
    heavy = "torch pyro hydra omegaconf pandas matplotlib numpy"
    code = f"import sys, btgm_cli.cli as c; c.main(['{command}'])"
    code += f"; assert not set('{heavy}'.split()) & set(sys.modules), sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_help_version_list_and_cfg(here, capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"btgm \d+\.\d+\.\d+\n", capsys.readouterr().out)
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("gan_mnist", "gaussian", "log_class4", "quadratic"))
    assert main([]) == 2
    assert main(["--help"]) == 0
    capsys.readouterr()
    assert main([*GAUSSIAN, "--cfg", "job"]) == 0
    assert "latent_dim: 3" in capsys.readouterr().out
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "option",
    [
        f"{group}={name}"
        for group in ("model", "criterion", "flow", "target", "tuning", "experiment")
        for name in choices(group)
    ],
)
def test_every_yaml_composes_and_builds(option):
    cfg = compose_config("run", [option])
    model = build_model(cfg.model)
    z = model.sample_prior(2, derived_generator(0))
    assert build_flow(cfg.flow, model.latent_dim, cfg.seed)(z)[0].shape == z.shape
    assert callable(build_criterion(cfg, model))
    checked(Target, values_of(cfg.target))
    checked(Tuning, values_of(cfg.tuning))


def test_log_class_with_a_label_is_the_named_one():
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        named = compose("run", ["criterion=log_class7"]).criterion
        labelled = compose("run", ["criterion=log_class", "criterion.label=7"]).criterion
    assert named == labelled


def test_a_users_target_and_yaml_in_the_working_directory_are_found(here, monkeypatch):
    (here / "mine.py").write_text("def first(x):\n    return x[:, 0]\n")
    (here / "criterion").mkdir()
    (here / "criterion" / "first.yaml").write_text("_target_: mine.first\n_partial_: true\n")
    code = main([*GAUSSIAN[:3], "criterion=first", *SMALL, "target.betas=[0,0.5]"])
    monkeypatch.delitem(sys.modules, "mine")
    assert code == 0
    (run,) = (here / "outputs" / "gaussian" / "first").iterdir()
    assert pd.read_csv(run / "pareto.csv")["ref_method"].tolist() == ["psis", "psis"]


def test_a_finished_run_can_be_loaded_and_redrawn_from_python(here):
    _, run = run_in("kept", PATH)
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


def test_resuming_a_finished_run_changes_no_number(here):
    _, run = run_in("done", PATH)
    before = (run / "pareto.csv").read_bytes()
    assert main(["run", "resume=done"]) == 0
    assert (run / "pareto.csv").read_bytes() == before
