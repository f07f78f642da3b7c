"""`btgm audit`: its files, its verdict, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from btgm_cli import Status, audit, load_criterion, load_model
from btgm_cli.cli import main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.tables import read_table
from tests.marks import slow
from tests.test_audit import BETA, DIM, N, tilt

ASK = ["model=gaussian", "model.latent_dim=4", "criterion=linear", f"target.betas=[{BETA}]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("right.npz", z=tilt().numpy(), other=np.zeros(3))
    np.savez("wrong.npz", z=1.2 * tilt().numpy())
    np.save("right.npy", tilt().numpy())
    return tmp_path


def test_the_command_writes_its_figures_and_ends_by_the_verdict(here, capsys):
    assert main(["audit", "right.npz", *ASK, "out=right"]) == 0
    assert main(["audit", "right.npy", *ASK]) == 0
    assert main(["audit", "wrong.npz", *ASK, "out=wrong"]) == 3
    assert "verdict    undertrained" in capsys.readouterr().out
    for name, status in (("right", "ok"), ("wrong", "undertrained")):
        about = json.loads((here / name / "audit.json").read_text())
        assert about["status"] == status
        assert about["n_distinct"] == N
        assert about["reference"]["mean"] == BETA
        tests = read_table(here / name / "audit.csv")
        assert tests["failed"].any() == (status != "ok")
        assert (here / name / "audit.png").stat().st_size > 10_000
    (default,) = (here / "outputs" / "audit" / "gaussian" / "linear").iterdir()
    assert (default / "audit.json").is_file()


@pytest.mark.slow
def test_the_picture_is_drawn_from_the_files_alone(here):
    from btgm_cli.report.audit import draw_audit

    main(["audit", "right.npz", *ASK, "out=right"])
    before = (here / "right" / "audit.png").read_bytes()
    (here / "right" / "audit.png").unlink()
    draw_audit(here / "right")
    assert (here / "right" / "audit.png").read_bytes() == before


@pytest.mark.slow
def test_draws_come_from_parquet(here):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    z = tilt().numpy()
    pd.DataFrame({f"z{k}": z[:, k] for k in reversed(range(DIM))}).to_parquet("draws.parquet")
    assert main(["audit", "draws.parquet", *ASK, "out=found"]) == 0
    assert json.loads((here / "found" / "audit.json").read_text())["mean_f"] == pytest.approx(
        float(z.mean(1).mean() * 2), rel=1e-5
    )


def test_parquet_without_pyarrow_is_told_in_one_line(here, capsys, monkeypatch):
    (here / "draws.parquet").touch()
    monkeypatch.setattr("btgm_cli.cli.given_draws.find_spec", lambda name: None)
    assert main(["audit", "draws.parquet", *ASK]) == 2
    assert "pip install 'btgm[parquet]'" in capsys.readouterr().err


def test_nothing_pickled_is_read(here, capsys):
    np.savez("odd.npz", z=np.array([{"a": 1}], dtype=object))
    assert main(["audit", "odd.npz", *ASK]) == 2
    assert "holds pickled objects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["none.npz"], "there is no such file"),
        slow(["right.csv"], "must end in .npz, .npy, .parquet"),
        (["torn.npz"], "cannot be read"),
        slow(["torn.parquet"], "cannot be read"),
        (["empty.npz"], "holds neither z nor x"),
        slow(["whole.npz"], "must be of floats"),
        (["right.npz", "target.betas=[0,1]"], "must be the one β"),
        slow(["right.npz", "target.betas=null"], "must be the one β"),
        (["right.npz", "model.latent_dim=3"], "must be floats of shape (n, 3)"),
        (["right.npz", "out=taken"], "already holds an audit.json"),
        (["right.npz", "n=5"], "n='5': unknown setting"),
        slow(["right.npz", "n_reference=1"], "n_reference=1: must be 1000 or more"),
        slow(["right.npz", "verdict.coverage=2"], "verdict.coverage=2"),
        (["seed=1"], "name a file of draws first"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_writes_nothing(here, capsys, argv, told):
    (here / "taken").mkdir()
    (here / "taken" / "audit.json").touch()
    for name in ("torn.npz", "torn.parquet"):
        (here / name).write_bytes(b"PK\x03\x04 torn")
    np.savez("empty.npz", f=np.zeros(3))
    np.savez("whole.npz", z=np.zeros((200, 4), dtype=int))
    before = sorted(here.rglob("*"))
    assert main(["audit", argv[0], *ASK, *argv[1:]]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert sorted(here.rglob("*")) == before


def test_the_help_shows_the_settings(capsys):
    assert main(["audit", "--help"]) == 0
    assert "target.betas=[b]" in capsys.readouterr().out
    assert main(["audit"]) == 2


@pytest.mark.slow  # decodes thousands of images
def test_a_model_of_the_package_is_audited_by_its_images():
    """gan_mnist's own draws are those of its tilt at 0, by their images alone."""
    model, criterion = load_model("gan_mnist"), load_criterion("log_class4")
    with torch.no_grad():
        x = model.decode(model.sample_prior(1200, derived_generator(9)))
    found = audit(None, model, criterion, 0.0, x=x, n_reference=4000, n_particles=800)
    assert found.status is Status.OK, found.verdict
    lost = criterion.classes(x) != 3
    found = audit(None, model, criterion, 0.0, x=x[lost], n_reference=4000, n_particles=800)
    assert found.status is Status.MODE_DROPPED
    assert "class 3 has 0.0% of the draws" in found.verdict.reason


@pytest.mark.parametrize("corrected", [True, slow(False)])
def test_log_q_of_corrected_draws_is_not_their_density(here, corrected):
    """`btgm sample` tells what they were chosen from; here that is a density of something else."""
    z = tilt()
    log_q = -0.5 * (z / 3).square().sum(-1)
    weights = np.zeros(len(z)) if corrected else np.ones(len(z))
    np.savez("made.npz", z=z.numpy(), log_q=log_q.numpy(), log_weight=weights)
    assert main(["audit", "made.npz", *ASK, "out=found"]) == (0 if corrected else 3)
