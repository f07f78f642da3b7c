"""`btgm data`: what it refuses, and what its help tells."""

import sys
from pathlib import Path

import pytest

from btgm_cli.cli import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fetch", "cifar"], "data='cifar': choose one of load, mnist"),
        (["fetch", "load"], "data='fetch load': type btgm data build load --input FILE ..."),
        (["build", "load"], "data='build load': type btgm data build load --input FILE ..."),
        (["build", "mnist", "a.csv"], "data='build mnist a.csv': type btgm data fetch mnist"),
        (["get", "mnist"], "data='get': choose one of fetch, build"),
        (["fetch", "mnist", "out=here"], "out='here': unknown setting; choose from data_dir"),
        (["build", "load", "--out", "here"], "--out='': must be given as SETTING=VALUE"),
        (["build", "load", "--input", "a.csv", "zone=x"], "zone='x': unknown setting"),
        (["build", "load", "--input", "a.csv", "timezone="], "timezone='': no such time zone"),
        (["build", "load", "--input", "b.csv"], "b.csv: not found"),
    ],
)
def test_data_that_cannot_be_had_is_told_in_one_line(
    arguments, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("BTGM_DATA_DIR", str(tmp_path / "empty"))
    Path("a.csv").touch()
    assert main(["data", *arguments]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_the_help_has_all_data_with_their_settings(capsys):
    assert main(["data", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "timezone: Europe/London" in printed
    assert "LCLid,tstp,energy(kWh/hh)" in printed
    assert "mnist:" in printed
