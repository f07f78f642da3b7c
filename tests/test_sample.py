"""`btgm sample`: files, corrections, bad input, bounded memory."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import load_run
from btgm_cli.cli import draw_files, main, sample
from tests.test_cli import GAUSSIAN, SMALL


@pytest.fixture(scope="module")
def run(short_run, tmp_path_factory):
    """A copy, into which draws may be written."""
    return shutil.copytree(short_run, tmp_path_factory.mktemp("runs") / "short")


def arrays(path):
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("correct", ["none", "resample", "rejection", "mcmc"])
def test_draws_are_written_with_what_belongs_to_them(run, tmp_path, correct, capsys):
    out = tmp_path / "draws.npz"
    code = main(["sample", str(run), "n=1500", f"correct={correct}", f"out={out}"])
    held = arrays(out)
    assert set(held) == {"x", "z", "log_q", "log_weight", "f"}
    assert held["x"].shape == held["z"].shape == (1500, 3)
    assert np.allclose(held["f"], held["x"] @ np.ones(3) / np.sqrt(3), atol=1e-5)
    assert (held["log_weight"] == 0).all() == (correct != "none")
    about = json.loads((tmp_path / "draws.json").read_text())
    assert about["n"] == 1500
    assert about["correct"] == correct
    assert about["beta"] == 1.0
    assert (tmp_path / "draws.png").stat().st_size > 1000
    status = pd.read_csv(run / "pareto.csv")["status"].iloc[-1]
    told = capsys.readouterr().err
    if correct == "none":
        assert code == (0 if status == "ok" else 3)
        assert (status in told) == (status != "ok")
    else:
        assert code == 0


def test_the_threads_that_drew_are_kept(run, tmp_path):
    used = {}
    for asked in ("threads=1", "threads=2", "threads=null"):
        main(["sample", str(run), "n=10", asked, f"out={tmp_path / asked}.npz"])
        used[asked] = json.loads((tmp_path / f"{asked}.json").read_text())["threads"]
    assert used == {"threads=1": 1, "threads=2": 2, "threads=null": torch.get_num_threads()}
    assert main(["sample", str(run), "threads=100000"]) == 2


def test_corrected_draws_are_closer_than_raw_ones(run, tmp_path):
    means = {}
    for correct in ("none", "resample"):
        out = tmp_path / f"{correct}.npz"
        main(["sample", str(run), "n=20000", f"correct={correct}", f"out={out}"])
        means[correct] = arrays(out)["f"].mean()
    error = 1 / np.sqrt(20_000)
    assert abs(means["resample"] - 1.0) < 6 * error  # repeats double the variance at most
    assert abs(means["none"] - 1.0) > 12 * error


def test_many_draws_go_to_numbered_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(draw_files, "BYTES_PER_FILE", 76 * 1000)
    assert main(["sample", str(run), "n=2500", "beta=0", f"out={tmp_path}/many.npz"]) == 0
    parts = sorted(tmp_path.glob("many-*.npz"))
    assert [path.name for path in parts] == [f"many-{k:05d}.npz" for k in range(3)]
    whole = np.concatenate([arrays(path)["z"] for path in parts])
    assert main(["sample", str(run), "n=2500", "beta=0", f"out={tmp_path}/one/d.npz"]) == 0
    assert np.array_equal(
        whole, np.concatenate([arrays(p)["z"] for p in sorted(tmp_path.glob("one/*.npz"))])
    )


def test_vectors_can_be_parquet(run, tmp_path):
    pytest.importorskip("pyarrow")
    out = tmp_path / "draws.parquet"
    main(["sample", str(run), "n=200", f"out={out}"])
    table = pd.read_parquet(out)
    assert list(table) == ["x0", "x1", "x2", "z0", "z1", "z2", "log_q", "log_weight", "f"]
    assert len(table) == 200


def test_the_default_place_is_in_the_run_and_nothing_is_overwritten(run, capsys):
    main(["sample", str(run), "n=100", "correct=resample", "seed=4"])
    file = run / "draws" / "beta_1_resample.npz"
    before = file.read_bytes()
    assert main(["sample", str(run), "n=100", "correct=resample", "seed=5"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["n=0"], "n=0: must be 1 or more"),
        (["n=many"], "n='many': must be a whole number"),
        (["beta=0.3"], "beta=0.3: this run has 0, 1"),
        (["correct=magic"], "choose one of none, resample, rejection, mcmc"),
        (["colour=red"], "choose from n, beta, correct, out, seed"),
        (["out=draws.csv"], "must end in .npz or .parquet"),
        (["seed=-1"], "seed=-1: must be 0 or more"),
        (["n=1e3"], "n=1000.0: must be a whole number"),
        (["beta=nan"], "beta=nan: must be a number"),
        (["hydra.run.dir=draws"], "hydra.run.dir='draws': unknown setting; choose from n"),
        (["10"], "10='': must be given as SETTING=VALUE"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(run, capsys, arguments, words, tmp_path):
    files = sorted(run.rglob("*"))
    assert main(["sample", str(run), *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert sorted(run.rglob("*")) == files


def test_a_directory_without_a_run_is_told(tmp_path, capsys):
    assert main(["sample", str(tmp_path)]) == 2
    assert "pareto.csv" in capsys.readouterr().err


def test_the_run_leaves_its_prices(run):
    table = pd.read_csv(run / "cost.csv").set_index("method")
    assert list(table.index) == ["tuned", "tuned + corrected", "rejection", "smc"]
    ess = pd.read_csv(run / "pareto.csv")["ess_fraction"].iloc[-1]
    assert table.loc["tuned + corrected", "each"] == pytest.approx(1 / ess)
    # Of a draw that is effective for the tilt: a model that is only close to it has fewer.
    assert table.loc["tuned", "each"] == pytest.approx(1 / ess)
    # e^{β max f} / Z: the largest of 1000 draws of N(1, 1) is about 4.2.
    assert 10 < table.loc["rejection", "each"] < 150
    assert table.loc["tuned", "fixed"] >= 3 * 40 * 128
    assert table.loc["smc", "each"] > table.loc["tuned + corrected", "each"]


def test_more_draws_than_the_disk_holds_are_refused_before_any_work(run, tmp_path, capsys):
    out = tmp_path / "new" / "draws.npz"
    assert main(["sample", str(run), "n=100000000000000", f"out={out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("btgm sample: n=100000000000000: needs ")
    assert "GB are free" in line
    assert not list(tmp_path.iterdir())


def test_corrected_draws_are_judged_by_what_they_are(run, tmp_path, monkeypatch, capsys):
    """Against a wrong E f they are not the exact tilt's; those not corrected claim nothing."""

    def load(path):
        found = load_run(path)
        found.pareto["mean_f_ref"] += 0.5
        return found

    monkeypatch.setattr(sample, "load_run", load)
    for correct in ("resample", "rejection", "mcmc", "none"):
        out = tmp_path / f"{correct}.npz"
        code = main(["sample", str(run), "n=2000", f"correct={correct}", f"out={out}"])
        told = capsys.readouterr().err
        about = json.loads(out.with_suffix(".json").read_text())
        assert len(arrays(out)["f"]) == 2000
        if correct == "none":
            assert "E f" not in told
            assert "mean_f" not in about
            continue
        assert code == 3
        assert "btgm sample: E f of these draws is" in told
        assert "of the exact tilt 1.5" in told
        assert about["mean_f"] == pytest.approx(arrays(out)["f"].mean(), abs=1e-5)
        assert 0 < about["mean_f_se"] < 0.1
        assert about["effective_draws"] <= 2000
        assert 1 / 2000 <= about["largest_share"] <= 0.01
        # f is not bounded: the largest of 14,000 draws tells; f ~ N(1, 1) under the tilt.
        assert 2 < about["log_weight_bound"] < 9


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A run whose flow has hardly begun to move."""
    path = tmp_path_factory.mktemp("runs") / "far"
    settings = ["target.betas=[0,5]", "tuning.first_steps=1", f"out={path}"]
    assert main([*GAUSSIAN, *SMALL, *settings]) == 3
    return path


def test_rejection_that_would_take_for_ever_is_refused_in_a_line(far, tmp_path, capsys):
    out = tmp_path / "draws.npz"
    assert main(["sample", str(far), "n=20", "correct=rejection", f"out={out}"]) == 3
    told = capsys.readouterr().err
    assert "no draws: rejection would take more than 100 draws of this tuned model" in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_draws_of_a_run_that_met_no_target_are_told_to_be_none_of_its_tilt(tmp_path, capsys):
    run = tmp_path / "run"
    model = ["run", "model=gaussian", "model.latent_dim=3", "criterion=quadratic"]
    assert main([*model, *SMALL, "target.C_f=1", f"out={run}"]) == 3
    capsys.readouterr()
    assert main(["sample", str(run), "n=100"]) == 3
    assert "infeasible_target" in capsys.readouterr().err
    assert len(arrays(run / "draws" / "beta_0_none.npz")["x"]) == 100
