"""Meter readings cut into weeks, on files made here."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from btgm_cli.cli import main
from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.domains.load.build import build_weekly
from btgm_cli.domains.load.weekly import load_weekly
from btgm_cli.store.data_dir import resolve_data_dir

LONDON = "Europe/London"
REAL = resolve_data_dir() / "energy" / "weekly_load.npz"


def readings(start: str, end: str, minutes: int = 30, name: str = "MAC000002") -> pd.DataFrame:
    """A reading for each step from `start` to before `end`, UTC: its place in the series."""
    stamps = pd.date_range(start, end, freq=f"{minutes}min", inclusive="left", tz="UTC")
    return pd.DataFrame({"household": name, "time": stamps, "value": np.arange(len(stamps)) % 97})


def published(frame: pd.DataFrame) -> pd.DataFrame:
    stamp = frame["time"].dt.strftime("%Y-%m-%d %H:%M:%S.0000000")
    return pd.DataFrame(
        {"LCLid": frame["household"], "tstp": stamp, "energy(kWh/hh)": frame["value"] / 10}
    )


def own(frame: pd.DataFrame, unit: str = "kWh", offset: bool = True) -> pd.DataFrame:
    local = frame["time"].dt.tz_convert(LONDON)
    stamp = local.astype(str) if offset else local.dt.tz_localize(None).astype(str)
    return pd.DataFrame(
        {"household": frame["household"], "timestamp": stamp, unit: frame["value"] / 10}
    )


def csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def january(tmp_path) -> pd.DataFrame:
    """Four whole weeks from Monday 2013-01-07, and a few days on either side."""
    return readings("2013-01-04", "2013-02-06")


def test_published_readings_become_weeks_of_kw(january, tmp_path):
    built = build_weekly([csv(published(january), tmp_path / "a.csv")], LONDON)
    monday = (np.datetime64("2013-01-07") - np.datetime64("1970-01-01")).astype(int)
    assert built.week_start.tolist() == [monday + 7 * k for k in range(4)]
    assert built.household.tolist() == [2] * 4
    assert built.load_kw.dtype == np.float32
    inside = january["time"].between("2013-01-07", "2013-02-04", inclusive="left")
    expected = january["value"][inside].to_numpy().reshape(4, 336) / 10 * 2
    np.testing.assert_allclose(built.load_kw, expected, rtol=1e-6)
    assert built.published
    assert built.bad.total == 0


def test_summer_weeks_start_at_local_midnight(tmp_path):
    """Monday 00:00 in London is Sunday 23:00 UTC in July."""
    frame = readings("2013-06-28", "2013-07-12")
    built = build_weekly([csv(published(frame), tmp_path / "a.csv")], LONDON)
    first = frame["value"][frame["time"] == "2013-06-30 23:00"].item()
    assert built.load_kw[0, 0] == pytest.approx(first / 5)


@pytest.mark.parametrize("months", [("2013-03-15", "2013-04-16"), ("2013-10-10", "2013-11-12")])
@pytest.mark.parametrize("form", ["published", "offset", "local"])
def test_weeks_of_a_clock_change_are_left_out_and_counted(months, form, tmp_path):
    frame = readings(*months)
    rows = published(frame) if form == "published" else own(frame, offset=form == "offset")
    built = build_weekly([csv(rows, tmp_path / "a.csv")], LONDON)
    assert built.clock_change_weeks == 1
    assert built.bad.total == 0  # the hour that comes twice in autumn is no fault
    assert built.fates[["kept", "with_gaps"]].to_numpy().tolist() == [[3, 0]]
    start = pd.to_datetime(built.week_start, unit="D").tz_localize(LONDON)
    values = [frame["value"][frame["time"] == monday].item() for monday in start]
    np.testing.assert_allclose(built.load_kw[:, 0], np.array(values) / 5, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("minutes", "points"), [(15, 672), (20, 504), (30, 336), (60, 168)])
def test_any_regular_step_as_energy_or_power(minutes, points, suffix, tmp_path):
    frame = readings("2013-01-07", "2013-01-14", minutes)
    kwh = own(frame).rename(columns={"kWh": "value"})
    kw = kwh.assign(value=kwh["value"] * 60 / minutes)
    built = []
    for unit, readings_of_unit in (("kWh", kwh), ("kW", kw)):
        path = tmp_path / f"{unit}.{suffix}"
        rows = readings_of_unit.rename(columns={"value": unit})
        csv(rows, path) if suffix == "csv" else rows.to_parquet(path)
        built.append(build_weekly([path], LONDON))
    assert built[0].load_kw.shape == (1, points)
    np.testing.assert_allclose(built[0].load_kw, built[1].load_kw, rtol=1e-6)
    assert built[0].load_kw[0, 5] == pytest.approx(0.5 * 60 / minutes)


def test_a_parquet_file_may_hold_real_time_stamps(tmp_path):
    frame = readings("2013-07-01", "2013-07-15")
    rows = own(frame).assign(timestamp=frame["time"].dt.tz_convert(LONDON))
    rows.to_parquet(tmp_path / "a.parquet")
    built = build_weekly([tmp_path / "a.parquet"], LONDON)
    again = build_weekly([csv(own(frame), tmp_path / "a.csv")], LONDON)
    np.testing.assert_array_equal(built.load_kw, again.load_kw)


def test_a_gap_costs_its_week_and_is_told_by_household(january, tmp_path):
    lacking = january[january["time"] != "2013-01-16 12:00"]
    left = january[january["time"] < "2013-01-21"].assign(household="MAC000007")
    still = january.assign(household="MAC000005", value=0)
    rows = published(pd.concat([left, lacking, still]))
    built = build_weekly([csv(rows, tmp_path / "a.csv")], LONDON)
    assert built.fates.to_numpy().tolist() == [
        [2, "MAC000002", 3, 1, 0, 0],
        [5, "MAC000005", 0, 0, 0, 4],
        [7, "MAC000007", 2, 0, 2, 0],
    ]
    assert built.household.tolist() == [2, 2, 2, 7, 7]


BAD = {
    "2013-01-16 12:00:00,Null": "reading is no number: 'Null'",
    "2013-01-16 12:00:00,inf": "reading is no number: 'inf'",
    "2013-01-16 12:00:00,": "reading is no number: ''",
    "2013-01-16 12:00:00,-0.1": "reading is negative: '-0.1'",
    "tomorrow,0.1": "time stamp cannot be read: 'tomorrow'",
    "2013-01-16 12:07:00,0.1": "off the grid of 30 minutes: '2013-01-16 12:07:00'",
    "2013-01-16 12:00:07,0.1": "off the grid of 30 minutes: '2013-01-16 12:00:07'",
    "2013-01-17 12:00:00,0.1": "second reading of a household for a time: '2013-01-17 12:00:00",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_row_is_named_by_file_and_line_and_its_week_falls_out(line, january, tmp_path):
    text = published(january).to_csv(index=False).splitlines()
    number = next(k for k, row in enumerate(text) if "2013-01-16 12:00" in row)
    if line.startswith("2013-01-17"):  # a second one, later in the file
        number = len(text)
        text.append("")
    text[number] = f"MAC000002,{line}"
    path = tmp_path / "a.csv"
    path.write_text("\n".join(text) + "\n")
    built = build_weekly([path], LONDON)
    assert built.bad.total == 1
    assert built.bad.first[0].startswith(f"{path}:{number + 1}: {BAD[line]}")
    assert built.fates[["kept", "with_gaps"]].to_numpy().tolist() == [[3, 1]]


def test_pieces_and_files_are_joined(january, tmp_path, monkeypatch):
    whole = build_weekly([csv(published(january), tmp_path / "a.csv")], LONDON)
    monkeypatch.setattr("btgm_cli.domains.load.meter_files.CHUNK_ROWS", 100)
    halves = [published(january)[:700], published(january)[700:]]
    parts = [csv(half, tmp_path / f"{k}.csv") for k, half in enumerate(halves)]
    again = build_weekly(parts, LONDON)
    np.testing.assert_array_equal(again.load_kw, whole.load_kw)
    parts[1].write_text(parts[1].read_text().replace("0.5\n", "x\n", 1))
    line = 2 + int((halves[1]["energy(kWh/hh)"] == 0.5).to_numpy().argmax())
    assert build_weekly(parts, LONDON).bad.first[0].startswith(f"{parts[1]}:{line}:")


def test_households_without_a_number_of_their_own_are_counted(january, tmp_path):
    rows = pd.concat([own(january.assign(household=name)) for name in ("b", "a1", "c1")])
    built = build_weekly([csv(rows, tmp_path / "a.csv")], LONDON)
    assert built.fates["name"].tolist() == ["a1", "b", "c1"]
    assert built.fates["household"].tolist() == [1, 2, 3]


REFUSED = {
    "other columns": ("a,b\n1,2\n", "has the columns a,b; expected"),
    "both units": ("household,timestamp,kWh,kW\n", "expected just one of"),
    "empty": ("", "cannot be read"),
    "ragged": ("household,timestamp,kW\n1,2013-01-07,1\n1,2,3,4\n", "line 3"),
    "daily": (
        "household,timestamp,kW\n1,2013-01-07,1\n1,2013-01-08,1\n",
        "step of its readings is 1440 minutes; must be one of 15, 20, 30, 60",
    ),
    "short": (
        "household,timestamp,kW\n1,2013-01-07 00:00,1\n1,2013-01-07 00:30,1\n",
        "no whole week is in there",
    ),
    "nothing sound": (
        "household,timestamp,kW\n1,2013-01-07 00:00,x\n",
        "no whole week is in there (1 rows; 1 rows refused: reading is no number)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_of_no_use_is_refused_by_name(case, tmp_path, capsys):
    content, message = REFUSED[case]
    path = tmp_path / "a.csv"
    path.write_text(content)
    out = tmp_path / "out"
    assert main(["data", "build", "load", "--input", str(path), f"out={out}"]) == 2
    told = capsys.readouterr().err
    assert str(path) in told
    assert message in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_unknown_zone_and_missing_file_are_named(tmp_path):
    with pytest.raises(SettingError, match=r"^timezone='Europe/Lundon'"):
        build_weekly([], "Europe/Lundon")
    with pytest.raises(DataError, match=r"nowhere\.csv: not found"):
        build_weekly([tmp_path / "nowhere.csv"], LONDON)


def test_what_is_built_is_what_is_loaded(january, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BTGM_DATA_DIR", str(tmp_path))
    path = csv(published(january[january["time"] != "2013-01-16 12:00"]), tmp_path / "a.csv")
    assert main(["data", "build", "load", "--input", str(path)]) == 0
    told = capsys.readouterr().out
    assert "1 households, 3 household-weeks kept" in told
    assert "MAC000002: 1" in told
    assert "Low Carbon London" in told
    assert "CC BY" in (tmp_path / "energy" / "ATTRIBUTION.txt").read_text()
    assert (tmp_path / "energy" / "households.csv").is_file()
    load = load_weekly()
    assert load.load_kw.shape == (3, 336)
    assert load.week.tolist() == [0, 1, 2]


def test_local_time_is_that_of_the_time_zone_given(january, tmp_path, capsys):
    path = csv(published(january), tmp_path / "a.csv")
    given = ["build", "load", "--input", str(path), "timezone=Asia/Tokyo", f"data_dir={tmp_path}"]
    assert main(["data", *given]) == 0
    capsys.readouterr()
    first = january["value"][january["time"] == "2013-01-06 15:00"].item()  # Monday in Tokyo
    assert load_weekly(tmp_path).load_kw[0, 0].item() == pytest.approx(first / 5)


def test_own_readings_credit_nobody_else(january, tmp_path, capsys):
    path = csv(own(january), tmp_path / "mine.csv")
    assert main(["data", "build", "load", f"out={tmp_path}", "--input", str(path)]) == 0
    assert "Low Carbon London" not in capsys.readouterr().out
    assert "mine.csv" in (tmp_path / "ATTRIBUTION.txt").read_text()


def test_missing_and_damaged_weekly_load_are_told(tmp_path):
    with pytest.raises(DataError, match=r"btgm data build load --input"):
        load_weekly(tmp_path)
    (tmp_path / "energy").mkdir()
    (tmp_path / "energy" / "weekly_load.npz").write_bytes(b"half a fi")
    with pytest.raises(DataError, match=r"cannot be read"):
        load_weekly(tmp_path)


FAULTS = {
    "single week": ({"week_start": np.zeros(2)}, "holds a single week"),
    "negative": ({"load_kw": np.full((2, 336), -1.0)}, "negative or not finite"),
    "gap": ({"load_kw": np.full((2, 336), np.nan)}, "negative or not finite"),
    "other length": ({"load_kw": np.ones((2, 48))}, "no whole hours of a week"),
    "other rows": ({"household": np.arange(3)}, "mislabelled"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_weekly_load_that_is_none_is_refused(fault, tmp_path):
    changed, message = FAULTS[fault]
    sound = {"load_kw": np.ones((2, 336)), "household": np.arange(2), "week_start": np.arange(2)}
    (tmp_path / "energy").mkdir()
    np.savez(tmp_path / "energy" / "weekly_load.npz", **{**sound, **changed})
    with pytest.raises(DataError, match=message):
        load_weekly(tmp_path)


@pytest.mark.skipif(not REAL.is_file(), reason="needs the London data")
def test_the_london_weeks_are_built_again_from_their_readings(tmp_path):
    with np.load(REAL) as stored:
        chosen = np.isin(stored["household"], (2, 3, 37))
        load_kw, household = stored["load_kw"][chosen], stored["household"][chosen]
        start = stored["week_start"][chosen]
    monday = pd.to_datetime(start, unit="D").tz_localize(LONDON)
    times = monday.repeat(336).tz_convert("UTC") + pd.to_timedelta(
        np.tile(np.arange(336) * 30, len(start)), unit="min"
    )
    rows = pd.DataFrame(
        {
            "LCLid": np.char.mod("MAC%06d", household).repeat(336),
            "tstp": times.strftime("%Y-%m-%d %H:%M:%S"),
            "energy(kWh/hh)": (load_kw.astype(float).ravel() / 2).round(3),
        }
    )
    built = build_weekly([csv(rows, tmp_path / "a.csv")], LONDON)
    np.testing.assert_array_equal(built.load_kw, load_kw)
    np.testing.assert_array_equal(built.household, household)
    np.testing.assert_array_equal(built.week_start, start)
    assert built.clock_change_weeks == 2
