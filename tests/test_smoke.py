"""The fastest sign of life: `make smoke`."""

import json
import subprocess
import sys

import pandas as pd

from btgm_cli.cli import main

HEAVY = ("torch", "pyro", "hydra", "pandas", "matplotlib", "scipy", "jinja2")


def test_a_tiny_run_leaves_its_files_and_is_redrawn(tmp_path, capsys, pictures):
    run = tmp_path / "run"
    target = ["model=gaussian", "model.latent_dim=3", "criterion=linear", "target.betas=[0,0.3]"]
    small = ["tuning.first_steps=20", "tuning.n_eval=1000", "samples=8", "flow.depth=2"]
    code = main(["run", *target, *small, "tuning.min_acceptance_rate=1", f"hydra.run.dir={run}"])
    table = pd.read_csv(run / "pareto.csv")
    assert table["beta"].tolist() == [0.0, 0.3]
    assert code == (0 if json.loads((run / "summary.json").read_text())["status"] == "ok" else 3)
    picture = run / "pareto.png"
    picture.unlink()
    assert main(["report", str(run)]) == 0
    assert picture.stat().st_size > 1000
    assert str(picture) in capsys.readouterr().out


def test_help_and_list_wait_for_no_library():
    """What a user types first must not take seconds: torch alone takes two."""
    code = (
        "import sys; from btgm_cli.cli import main; "
        "codes = [main(['--help']), main(['list']), main(['--version'])]; "
        f"print('loaded:', codes, sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: [0, 0, 0] []"
    assert "gan_mnist" in done.stdout
