"""Which depth and learning rate of a flow leave the smallest gap, within a budget of evaluations?

    python -m experiments.flow_search.search [FOLDER] [BUDGET] [SETTING …]

Optuna (`pip install 'btgm[optuna]'`) proposes; each trial is a `btgm run` with the settings
given, and is worth `kl_gap` and two of its errors at the last β, in nats. The defaults are tried
first. No trial begins once the runs have taken BUDGET evaluations of f. The same command goes on
where it stood: what was finished is not made again, and a run that was cut off is gone on with.
"""

import json
import sys
from pathlib import Path

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from btgm_cli.cli import main
from btgm_cli.store.manifest import MANIFEST
from btgm_cli.store.runs import PARETO, SUMMARY
from btgm_cli.store.tables import write_table

RUN = ("model=gan_mnist", "criterion=log_class4", "target.betas=[0,0.5]", "threads=1")
BUDGET = 300_000
DEFAULTS = {"flow.depth": 6, "tuning.learning_rate": 2e-3}


def proposed(trial: Trial) -> list[str]:
    """The settings of a trial."""
    depth = trial.suggest_int("flow.depth", 1, 10)
    rate = trial.suggest_float("tuning.learning_rate", 3e-4, 1e-2, log=True)
    return [f"flow.depth={depth}", f"tuning.learning_rate={rate:.3g}"]


def run(folder: Path, asked: list[str]) -> Path:
    """The run with these settings, made, gone on with or found finished.

    Raises:
        RuntimeError: it ended without a verdict.
    """
    path = folder / "_".join(item.partition(".")[2] for item in asked)
    if not (path / SUMMARY).is_file():
        begun = (path / MANIFEST).is_file()
        new = [*RUN, *asked, *sys.argv[3:], f"out={path}"]
        if main(["run", *([f"resume={path}"] if begun else new)]) not in (0, 3):
            raise RuntimeError(f"the run in {path} did not end: see {path / 'run.log'}")
    return path


def judged(path: Path) -> dict:
    """What a finished run is worth, and what it took."""
    row = pd.read_csv(path / PARETO).iloc[-1]
    found = {name: row[name] for name in ("kl_gap", "kl_gap_se", "ess_fraction", "status")}
    return found | {"f_evals": json.loads((path / SUMMARY).read_text())["f_evals"]}


def begun(folder: Path) -> optuna.Study:
    """The study; what a kill or Ctrl-C cut off is proposed again, first of all."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    study = optuna.create_study(study_name="flow", storage=storage, load_if_exists=True)
    # Another seed in each sitting: the first one's would propose once more what was tried.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    if not study.trials:
        study.enqueue_trial(DEFAULTS)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    known = [trial.params for trial in study.get_trials(states=[TrialState.COMPLETE])]
    for trial in study.get_trials(states=[TrialState.FAIL]):
        if trial.params and trial.params not in known:
            study.enqueue_trial(trial.params)
            known.append(trial.params)
    return study


def search(folder: Path, budget: int) -> None:
    """Trials until the budget is spent; `trials.csv` has those that ended."""
    study = begun(folder)

    def worth(trial: Trial) -> float:
        found = judged(run(folder, proposed(trial)))
        for name, value in found.items():
            trial.set_user_attr(name, value)
        return found["kl_gap"] + 2 * found["kl_gap_se"]

    def told(study: optuna.Study, last: FrozenTrial) -> None:
        ended = study.get_trials(states=[TrialState.COMPLETE])
        rows = [{"trial": t.number, **t.params, **t.user_attrs, "worth": t.value} for t in ended]
        write_table(folder / "trials.csv", rows)
        if sum(row["f_evals"] for row in rows) >= budget:
            study.stop()

    study.optimize(worth, callbacks=[told])
    print(pd.read_csv(folder / "trials.csv").sort_values("worth").to_string(index=False))


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/flow_search")
    search(where, int(sys.argv[2]) if len(sys.argv) > 2 else BUDGET)
