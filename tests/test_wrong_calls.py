"""Wrong calls of every command: exit code 2, one line that names the setting, nothing written.

The table is made of each setting with each kind of wrong value, and of calls written by hand. A
share of it runs by default, all of it with `make faults`; `-s` shows the counts.
"""

import shlex
import sys
from collections import Counter
from itertools import product

import pytest
from omegaconf import OmegaConf

from btgm_cli.cli import main, rank, run
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.tree import conf_dir
from btgm_cli.domains.pretraining import jobs

EVERY = 40
"""Of the table, one in so many runs by default."""

WRONG = ("abc", "[x,1]", "{a:1}", "nan", "-inf", "-7", "1e400", "99999999999999999999", "", "true")

RIGHT = {
    ("target.C_f", "-7"),
    ("target.C_f", "99999999999999999999"),
    ("target.C_D", "99999999999999999999"),
    ("flow.bound", "99999999999999999999"),
    ("criterion.k", "99999999999999999999"),
    ("criterion.classifier", ""),
}
"""Values of `WRONG` that are of use somewhere."""

PARTS = {
    "model=gaussian criterion=linear": ("", "target", "tuning", "verdict", "flow", "model"),
    "model=gaussian criterion=linear flow=spline_coupling": ("flow",),
    "model=vae_energy criterion=day_mean": ("model", "criterion", "scenarios"),
    "criterion=log_odds": ("criterion",),
    "model=gaussian criterion=quadratic": ("criterion",),
}
"""What to choose, and whose settings to get wrong."""

TRAINED = ("classifier_mnist", "gan_mnist", "vae_energy")

BY_HAND = """
run --bogus                                        # --bogus
run --config-name=x                                # --config-name
run --config-name x                                # --config-name
run --config-dir /tmp                              # --config-dir
run --config-path=x                                # --config-path
run -cn x                                          # --cfg
run --package x                                    # --cfg
run --resolve                                      # --cfg
run --run                                          # --run
run --shell-completion                             # --shell-completion
run --experimental-rerun x.pickle                  # --experimental-rerun
run --version                                      # --version
run --help=3                                       # --help
run --info bogus                                   # bogus
run --cfg                                          # --cfg
run --cfg bogus                                    # bogus
run --cfg job tuning.stps=3                        # did you mean steps?
run -x seed=0                                      # -x
run -                                              # -
run ""                                             # override
run bogus                                          # bogus
run seed:3                                         # seed:3
run =3                                             # ='3'
run "seed =3"                                      # seed
run "seed=(1"                                      # seed
run "seed='3'"                                     # seed
run seed=0x10                                      # seed
run seed=3.0                                       # seed
run seed=,                                         # seed
run seed=0,1                                       # add -m for a sweep
run seed=range(3)                                  # add -m for a sweep
run seed=choice(0,1)                               # add -m for a sweep
run model=gaussian,gan_mnist                       # add -m for a sweep
run 'seed=${nope}'                                 # seed
run 'seed=${'                                      # seed
run 'seed=${oc.env:BTGM_NO_SUCH_VARIABLE}'         # seed
run 'seed=${seed}'                                 # seed
run 'tuning.steps=${tuning.nope}'                  # tuning.steps
run seed=???                                       # seed
run model=???                                      # model
run Seed=3                                         # did you mean seed?
run sede=3                                         # did you mean seed?
run tuning.stps=3                                  # did you mean steps?
run target.CD=1                                    # did you mean C_D?
run verdict.coverag=1                              # did you mean coverage?
run flow.dept=3                                    # did you mean depth?
run model=gausian                                  # did you mean gaussian?
run criterion=log_clas4                            # did you mean log_class4?
run experiment=fig55                               # did you mean fig5?
run tuning=papr                                    # did you mean paper?
run outt=x                                         # did you mean out?
run +bogus=3                                       # bogus
run ++bogus=3                                      # bogus
run +tuning.bogus=3                                # tuning.bogus
run +seed=3                                        # leave out the +
run +model=gaussian                                # model
run +data=mnist                                    # data
run ~seed                                          # seed
run ~tuning.steps                                  # tuning.steps
run ~tuning.steps=650                              # tuning.steps
run ~model                                         # model
run ~model.checkpoint                              # model.checkpoint
run ~criterion.label                               # criterion.label
run ~flow.depth                                    # flow.depth
run ~verdict.kl_gap                                # verdict.kl_gap
run ~tuning                                        # tuning
run ~nothing                                       # nothing
run ~hydra                                         # hydra
run model=null                                     # model
run criterion=null                                 # criterion
run flow=null                                      # flow
run tuning=null                                    # tuning
run target=null                                    # target
run verdict=null                                   # verdict
run scenarios=null                                 # scenarios
run model=[gaussian]                               # model
run model=                                         # model
run tuning=3                                       # tuning
run tuning.steps.x=3                               # tuning.steps.x
run seed.x=3                                       # seed.x
run 'target={C_DD:1}'                              # target.C_DD
run criterion=normalized of=white                  # criterion@criterion.of
run criterion=normalized criterion.of=white        # criterion@criterion.of
run criterion=normalized criterion.of=null         # criterion@criterion.of
run criterion=normalized criterion@of=white        # criterion
run criterion=normalized criterion@criterion.of=x  # criterion@criterion.of
run criterion=normalized ~criterion.of             # criterion.of
run criterion=negated criterion.of=3               # criterion@criterion.of
run criterion=sum criterion.terms.first=white      # criterion@criterion.terms.first
run criterion=sum +criterion.terms.third=white     # criterion.weights
run criterion=sum criterion.weights.first=x        # criterion.weights
run criterion=sum criterion.weights=3              # criterion.weights
run criterion=sum target.at_least={first:nan,second:1}      # target.at_least
run criterion=sum target.at_least={first:1}        # target.at_least
run criterion=sum target.at_least=[1,2]            # target.at_least
run target.at_least={first:1}                      # target.at_least
run 'target.views=["E(class3)"]'                   # target.views
run 'target.views=["E(clas3) = 1"]'                # target.views
run 'target.views=["E(class3) = 1"]' criterion=log_class4   # target.views
run 'target.views=["P(class3 > 1) = 2"]'           # target.views
run target.views=[]                                # target.views
run target.views=3                                 # target.views
run target.C_D=1 target.rho=0.1                    # target.C_D
run target.betas=[]                                # target.betas
run target.betas=[1,0]                             # target.betas
run target.betas=[0,0]                             # target.betas
run target.betas=[[0],[1]]                         # target.betas
run target.betas=[null]                            # target.betas
run target.rho=1                                   # target.rho
run tuning.gradient=adam                           # tuning.gradient
run criterion=class4 model=gaussian                # criterion
run criterion=log_class criterion.label=12         # criterion.label
run criterion=log_odds criterion.against=4         # criterion.against
run criterion=peak                                 # criterion
run criterion._target_=nope.f                      # criterion._target_
run criterion._target_=                            # criterion._target_
run model._target_=os.system                       # model
run model._target_=null                            # model._target_
run +model._args_=[3]                              # model
run flow._partial_=false                           # flow
run flow.hidden=[]                                 # flow.hidden
run flow.hidden=[0]                                # flow.hidden
run flow.hidden=[3000000000]                       # flow.hidden
run flow.depth=1000000000                          # flow.depth
run model=gaussian criterion=linear model.latent_dim=300000          # latent_dim
run model=gaussian criterion=linear criterion.direction=[1,2]        # criterion.direction
run model=gaussian criterion=linear criterion.direction=[0,0]        # criterion.direction
run tuning.n_eval=1e14                             # tuning.n_eval
run tuning.n_eval=100000000000000                  # tuning.n_eval
run tuning.n_reference=100000000000000             # tuning.n_reference
run tuning.n_particles=100000000000000             # tuning.n_particles
run tuning.batch_size=100000000000000              # tuning.batch_size
run samples=1000000000000                          # samples
run model=vae_energy criterion=peak tuning.f_samples=1000000000      # tuning.f_samples
run model=vae_energy criterion=peak scenarios.n=10000000000000       # scenarios.n
run model=vae_energy criterion=peak scenarios.n=5 scenarios.week=2026-01-06  # scenarios.week
run scenarios.n=5                                  # scenarios.n
run threads=0                                      # threads
run threads=100000                                 # threads
run device=cuda:0                                  # device
run out=                                           # out
run out=/dev/null                                  # out
run out=/dev/null/x                                # out
run 'out=${nope}'                                  # out
run out=x hydra.run.dir=y                          # out
run hydra.run.dir=                                 # out
run 'hydra.run.dir=${nope}'                        # hydra.run.dir
run hydra.job.chdir=true                           # hydra.job.chdir
run hydra.mode=MULTIRUN                            # hydra.mode
run hydra.runn.dir=x                               # hydra.runn
run hydra.searchpath=[nowhere]                     # hydra.searchpath
run hydra/launcher=nope                            # hydra/launcher
run +hydra.callbacks.x._target_=nope               # nope
run resume                                         # resume
run resume=nowhere                                 # nowhere
run resume=nowhere seed=3                          # seed=3
run resume=nowhere -m                              # resume
run resume=nowhere --cfg job                       # resume
run -m seed=0,1 hydra.sweep.subdir=x               # hydra.sweep.subdir
run -m seed=0,1 hydra.sweep.subdir=./x/../x        # hydra.sweep.subdir
run -m seed=range(0,0)                             # seed
run -m seed=interval(0,1)                          # seed
run -m criterion=glob(zzz*)                        # criterion
run -m criterion=linear model=gaussian,nope        # nope
run -m target.C_D=1,-1                             # target.C_D
run -m seed=0,1 --bogus                            # --bogus
run DIR                                            # override
run model=gaussian criterion=linear seed=7 out=DIR # belongs to a run with
run resume=DIR seed=7                              # seed=7
nope                                               # nope
--bogus                                            # --bogus
Run                                                # Run
rank --bogus                                       # --bogus
rank -m                                            # -m
rank bogus                                         # bogus
rank nn=3                                          # did you mean n?
rank criteira=[white]                              # did you mean criteria?
rank criterion=white                               # did you mean criteria?
rank n=999                                         # n=
rank n=1.5                                         # n=
rank n=abc                                         # n=
rank n=1000,2000                                   # n=
rank n=???                                         # n=
rank n=100000000000000                             # n=
rank kl=0                                          # kl
rank kl=nan                                        # kl
rank kl=inf                                        # kl
rank kl=[1]                                        # kl
rank criteria=[]                                   # criteria
rank criteria=white                                # criteria
rank criteria=[white,white]                        # criteria
rank criteria=[nope]                               # criteria
rank criteria=[linear]                             # criteria
rank criteria=null                                 # criteria
rank criteria=[[white]]                            # criteria
rank model=nope                                    # model
rank model=null                                    # model
rank model=gaussian criteria=[log_class4]          # criteria
rank seed=-1                                       # seed
rank threads=0                                     # threads
rank device=tpu                                    # device
rank out=                                          # out
rank out=/dev/null                                 # out
rank ~n                                            # n=
rank hydra.verbose=true                            # hydra.verbose
sample                                             # name one
sample nowhere                                     # nowhere
sample nowhere --bogus                             # --bogus
sample nowhere bogus                               # bogus
sample nowhere bogus=3                             # bogus
sample nowhere thread=3                            # did you mean threads?
sample nowhere n=0                                 # n=
sample nowhere n=abc                               # n=
sample nowhere n=1e400                             # n=
sample nowhere n=99999999999999999999              # n=
sample nowhere n=                                  # n=
sample nowhere beta=abc                            # beta
sample nowhere beta=nan                            # beta
sample nowhere beta=-1                             # beta
sample nowhere correct=nope                        # none, resample, rejection, mcmc
sample nowhere correct=null                        # correct
sample nowhere seed=-1                             # seed
sample nowhere seed=[1]                            # seed
sample nowhere threads=0                           # threads
sample nowhere threads=abc                         # threads
sample nowhere out=                                # out
sample nowhere out=3                               # out
sample nowhere device=cpu                          # device
sample n=10                                        # target.betas
sample target.betas=[0,1]                          # one β
sample target.betas=[1] method=nope                # auto, rejection, smc, tuning
sample target.betas=[1] correct=resample           # correct
sample DIR beta=7                                  # beta
sample DIR out=x.json                              # out
sample DIR out=x                                   # out
report                                             # name a run directory
report nowhere                                     # nowhere
report --bogus                                     # --bogus
report out=x                                       # out
report nowhere seed=3                              # seed
report nowhere threads=0                           # threads
report nowhere threads=abc                         # threads
report nowhere thread=1                            # did you mean threads?
figure                                             # fig1
figure nope                                        # nope
figure fig5 bogus                                  # bogus
figure fig5 --bogus                                # --bogus
figure fig5 quik=true                              # did you mean quick?
figure fig5 quick=1                                # quick
figure fig5 quick=abc                              # quick
figure fig5 out=                                   # out
figure fig5 out=/dev/null                          # out
figure fig5 out=DIR                                # out
figure fig5 seed=3                                 # seed
figure fig5 threads=0                              # threads
figure fig5 threads=abc                            # threads
figure fig5 threads=100000                         # threads
figure fig5 fig6                                   # fig6
list model                                         # model
list --bogus                                       # --bogus
train                                              # model
train --bogus                                      # --bogus
train --resume                                     # model
train -m model=gan_mnist                           # -m
train modle=gan_mnist                              # did you mean model?
train model=nope                                   # model
train model=[gan_mnist]                            # model
train ~model                                       # model
train model=gan_mnist bogus                        # bogus
train model=gan_mnist bogus=3                      # bogus
train model=gan_mnist +name=x                      # name
train model=gan_mnist model.stepz=3                # did you mean steps?
train model=gan_mnist ~model.steps                 # model.steps
train model=gan_mnist model.batch=33               # model.batch
train model=gan_mnist model.objective=gan          # model.objective
train model=gan_mnist model.classifier=nope        # model.classifier
train model=gan_mnist model._target_=x             # model._target_
train model=gan_mnist checkpoint=nope              # checkpoint
train model=gan_mnist out=/dev/null                # out
train model=gan_mnist data_dir=/nowhere            # data_dir
train model=gan_mnist threads=100000               # threads
train model=gan_mnist hydra.job.chdir=true         # hydra.job.chdir
data                                               # fetch, build
data nope                                          # fetch, build
data --bogus                                       # --bogus
data fetch                                         # load, mnist
data fetch nope                                    # nope
data fetch load                                    # btgm data build load
data fetch mnist bogus=3                           # bogus
data fetch mnist --bogus                           # --bogus
data fetch mnist data_dir=3                        # data_dir
data build mnist                                   # btgm data fetch mnist
data build load                                    # --input FILE
data build load --input                            # --input FILE
data build load --input nowhere.csv                # nowhere.csv
data build load timezon=UTC --input /etc/hostname  # did you mean timezone?
data build load timezone=nope --input /etc/hostname  # timezone
data build load timezone=3 --input /etc/hostname   # timezone
"""
"""A call, and what its line must name; DIR is a run directory."""


def _leaves(cfg, part):
    """The settings of a node by their dotted names."""
    node = OmegaConf.select(cfg, part) if part else cfg
    for key in node:
        special = str(key).startswith("_") or key in ("hydra", "experiment")
        if not special and not (OmegaConf.is_dict(node[key])):
            yield f"{part}.{key}" if part else str(key)


def _of_run():
    """Each setting of `run` with each wrong value."""
    for options, parts in PARTS.items():
        cfg = compose_config("run", options.split())
        names = [name for part in parts for name in _leaves(cfg, part)]
        for name, value in product(names, WRONG):
            if (name, value) not in RIGHT:
                yield f"run {options} {name}={value}", name.removeprefix("model.")


def _of_train():
    """Each setting of `train` with some of the wrong values."""
    for model in TRAINED:
        cfg = compose_config("config", [f"model={model}"], root=conf_dir() / "train")
        for name, value in product(_leaves(cfg, "model"), ("abc", "-7", "nan", "[x,1]")):
            if name != "model.classifier" or value == "[x,1]":
                yield f"train model={model} {name}={value}", name
    cfg = compose_config("config", ["model=gan_mnist"], root=conf_dir() / "train")
    for name, value in product(_leaves(cfg, ""), ("{a:1}", "-7", "nan", "[x,1]", "")):
        yield f"train model=gan_mnist {name}={value}", name


def _by_hand():
    for line in BY_HAND.strip().splitlines():
        call, _, words = line.rpartition(" # ")
        yield call.strip(), words.strip()


def _table():
    """All calls, the most of them slow."""
    for k, (call, words) in enumerate([*_by_hand(), *_of_run(), *_of_train()]):
        marks = [] if k % EVERY == 0 else [pytest.mark.slow]
        yield pytest.param(call, words, id=call, marks=marks)


@pytest.fixture(scope="module")
def counts():
    """What the calls came to, told at the end."""
    found = Counter()
    yield found
    print("\nwrong calls:", ", ".join(f"{count} {name}" for name, count in found.items()))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run directory."""
    path = tmp_path_factory.mktemp("used") / "run"
    tiny = "flow.depth=1 flow.hidden=[8] tuning.first_steps=5 tuning.n_eval=200 target.betas=[0]"
    assert main(["run", "model=gaussian", "criterion=linear", *tiny.split(), f"out={path}"]) == 0
    return path


@pytest.fixture
def here(tmp_path, monkeypatch, finished):
    """An empty working directory, in which no work starts."""

    def accepted(*_, **__):
        pytest.fail("the call was accepted")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("BTGM_DATA_DIR", str(tmp_path.parent / "no data"))
    monkeypatch.setattr(run, "execute", accepted)
    monkeypatch.setattr(rank, "_rank", accepted)
    monkeypatch.setattr(jobs, "run_loop", accepted)
    return tmp_path


TABLE = list(_table())


@pytest.mark.parametrize(("call", "words"), TABLE)
def test_a_wrong_call(here, finished, capsys, counts, call, words):
    argv = shlex.split(call, posix=True) if "'" in call or '"' in call else call.split()
    argv = [item.replace("DIR", str(finished)) for item in argv]
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*")}
    counts["tried"] += 1
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("btgm")
    assert words in err
    assert "Traceback" not in err
    assert not list(here.iterdir())
    assert {file: file.stat().st_mtime_ns for file in finished.rglob("*")} == before
    counts["told in one line"] += 1


def test_the_table_is_long_enough():
    assert len(TABLE) >= 300
