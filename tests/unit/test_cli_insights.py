"""`kairos insights`: its output, and its messages about bad tables."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import build_app
from tests.support.attribution import write_csv, write_parquet

PATHS = ["path,conversions,value,nulls", "a > b,2,20,3", "b,1,5,1", "a > a,0,0,2"]
TOUCHES = "profile_id,occurred_at,channel,kind,value"
LOG = "reward,propensity,target_propensity"
GOOD_TOUCH = "p,1704067200000,mail,touch,0"
GOOD_ENTRY = "1,0.5,0.5"


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app("insights"), ["insights", *arguments])
    message = str(result.exception) if result.exception and result.exit_code == 1 else result.stderr
    return result.exit_code, result.stdout, " ".join(message.split())


def _run_for_json(*arguments: str) -> dict[str, Any]:
    code, output, error = _run(*arguments, "--json")
    assert code == 0, error
    assert "NaN" not in output
    assert "Infinity" not in output
    document = json.loads(output)
    assert isinstance(document, dict)
    return document


def test_attribution_prints_its_contract(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "paths.csv", PATHS)
    document = _run_for_json(
        "attribution", "--paths", str(file), "--model", "markov", "--order", "1", "--seed", "7"
    )
    assert list(document) == ["model", "order", "conversions", "value", "channels"]
    assert (document["model"], document["order"]) == ("markov", 1)
    assert (document["conversions"], document["value"]) == (3.0, 25.0)
    for channel in document["channels"]:
        assert list(channel) == ["channel", "conversions", "value", "removal_effect", "low", "high"]
        assert channel["low"] <= channel["high"]
    for part in ("conversions", "value"):
        total = math.fsum(channel[part] for channel in document["channels"])
        assert total == pytest.approx(document[part], rel=1e-9)
    repeat = _run_for_json("attribution", "--paths", str(file), "--seed", "7")
    assert repeat == document


def test_attribution_of_touches_prints_its_support(tmp_path: Path) -> None:
    lines = [TOUCHES, GOOD_TOUCH, "p,1704067300000,,conversion,9.5"]
    document = _run_for_json("attribution", "--touches", str(write_csv(tmp_path / "t.csv", lines)))
    assert document["channels"][0]["value"] == 9.5
    assert (document["credit"], document["unit"]) == ("global", "channel")
    assert document["support"] == {
        "customers": 1,
        "journeys": 1,
        "conversions": 1,
        "touches": {"touch": 1},
        "unfinished": 0,
        "unseen": 0,
        "repeated": 0,
    }


def test_off_policy_prints_its_contract(tmp_path: Path) -> None:
    plain_log = write_csv(tmp_path / "log.csv", [LOG, GOOD_ENTRY, "0,0.5,0.25"])
    document = _run_for_json("off-policy", "--log", str(plain_log))
    assert list(document) == ["n", "ess", "ips", "snips", "dr"]
    assert list(document["ips"]) == ["value", "low", "high"]
    assert document["dr"] is None
    model_log = write_csv(tmp_path / "m.csv", [f"{LOG},q_logged,q_target", "1,0.5,0.5,0.4,0.6"])
    assert _run_for_json("off-policy", "--log", str(model_log))["dr"]["value"] == pytest.approx(1.2)
    anytime_document = _run_for_json("off-policy", "--log", str(plain_log), "--anytime")
    assert 0 <= anytime_document["ips"]["low"] <= anytime_document["ips"]["high"] <= 1


def test_names_from_data_are_shown_unchanged(tmp_path: Path) -> None:
    lines = [PATHS[0], "[red]x[/red] > \x1b[31my,1,1,0"]
    code, output, _ = _run("attribution", "--paths", str(write_csv(tmp_path / "p.csv", lines)))
    assert code == 0
    assert "[red]x[/red]" in output
    assert "\x1b[31my" not in output


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "is empty, without even a header"),
        (["conversions", "1"], "has no column 'path'; it has conversions"),
        (["path,conversions,path", "a,1,b"], "p.csv:1: column 'path' occurs twice"),
        (["path,conversions,", "a,1,"], "p.csv:1: column 3 has no name"),
        ([*PATHS, "a,-1,0,0"], "p.csv:5: conversions: '-1' is negative"),
        ([*PATHS, "a,nan,0,0"], "p.csv:5: conversions: 'nan' is not a finite number"),
        ([*PATHS, "a,1e999,0,0"], "p.csv:5: conversions: '1e999' is not a finite number"),
        ([*PATHS, "a,many,0,0"], "p.csv:5: conversions: 'many' is not a finite number"),
        ([*PATHS, "a,1,,0"], "p.csv:5: value: is blank"),
        ([*PATHS, "a,1,-3,0"], "p.csv:5: value: '-3' is negative"),
        ([*PATHS, "a,1,3,-1"], "p.csv:5: nulls: '-1' is negative"),
        ([*PATHS, "a,1e300,3,1"], "p.csv:5: conversions: '1e300' is above 1e+15"),
        ([*PATHS, "a,1,1e16,1"], "p.csv:5: value: '1e16' is above 1e+15"),
        ([*PATHS, "a,1,1,1", "a,0,3,1"], "p.csv:6: value: path 'a' has a value but no conversion"),
        ([*PATHS, "a > > b,1,1,1", "a >  > b,1,1,1"], "p.csv:6: path: 'a > > b' has a channel"),
        ([*PATHS, "a > ,1,1,1"], "p.csv:5: path: 'a >' has a channel without a name"),
        ([*PATHS, "(no touch),1,1,1"], "p.csv:5: path: the name '(no touch)' is taken"),
        ([*PATHS, "a > b,1"], "p.csv:5: has 2 columns instead of 4"),
        ([*PATHS, "a,1,2,3,4"], "p.csv:5: has 5 columns instead of 4"),
        ([*PATHS, '"a\nb",1,1,1', "c,x,1,1"], "p.csv:7: conversions: 'x' is not a finite number"),
    ],
)
def test_bad_paths_are_refused_with_their_place(
    tmp_path: Path, lines: Sequence[str], expected: str
) -> None:
    code, _, error = _run("attribution", "--paths", str(write_csv(tmp_path / "p.csv", lines)))
    assert code == 1
    assert expected in error
    assert "p.csv" in error


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("p,2024-01-01 10:00:00,mail,touch,0", "t.csv:3: occurred_at: .* has no time zone"),
        ("p,yesterday,mail,touch,0", "t.csv:3: occurred_at: 'yesterday' is not a time"),
        ("p,2024-13-01T00:00:00Z,mail,touch,0", "t.csv:3: occurred_at: .* is not a time"),
        (",1704067200000,mail,touch,0", "t.csv:3: profile_id: is blank"),
        ("p,,mail,touch,0", "t.csv:3: occurred_at: is blank"),
        ("p,1704067200000,,touch,0", "t.csv:3: channel: is blank"),
        ("p,1704067200000,mail,click,0", "t.csv:3: kind: 'click' is none of touch, conversion"),
        ("p,1704067200000,mail,conversion,-5", "t.csv:3: value: '-5' is negative"),
        ("p,1704067200000,(no touch),touch,0", "channel: the name '\\(no touch\\)' is taken"),
        ("p,99999999999999999999,mail,touch,0", "t.csv:3: occurred_at: .* is not a time"),
        ("p,9204067200000000,mail,touch,0", "t.csv:3: occurred_at: .* is not a time"),
        ("p,920406720000000,mail,touch,0", "t.csv:3: occurred_at: .* is after the year 9999"),
        ("p,4102444800000,mail,touch,0", "times span more than"),
        ("p,1704067200000,mail", "t.csv:3: has 3 columns instead of 5"),
    ],
)
def test_bad_touches_are_refused_with_their_place(tmp_path: Path, line: str, expected: str) -> None:
    file = write_csv(tmp_path / "t.csv", [TOUCHES, GOOD_TOUCH, line])
    code, _, error = _run("attribution", "--touches", str(file))
    assert code == 1
    assert re.search(expected, error), error


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([LOG], "l.csv: has no rows"),
        (["reward,propensity", "1,1"], "has no column 'target_propensity'"),
        ([LOG, GOOD_ENTRY, "1,0,0.5"], "l.csv:3: propensity: '0' is not above 0"),
        ([LOG, GOOD_ENTRY, "1,-0.1,0.5"], "l.csv:3: propensity: '-0.1' is not above 0"),
        ([LOG, GOOD_ENTRY, "1,1.5,0.5"], "l.csv:3: propensity: '1.5' is above 1"),
        ([LOG, GOOD_ENTRY, "1,0.5,1.01"], "l.csv:3: target_propensity: '1.01' is above 1"),
        ([LOG, GOOD_ENTRY, "NaN,0.5,0.5"], "l.csv:3: reward: 'NaN' is not a finite number"),
        ([LOG, GOOD_ENTRY, ",0.5,0.5"], "l.csv:3: reward: is blank"),
        ([LOG, "1,1e-320,1"], "weights overflow"),
        ([f"{LOG},q_logged", "1,1,1,1"], "no column 'q_target', which DR needs beside 'q_logged'"),
        ([LOG, GOOD_ENTRY, '"1,0.5'], "l.csv:3: "),
    ],
)
def test_bad_logs_are_refused_with_their_place(
    tmp_path: Path, lines: Sequence[str], expected: str
) -> None:
    code, _, error = _run("off-policy", "--log", str(write_csv(tmp_path / "l.csv", lines)))
    assert code == 1
    assert expected in error


def test_bad_lines_of_ndjson_are_refused_with_their_place(tmp_path: Path) -> None:
    good_line = '{"reward": 1, "propensity": 0.5, "target_propensity": 0.5}'
    for bad_line, expected in (
        ('{"reward": 1, "propen', "l.ndjson:3: is not JSON"),
        ("[1]", "l.ndjson:3: is not a JSON object"),
        ('{"reward": 1, "propensity": 0.5}', "l.ndjson:3: target_propensity: is blank"),
        (good_line.replace("0.5,", "2,"), "l.ndjson:3: propensity: '2' is above 1"),
        (good_line.replace("1,", "NaN,"), "l.ndjson:3: reward: "),
        (good_line.replace("1,", "[1],"), "l.ndjson:3: reward: '[1]' is not a finite number"),
    ):
        code, _, error = _run(
            "off-policy", "--log", str(write_csv(tmp_path / "l.ndjson", [good_line, "", bad_line]))
        )
        assert code == 1, bad_line
        assert expected in error


def test_parquet_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    table_file = write_parquet(tmp_path / "l.parquet", [{"reward": 1.0, "propensity": 0.5}] * 100)
    table_file.write_bytes(table_file.read_bytes()[:-30])
    code, _, error = _run("off-policy", "--log", str(table_file))
    assert code == 1
    assert "l.parquet: is damaged or was cut" in error


def test_csv_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    for row_count in (1, 10_000):
        file.write_bytes(
            ("path,conversions\n" + "web,1\n" * row_count + "cañón,1\n").encode("latin-1")
        )
        code, _, error = _run("attribution", "--paths", str(file))
        assert code == 1
        assert f"p.csv:{row_count + 2}: is not in UTF-8" in error


def test_file_name_is_never_a_pattern(tmp_path: Path) -> None:
    write_csv(tmp_path / "pa.csv", [PATHS[0], "other,9,9,9"])
    file = write_csv(tmp_path / "p[a]*'?.csv", PATHS)
    assert _run_for_json("attribution", "--paths", str(file))["conversions"] == 3.0


@pytest.mark.parametrize(
    "arguments",
    [
        ("attribution",),
        ("attribution", "--paths", "p.csv", "--touches", "t.csv"),
        ("attribution", "--paths", "p.csv", "--model", "magic"),
        ("attribution", "--paths", "p.csv", "--order", "5"),
        ("attribution", "--touches", "t.csv", "--lookback", "soon"),
        ("attribution", "--touches", "t.csv", "--unit", "moon"),
        ("off-policy",),
        ("anomalies", "--events", "e.csv", "--worth", "inf"),
        ("recommend", "--events", "e.csv", "--prompts", "p.csv", "--value", "inf"),
        ("recommend", "--events", "e.csv", "--prompts", "p.csv", "--cost", "email=1e16"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert _run(*arguments)[0] == 2


def test_unanswerable_questions_are_refused_with_a_reason(tmp_path: Path) -> None:
    file = str(write_csv(tmp_path / "p.csv", PATHS))
    touches = str(write_csv(tmp_path / "touches.csv", [TOUCHES, GOOD_TOUCH]))
    sheet = str(write_csv(tmp_path / "s.csv", ["sep=,", *PATHS]))
    rows = ["path,conversions,value", "a > b,2,10", "b,1,5", "Total,3,15"]
    sheet_with_total = str(write_csv(tmp_path / "t.csv", rows))
    for arguments, expected in (
        (("--paths", file, "--model", "time-decay"), "paths have no times"),
        (("--paths", str(tmp_path / "no.csv")), "no.csv: is not there"),
        (("--paths", str(tmp_path)), "is none of .csv, .parquet, .ndjson, .jsonl, .json"),
        (("--touches", file, "--timezone", "Mars/Olympus"), "has no column"),
        (("--touches", touches, "--timezone", "Mars"), "--timezone Mars: is not a time zone"),
        (("--paths", file, "--memory", "lots"), "say a size"),
        (
            ("--paths", file, "--spill", str(tmp_path / "no")),
            "no, for what does not fit into memory: is not a folder",
        ),
        (("--paths", sheet), "s.csv:1: is a line for spreadsheets, not the header: remove it"),
        (
            ("--paths", sheet_with_total),
            "t.csv:4: path: 'Total' is the sum of all other rows: remove it",
        ),
        (("--topics", str(tmp_path / "none")), f"--topics {tmp_path}/none: is not a folder"),
    ):
        code, _, error = _run("attribution", *arguments)
        assert code == 1, arguments
        assert expected in error
