"""What the command line refuses, in a line and before anything is written, and what it lists."""

import re
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from btgm_cli import Target, Tuning
from btgm_cli.cli import main
from btgm_cli.cli.config import (
    build_criterion,
    build_model,
    compose_config,
    untrained_flow,
    values_of,
)
from btgm_cli.cli.settings import checked
from btgm_cli.cli.tree import choices, conf_dir
from btgm_cli.core.seeds import derived_generator
from tests.marks import slow
from tests.test_cli import GAUSSIAN, SMALL, run_in

TOP = ("seed", "criterion", "target", "verdict", "samples", "device")


@pytest.mark.slow
def test_a_sweep_into_the_directory_of_another_is_refused(here, capsys):
    sweep = [*GAUSSIAN, *SMALL, "-m", "target.betas=[0],[0.0]", "out=sweep"]
    assert main(sweep) == 0
    before = {path: path.stat().st_mtime_ns for path in (here / "sweep").rglob("*")}
    assert main(sweep) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (here / "sweep").rglob("*")} == before


@pytest.mark.slow
def test_out_is_never_taken_for_a_group_of_options(here):
    (here / "out").mkdir()
    (here / "out" / "other.yaml").write_text("a: 1\n")
    assert main([*GAUSSIAN, *SMALL, "target.betas=[0]", "out=a run (1)"]) == 0
    assert (here / "a run (1)" / "pareto.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "setting", "words"),
    [
        (["target.C_DD=1"], "target.C_DD", "choose from C_D, C_f, rho, at_least, views, betas"),
        slow(["target.C_D=1", "target.rho=0.1"], "target", "give one target, not 2"),
        (["target.C_D=abc"], "target.C_D", "must be a number"),
        slow(["target.C_D=-1"], "target.C_D", "positive"),
        (["target.betas=[1,0]"], "target.betas", "increasing"),
        (["target.betas=[0,1"], "target.betas=[0,1", "override"),
        (["model=gan"], "model='gan'", "simulator, tuned, vae_energy, vae_mnist"),
        slow(["flow=glow"], "flow='glow'", "iaf, spline_coupling"),
        (["criterion=quadratic", "criterion.kk=3"], "criterion.kk='3'", "choose from k"),
        (["+model.colour=3"], "model.colour=3", "takes no such setting"),
        (["model.latent_dim=1"], "model.latent_dim=1", "2 or more"),
        slow(["foo=1"], "foo='1'", "choose from model, criterion"),
        slow(["+foo=1"], "foo=1", "choose from model, criterion"),
        (["bogus"], "override='bogus'", "missing EQUAL"),
        (["tuning.steps=1.5"], "tuning.steps=1.5", "whole number"),
        slow(["tuning.steps=no"], "tuning.steps", "whole number"),
        slow(["tuning.tolerance=no"], "tuning.tolerance", "must be a number"),
        (
            ["tuning.gradient=adam"],
            "tuning.gradient='adam'",
            "auto, surrogate, reparametrised, score",
        ),
        slow(["tuning.f_samples=0"], "tuning.f_samples=0", "1 or more"),
        (["tuning.f_samples=3"], "tuning.f_samples=3", "same x each time"),
        (["target.at_least={first:1}"], "target.at_least", "has no terms"),
        slow(["target.at_least=2"], "target.at_least=2", "must be {NAME: NUMBER"),
        (["criterion=sum", "target.at_least={first:1}"], "target.at_least", "first, second"),
        slow(["target.betas=2"], "target.betas=2", "list of numbers"),
        (["seed=-1"], "seed=-1", "0 or more"),
        slow(["threads=0"], "threads=0", "1 or more"),
        slow(["device=tpu"], "device='tpu'", "auto, cpu, cuda"),
        slow(["flow.depth=0"], "flow.depth=0", "1 or more"),
        (["criterion.direction=[1,2]"], "criterion.direction", "as many entries"),
        slow(
            ["criterion._target_=nope.f"],
            "criterion._target_='nope.f'",
            "No module named 'nope'",
        ),
        (["criterion=log_class4"], "criterion='LogClass'", "fails on x of shape"),
        slow(["criterion=log_class", "criterion.label=12"], "criterion.label=12", "0 … 9"),
        (["-m", "target.C_D=1,-1"], "target.C_D=-1", "positive"),
        (["resume=nowhere"], "resume", "takes its settings from the run"),
        (["tunning.steps=3"], "tunning.steps='3'", "did you mean tuning?"),
        slow(["seed.x=3"], "seed.x='3'", "no such setting"),
        (["target.C_D=1,2"], "target.C_D='1,2'", "must be one value; add -m for a sweep"),
        slow(["seed=0,1"], "seed='0,1'", "add -m for a sweep"),
        slow(["flow=iaf,spline_coupling"], "flow=", "add -m for a sweep"),
        (["~model"], "model='~'", "cannot be taken away"),
        *[slow([f"~{key}"], f"{key}='~'", "cannot be taken away") for key in TOP],
        slow(["model=[gaussian]"], "model='[gaussian]'", "must be one option, and no list"),
        (["seed=???"], "seed='???'", "must be given"),
        slow(["target.C_D=???"], "target.C_D='???'", "must be given"),
        slow(["model.latent_dim=???"], "model.latent_dim='???'", "must be given"),
        slow(["threads=100000"], "threads=100000", "on this machine"),
        (["-m", "criterion=glob(zzz*)"], "criterion='glob(zzz*)'", "a sweep of no jobs"),
        slow(["-m", "seed=range(0,0)"], "seed='range(0,0)'", "a sweep of no jobs"),
        (["model.latent_dim=100000000"], "latent_dim=100000000", "GB of memory"),
        slow(["+model._recursive_=7"], "model='Gaussian'", "_recursive_ flag must be a bool"),
        slow(["+model._partial_=true"], "model='Gaussian'", "has no latent_dim"),
        slow(
            ["criterion.direction=abc"], "criterion.direction='abc'", "must be a list of numbers"
        ),
        (["+seed=3"], "seed='3'", "leave out the +"),
        (["model=null"], "model='null'", "simulator, tuned, vae_energy, vae_mnist"),
        (["flow@x=iaf"], "flow@x='iaf'", "did you mean flow?"),
        (["target.C_D=${nothing}"], "target.C_D", "'nothing' not found"),
        slow(
            ["+criterion.of=3"], "criterion.of=3", "takes no such setting; choose from direction"
        ),
        (["flow._target_=torch.nn.ReLU"], "flow.depth=2", "takes no such setting"),
        (["-m", "seed=interval(0,1)"], "seed='interval(0,1)'", "a list of values to sweep over"),
        (["out=x", "hydra.run.dir=y"], "out='x'", "hydra.run.dir=y say the same thing"),
        (["-m", "out=x", "hydra.sweep.dir=y", "seed=0,1"], "out='x'", "say the same thing"),
        slow(["out="], "out=''", "must be a folder"),
        slow(["hydra.runn.dir=x"], "hydra.runn.dir='x'", "did you mean run?"),
        (["verdict.kl_gap=nan"], "verdict.kl_gap=nan", "must be a number"),
        slow(["tuning.steps=true"], "tuning.steps=True", "must be a whole number"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_written(here, capsys, arguments, setting, words):
    assert main([*GAUSSIAN, "flow.depth=2", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert setting in error
    assert words in error
    assert not list(here.iterdir())


@pytest.mark.slow
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


OF_A_FILE = (
    *("model=flow", "model=tuned", "model=simulator", "criterion=fit", "criterion=views"),
    *(f"experiment={name}" for name in ("poisson", "linear5", "muons", "queue")),
)
"""What needs a file, or views, to be given: `tests/test_fit.py` and others build these."""


@pytest.mark.parametrize(
    "option",
    [
        slow(f"{group}={name}") if re.search(r"class[0-35-9]$", name) else f"{group}={name}"
        for group in ("model", "criterion", "flow", "target", "tuning", "experiment", "system")
        for name in choices(group)
        if f"{group}={name}" not in OF_A_FILE
    ],
)
def test_every_yaml_composes_and_builds(option):
    of_the_vae = ("criterion=discriminator", "criterion=real_and_classes")
    its_model = ["model=vae_mnist"] * (option in of_the_vae)
    if option.startswith("system=") or option == "criterion=energy":
        dims = {"system=many_well": 4, "system=funnel": 4, "system=dimer": 76}
        dim = dims.get(option, 2)
        its_model = ["criterion=energy", "model=normal", f"model.latent_dim={dim}"]
    elif option == "criterion=kernels":
        its_model = ["model=normal"]
    cfg = compose_config("run", [option, *its_model])
    model = build_model(cfg.model)
    z = model.sample_prior(2, derived_generator(0))
    assert untrained_flow(cfg.flow, model.latent_dim, cfg.seed)(z)[0].shape == z.shape
    assert callable(build_criterion(cfg, model))
    checked(Target, values_of(cfg.target))
    checked(Tuning, values_of(cfg.tuning))


def test_log_class_with_a_label_is_the_named_one():
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        named = compose("run", ["criterion=log_class7"]).criterion
        labelled = compose("run", ["criterion=log_class", "criterion.label=7"]).criterion
    assert named == labelled
