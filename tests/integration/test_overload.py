"""Decisions that somebody waits for go before records that nobody waits for, or are refused at
once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from pipeline.adapters.lag import record_counts
from pipeline.model import topics
from tests.support.stack import Stack, eventually, running_stack, stopped

pytestmark = pytest.mark.long

_CONFIGURATION = Path(__file__).parent / "configuration"
_ROWS = 1_000
_REQUESTS = 20
_BUDGET_MS = 1_000


@pytest.fixture(scope="module")
def live_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Stack of one worker, whose budget for a decision is long enough for a busy machine."""
    variables = {
        "TEST_RECEIVER": "http://127.0.0.1:9",
        "TEST_SIGNING_SECRET": "test-signing-secret",
        "KAIROS_PARTITIONS": "2",
        "KAIROS_DECIDE_BUDGET_MS": str(_BUDGET_MS),
    }
    with running_stack(Stack(tmp_path_factory.mktemp("live"), _CONFIGURATION, variables)) as stack:
        yield stack


@pytest.fixture
def client(live_stack: Stack) -> Iterator[httpx.Client]:
    with live_stack.client("test-app-key") as client:
        yield client


def _ask(client: httpx.Client) -> httpx.Response:
    page = {"type": "page", "name": "home", "userId": f"live-{uuid4()}", "messageId": str(uuid4())}
    return client.post("/v1/decide", json={"interaction": page, "placements": ["hero"]})


def _is_decided(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and not answer.json()["defaulted"]


@pytest.mark.timeout(300)
def test_file_is_sent_at_the_pace_of_the_stages(stack: Stack, tmp_path: Path) -> None:
    # A decision that is asked for meanwhile waits for few of the file's rows.
    file = _write_file(tmp_path, _ROWS)
    stack.kairos("status", "--until-idle", "60")
    initial_count = _count_undecided_interactions(stack)
    sender = stack.start("send", str(file))
    backlogs = [0]
    try:
        while sender.poll() is None:
            backlogs.append(_count_undecided_interactions(stack) - initial_count)
            time.sleep(0.02)
    finally:
        sender.kill()
    assert sender.wait() == 0
    assert max(backlogs) < _ROWS / 2
    stack.kairos("status", "--until-idle", "60")
    assert _count_undecided_interactions(stack) == initial_count


@pytest.mark.timeout(300)
def test_decisions_beside_a_large_file_come_in_time(
    live_stack: Stack, client: httpx.Client, tmp_path: Path
) -> None:
    # If all rows were sent at once, decisions would be late until long after the last row.
    file = _write_file(tmp_path, 20 * _ROWS)
    eventually(lambda: _is_decided(_ask(client)))
    initial_count = _count_written_interactions(live_stack)
    sender = live_stack.start("send", str(file))
    try:
        eventually(lambda: _count_written_interactions(live_stack) > initial_count + _ROWS / 10)
        eventually(lambda: all(_is_decided(_ask(client)) for _ in range(_REQUESTS)))
        assert sender.poll() is None
    finally:
        sender.kill()
        sender.wait()


def _write_file(folder: Path, count: int) -> Path:
    file = folder / "rows.ndjson"
    rows = (
        {"type": "track", "event": "Viewed", "messageId": str(uuid4()), "userId": f"bulk-{number}"}
        for number in range(count)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _count_written_interactions(stack: Stack) -> int:
    return record_counts(stack.settings.kafka(), (topics.INTERACTIONS,))[topics.INTERACTIONS]


def _count_undecided_interactions(stack: Stack) -> int:
    """Return the number of interactions that are written and not decided."""
    counts = record_counts(stack.settings.kafka(), (topics.INTERACTIONS, topics.DECISIONS))
    return counts[topics.INTERACTIONS] - counts[topics.DECISIONS]


@pytest.mark.timeout(300)
def test_stalled_pipeline_gets_defaults_at_once_until_it_works_again(
    live_stack: Stack, client: httpx.Client
) -> None:
    eventually(lambda: _is_decided(_ask(client)))
    with stopped(live_stack.process("worker-all-0")):

        def get_stall_answer() -> httpx.Response | None:
            start_s = time.monotonic()
            answer = _ask(client)
            duration_s = time.monotonic() - start_s
            reason = answer.json().get("reason")
            return (
                answer if reason == "pipeline_stalled" and duration_s < _BUDGET_MS / 2_000 else None
            )

        answer = eventually(get_stall_answer).json()
        assert (answer["placements"], answer["defaulted"]) == ({"hero": None}, True)
    eventually(lambda: _is_decided(_ask(client)))
    assert live_stack.count_decisions("unasked") >= 1
