"""Log records as text and as JSON: fields, tracebacks and levels."""

import json
import subprocess
import sys
from functools import cache
from typing import Any

_SCRIPT = """
import logging
from pipeline.home import logs
from pipeline.settings import Settings
logs.configure(Settings())
logging.getLogger("kairos.ours").info("took %d ms", 7)
logging.getLogger("httpx").info("a request")
logging.getLogger("kairos.other").warning("late", extra={"topic": "decisions"})
try:
    secret = "do-not-show"
    raise ValueError("wrong")
except ValueError:
    logging.getLogger("kairos.ours").exception("failed")
"""


@cache
def capture_log(**variables: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=variables, capture_output=True, text=True, check=True
    )
    assert result.stdout == ""
    return result.stderr


def test_as_json_each_record_is_a_line() -> None:
    records: list[dict[str, Any]] = [
        json.loads(line) for line in capture_log(KAIROS_LOG_FORMAT="json").splitlines()
    ]
    assert [(record["level"], record["logger"], record["event"]) for record in records] == [
        ("info", "kairos.ours", "took 7 ms"),
        ("warning", "kairos.other", "late"),
        ("error", "kairos.ours", "failed"),
    ]
    assert records[1]["topic"] == "decisions"
    assert "wrong" in str(records[2]["exception"])
    assert "timestamp" in records[0]


def test_as_text_tracebacks_are_logged_and_requests_are_not() -> None:
    text = capture_log()
    assert "took 7 ms" in text
    assert "ValueError: wrong" in text
    assert "a request" not in text


def test_no_variable_of_a_failed_function_is_logged() -> None:
    assert "do-not-show" not in capture_log()
    assert "do-not-show" not in capture_log(KAIROS_LOG_FORMAT="json")


def test_level_is_a_setting() -> None:
    assert "took 7 ms" not in capture_log(KAIROS_LOG_LEVEL="warning")
    assert "a request" in capture_log(KAIROS_LOG_LEVEL="debug")
