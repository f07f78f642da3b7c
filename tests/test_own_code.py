"""Faults in a user's own criterion, model, prior or YAML: one line with their file and line."""

import io
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from btgm_cli.cli import main
from btgm_cli.core.blame import from_outside, name_of
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.combined.criteria import Normalized, WeightedSum, negated
from btgm_cli.tuning import Problem
from tests.marks import slow

HEAD = """import sys
import numpy as np
import torch; calls = iter(range(1, 999))
from btgm_cli import StandardNormal
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def written(folder, code, **yamls):
    """`mine.py`, and a YAML for each group, `option=…` of which is `own`."""
    (folder / "mine.py").write_text(HEAD + code)
    for group, text in yamls.items():
        (folder / group).mkdir()
        (folder / group / "own.yaml").write_text(text)


def told(capsys, *arguments, command="run"):
    """The one line that a command is refused with."""
    before = sorted(path.name for path in Path.cwd().iterdir())
    assert main([command, *arguments]) == 2
    out, err = capsys.readouterr()
    after = sorted(path.name for path in Path.cwd().iterdir() if path.name != "__pycache__")
    assert after == before
    assert out == ""
    assert err.count("\n") == 1, err
    return err


CRITERIA = {
    "    return 1 / 0": "ZeroDivisionError: division by zero, mine.py line 6",
    "    return undefined": "NameError: name 'undefined' is not defined, mine.py line 6",
    "    assert False": "AssertionError, mine.py line 6",
    "    raise RuntimeError('two\\n  lines')": "RuntimeError: two lines, mine.py line 6",
    "    return x.view(7, -1)": "RuntimeError: shape '[7, -1]' is invalid",
    "    sys.exit('no more')": "SystemExit: no more, mine.py line 6",
    "    sys.exit()": "SystemExit, mine.py line 6",
    "    pass": "f must return a tensor of shape (64,), not None",
    "    return x[:, 0], x": "f must return a tensor of shape (64,), not tuple",
    "    return x[:, 0].numpy()": "f must return a tensor of shape (64,), not ndarray",
    "    return 3.0": "f must return a tensor of shape (64,), not float",
    "    return x[:, 0].tolist()": "f must return a tensor of shape (64,), not list",
    "    return x[:, :1]": "f must return floats of shape (n,) = (64,), not (64, 1) torch.float32",
    "    return x.mean()": "f must return floats of shape (n,) = (64,), not () torch.float32",
    "    return x[:, 0] > 0": "f must return floats of shape (n,) = (64,), not (64,) torch.bool",
    "    return x[:, 0].to('meta')": "where its argument is, not on meta",
    "    return x[:, 0].mul_(2)": "f changes the x that it is given",
    "    x[:, 1] = 0\n    return x[:, 0]": "f changes the x that it is given",
    "    return x[:, 0] * next(calls)": "other values when asked twice for the same x",
    "    return x[:, 0] - x[:, 0].mean()": "in a batch of 7: each must depend on its own x alone",
    "    return x[:64, 0] + torch.zeros(64)": "fails on x of shape (7, 3)",
    "    return x[:, :1].squeeze() if len(x) > 1 else x.sum()": "(n,) = (1,), not ()",
    "    return 0 * x[:, 0]": "nothing to favour",
    "    return x[:, 0] / 0": "f is not finite for 100.0% of draws",
    "    return x[:, 0] + (0 * x[:, 1]).sqrt()": "gradient of f is not finite",
}
AGAIN = {
    *("    return undefined", "    assert False", "    return x.view(7, -1)"),
    *("    sys.exit('no more')", "    return x[:, 0], x", "    return x[:, 0].numpy()"),
    *("    return 3.0", "    return x[:, 0].tolist()", "    return x.mean()"),
    *("    sys.exit()", "    return x[:, 0] > 0", "    return x[:, 0].to('meta')"),
    *("    x[:, 1] = 0\n    return x[:, 0]", "    return x[:64, 0] + torch.zeros(64)"),
}
"""Of a kind that another criterion has."""


@pytest.mark.parametrize("body", [slow(body) if body in AGAIN else body for body in CRITERIA])
@pytest.mark.parametrize("kind", ["function", pytest.param("class", marks=pytest.mark.slow)])
def test_a_criterion(here, capsys, body, kind):
    if kind == "class":
        code = f"class f:\n  def __call__(self, x):\n{body}\n"
        body_at = "line 7"
    else:
        code, body_at = f"def f(x):\n{body}\n", "line 6"
    written(
        here, code, criterion="_target_: mine.f\n" + "_partial_: true\n" * (kind == "function")
    )
    line = told(capsys, "model=gaussian", "model.latent_dim=3", "criterion=own")
    assert line.startswith("btgm run: criterion='f': ")
    assert CRITERIA[body].replace("line 6", body_at) in line


MODELS = {
    "sample_prior(self, n, g): 1 / 0": "sample_prior(64) fails (ZeroDivisionError",
    "sample_prior(self, n, g): pass": "floats of shape (n, latent_dim) = (64, 3)",
    "sample_prior(self, n, g): return torch.randn(n, 4, generator=g)": "not (64, 4)",
    "sample_prior(self, n, g): return torch.ones(n, 3).long()": "not (64, 3) torch.int64",
    "sample_prior(self, n, g): return torch.zeros(n, 3) / 0": "draws that are not finite",
    "sample_prior(self, n, g): return torch.randn(64, 3, generator=g)": "(7, 3)",
    "sample_prior(self): pass": "TypeError: M.sample_prior() takes 1 positional argument",
    "prior_log_prob(self, z): raise KeyError('w')": "z of shape (64, 3) (KeyError",
    "prior_log_prob(self, z): return -z.square()": "must return floats of shape (n,)",
    "prior_log_prob(self, z): return super().prior_log_prob(z.mul_(1.5))": "changes the z",
    "prior_log_prob(self, z): return super().prior_log_prob(z) / 0": "is not finite for 100.0%",
    "prior_log_prob(self, z): return super().prior_log_prob(z - 3)": "is not the density",
    "decode(self, z): return z @ torch.ones(5, 2)": "z of shape (64, 3) (RuntimeError",
    "decode(self, z): return None": "decode must return a tensor of shape (64, …), not None",
    "decode(self, z): return z[:3]": "decode must return shape (n, …) = (64, …), not (3, 3)",
    "decode(self, z): return z + z.mean(0)": "in a batch of 7",
    "decode(self, z): return z.add_(1)": "decode changes the z that it is given",
    "decode(self, z): sys.exit(3)": "SystemExit: 3, mine.py line 7",
    "__init__(self, latent_dim): raise OSError('no weights')": "no weights, mine.py line 7",
    "__init__(self, latent_dim): sys.exit()": "with latent_dim=3 (SystemExit, mine.py",
    "__init__(self, latent_dim, width): pass": "needs width",
    "__init__(self, latent_dim): pass": "has no latent_dim; a model needs",
    "__init__(self, latent_dim): self.latent_dim = 3.0": "whole number, not 3.0",
    "__init__(self, latent_dim): self.latent_dim, self.decode = 3, None": "decode fails on z",
    "to(self, device): raise ValueError('stays here')": "to cpu (ValueError: stays here",
    "noise(self, n, g): 1/0\n  def decode_with(self, z, e): pass": "fails (ZeroDiv",
}
ONCE_MORE = {
    "sample_prior(self, n, g): pass",
    "sample_prior(self, n, g): return torch.ones(n, 3).long()",
    "sample_prior(self, n, g): return torch.randn(64, 3, generator=g)",
    "sample_prior(self): pass",
    "prior_log_prob(self, z): raise KeyError('w')",
    "prior_log_prob(self, z): return super().prior_log_prob(z.mul_(1.5))",
    "decode(self, z): return z @ torch.ones(5, 2)",
    "decode(self, z): return None",
    "decode(self, z): sys.exit(3)",
    "decode(self, z): return z.add_(1)",
    "__init__(self, latent_dim): self.latent_dim = 3.0",
    "prior_log_prob(self, z): return super().prior_log_prob(z) / 0",
    "noise(self, n, g): 1/0\n  def decode_with(self, z, e): pass",
    "__init__(self, latent_dim): sys.exit()",
    "__init__(self, latent_dim): self.latent_dim, self.decode = 3, None",
}
"""Of a kind that another model has."""


@pytest.mark.parametrize("method", [slow(m) if m in ONCE_MORE else m for m in MODELS])
def test_a_model(here, capsys, method):
    code = f"class M(StandardNormal):\n  decode = lambda self, z: z\n  def {method}\n"
    written(here, code, model="_target_: mine.M\nlatent_dim: 3\n")
    line = told(capsys, "model=own", "criterion=linear", "device=cpu")
    assert line.startswith("btgm run: model='M': ")
    assert MODELS[method] in line


def test_a_decoder_with_members_missing(here, capsys):
    written(here, "class M:\n  latent_dim = 3\n", model="_target_: mine.M\n")
    line = told(capsys, "model=own", "criterion=linear")
    assert "model='M': has no sample_prior, prior_log_prob, decode" in line


@pytest.mark.parametrize(
    ("code", "yaml", "words"),
    [
        ("1 / 0", "_target_: mine.f", "criterion._target_='mine.f': ZeroDivisionError: division"),
        ("def f(x:", "_target_: mine.f", "SyntaxError: '(' was never closed (mine.py, line 5)"),
        slow("import nowhere", "_target_: mine.f", "No module named 'nowhere', mine.py line 5"),
        slow("sys.exit(1)", "_target_: mine.f", "SystemExit: 1, mine.py line 5"),
        ("", "_target_: mine.f", "module 'mine' has no attribute 'f'"),
        (
            "def f(x): return x",
            "_target_: mine.f",
            "needs x; a function of x needs _partial_: true",
        ),
        ("f = 3", "_target_: mine.f", "criterion="),
        slow("def f(): return 3", "_target_: mine.f", "must be a function of x"),
        slow("def f(x): return x", "_target_: mine.f\n_partial_: 3", "_partial_"),
        ("f = 3", "a: ???\n_target_: mine.f", "criterion.a='???': must be given"),
        ("f = 3", "a: ${nowhere.b}\n_target_: mine.f", "'nowhere.b' not found"),
        slow(
            "f = 3",
            "a: ${nothing:b}\n_target_: mine.f",
            "Unsupported interpolation type nothing",
        ),
        ("f = 3", "a: [1, 2\n_target_: mine.f", "own.yaml"),
        slow("f = 3", "a: '\n", "own.yaml"),
        slow("f = 3", "- 1\n- 2\n", "criterion"),
        ("f = 3", "", "criterion="),
        slow("f = 3", "3", "criterion"),
        ("f = 3", "defaults: [nowhere]\n_target_: mine.f", "nowhere"),
    ],
)
def test_a_yaml_and_a_module(here, capsys, code, yaml, words):
    written(here, code + "\n", criterion=yaml)
    assert words in told(capsys, "model=gaussian", "criterion=own")


@pytest.mark.parametrize("group", ["criterion.terms.second", "criterion.of"])
def test_which_of_several_criteria_it_was(here, capsys, group):
    written(
        here,
        "def ink(x):\n    return x.inked\n",
        criterion="_target_: mine.ink\n_partial_: true\n",
    )
    outer = ["criterion=sum", "criterion@criterion.terms.first=linear"]
    chosen = outer if "terms" in group else ["criterion=normalized"]
    line = told(capsys, "model=gaussian", *chosen, f"criterion@{group}=own")
    assert f"{group}='ink': f fails on x of shape (64, 8) (AttributeError: " in line
    assert line.endswith("mine.py line 6)\n")


def test_an_interrupt_passes(here, capsys):
    code = "def f(x):\n    raise KeyboardInterrupt\n"
    written(here, code, criterion="_target_: mine.f\n_partial_: true\n")
    assert main(["run", "model=gaussian", "criterion=own"]) == 130
    assert capsys.readouterr().err == "btgm run: interrupted; what was finished is kept\n"


def test_a_criterion_to_rank(here, capsys):
    written(
        here, "def f(x):\n    return x.nope\n", criterion="_target_: mine.f\n_partial_: true\n"
    )
    line = told(capsys, "model=gaussian", "criteria=[linear,own]", command="rank")
    assert "criteria='own': f fails on x of shape (64, 8) (AttributeError" in line
    assert "mine.py line 6" in line


def test_what_else_a_criterion_says_is_tried():
    class Odd(Linear):
        def closed_form(self, model):
            return 3

    class Classes(Linear):
        n_classes = 2

        def classes(self, x):
            return 5 * torch.ones(len(x)).long()

    for criterion, words in ((Odd(), "closed_form fails"), (Classes(), "from 0 to n_classes")):
        with pytest.raises(SettingError, match=words):
            Problem.checked(Gaussian(3), criterion)


def test_a_decoder_that_answers_at_random_is_no_decoder():
    class Loose(Gaussian):
        calls = 0

        def decode(self, z):
            self.calls += 1
            return z + self.calls

    with pytest.raises(SettingError, match="decode gives other values when asked twice"):
        Problem.checked(Loose(3), Linear())


def test_combined_criteria_of_sound_ones_pass():
    total = WeightedSum({"a": Normalized(Linear()), "b": negated(Linear())}, {"a": 2, "b": 1})
    assert Problem.checked(Gaussian(3), total).has_gradient


def test_names_are_found_within_partials():
    assert name_of(partial(partial(pytest.approx, 1), 2)) == "approx"
    assert name_of(Linear()) == "Linear"


def test_options_that_name_each_other(here, capsys):
    written(here, "", model="defaults:\n  - own\n")
    assert "recursion" in told(capsys, "model=own", "criterion=linear")


def test_a_fault_of_compiled_code_is_nobodys_own():
    with pytest.raises(pd.errors.EmptyDataError) as raised:
        pd.read_csv(io.StringIO(""))
    assert "test_own_code.py line" in from_outside(raised.value)  # and no .pyx
    assert from_outside(OSError(36, "File name too long", "x" * 5000)).endswith(" …")


@pytest.mark.parametrize(
    ("fault", "sweep"),
    [
        ("raise ValueError('late')", []),
        ("sys.exit('late')", ["-m", "hydra.sweep.subdir=run"]),
        slow("sys.exit('late')", []),
        slow("raise ValueError('late')", ["-m", "hydra.sweep.subdir=run"]),
    ],
)
def test_a_fault_that_comes_amid_the_work(here, capsys, fault, sweep):
    code = f"def f(x):\n    if len(x) == 77: {fault}\n    return x[:, 0]\n"
    written(here, code, criterion="_target_: mine.f\n_partial_: true\n")
    small = ["tuning.batch_size=77", "tuning.n_eval=200", "target.betas=[0,1]", "flow.depth=1"]
    small += ["tuning.gradient=reparametrised", "tuning.n_reference=1000"]
    assert main(["run", "model=gaussian", "criterion=own", *small, *sweep]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if "late" in line]
    assert len(lines) == 1
    assert lines[0].startswith("btgm run: ")
    assert lines[0].endswith(": late, mine.py line 6")
    assert "Traceback" not in err


def test_a_want_of_memory_amid_the_work_names_the_largest_setting(here, capsys, monkeypatch):
    def solve(*_, **__):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr("btgm_cli.cli.execute.solve", solve)
    asked = [
        "model=gaussian",
        "criterion=linear",
        "tuning.n_eval=77777",
        "tuning.n_reference=1000",
    ]
    assert main(["run", *asked]) == 2
    line = [line for line in capsys.readouterr().err.splitlines() if "memory" in line]
    assert line == ["btgm run: tuning.n_eval=77777: memory was not enough for so many; give less"]
