"""A second home beside the shared one: `up`, `status`, `down`, `send` and `doctor`."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import psutil
import pytest

from pipeline.stack.doctor import examine
from pipeline.stack.supervision import read_supervision
from tests.support.receiver import Receiver
from tests.support.stack import Stack, eventually, running_stack

_SUPERVISION_S = 3.0
"""Time in which the supervisor would have looked for the broker and started a process again."""

_WORKER, _GATEWAY, _ADAPTER = "worker-all-0", "gateway", "adapter-webhook-0"


@pytest.fixture(scope="module")
def second_stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    configuration = Path(__file__).parent / "configuration"
    home = tmp_path_factory.mktemp("second")
    variables = {
        "TEST_RECEIVER": receiver.url,
        "TEST_SIGNING_SECRET": "test-signing-secret",
        "KAIROS_PARTITIONS": "2",
    }
    with running_stack(Stack(home, configuration, variables)) as stack:
        yield stack


def test_doctor_checks_all_that_it_can_read_without_the_registry(stack: Stack) -> None:
    url = "http://127.0.0.1:1"
    settings = stack.settings.model_copy(update={"schema_registry_url": url})
    findings = {finding.subject: finding for finding in examine(settings)}
    assert findings["schemas"].grade == "bad"
    assert url in findings["schemas"].text
    assert findings["topics"].grade == findings[_GATEWAY].grade == "ok"
    assert {"dead letters", "kairos.identity"} <= set(findings)
    assert "configuration" not in findings


def test_status_names_every_process(stack: Stack, second_stack: Stack) -> None:
    status = second_stack.json("status")
    assert status["broker"]["state"] == "ready"
    processes = {process["name"]: process for process in status["processes"]}
    assert {_WORKER, _GATEWAY, _ADAPTER} <= processes.keys()
    for process in processes.values():
        assert process["state"] == "ready"
        assert psutil.pid_exists(process["pid"])
        assert {"ports", "lag"} <= process.keys()
    pids = {process["pid"] for process in processes.values()}
    assert not pids & {process["pid"] for process in stack.ask("status")["processes"]}


def test_files_of_every_kind_become_profiles_and_bad_rows_are_named(
    second_stack: Stack, tmp_path: Path
) -> None:
    fields = {"kind": "track", "name": "Order", "properties": {"total": 2}}
    identifier = [{"namespace": "customer_id", "value": "sent"}]
    segment = {"type": "track", "event": "Order", "userId": "sent", "properties": {"total": 3}}
    lines = [
        json.dumps({**fields, "identifiers": identifier}),
        json.dumps(segment),
        '{"type": "track"}',
    ]
    (tmp_path / "mixed.ndjson").write_text("\n".join(lines))
    (tmp_path / "rows.csv").write_text("type,event,userId,properties.total\ntrack,Order,sent,4\n")
    row = "SELECT 'track' AS type, 'Order' AS event, 'sent' AS userId, 5 AS \"properties.total\""
    duckdb.sql(row).write_parquet(str(tmp_path / "rows.parquet"))

    result = second_stack.run("send", str(tmp_path / "mixed.ndjson"))
    assert result.returncode == 1
    assert "mixed.ndjson:3: " in result.stderr
    for name in ("rows.csv", "rows.parquet"):
        assert "1 interactions sent" in second_stack.kairos("send", str(tmp_path / name))
    second_stack.kairos("status", "--until-idle", "60")

    profile = second_stack.ask("profile", "show", "customer_id:sent")
    assert (profile["traits"]["orders"], profile["traits"]["spent"]) == (4, 14)
    second_stack.kairos("profile", "export", "--all", "--out", str(tmp_path / "out"))
    rows = duckdb.sql(
        f"SELECT metrics->>'orders', segment FROM '{tmp_path}/out/profiles.parquet' "
        f"JOIN '{tmp_path}/out/memberships.parquet' USING (profile_id)"
    )
    assert rows.fetchall() == [("4", "buyers")]


def test_up_with_another_configuration_affects_absent_customers(
    second_stack: Stack, tmp_path: Path
) -> None:
    # A new metric counts earlier interactions, and a segment that reads it has its members.
    changed_folder = tmp_path / "changed"
    shutil.copytree(second_stack.configuration, changed_folder)
    with (changed_folder / "profile.yaml").open("a") as file:
        file.write("  - {name: dearest, rule: max, of: properties.total, when: {name: Order}}\n")
    segment = "segment: spenders\nwhen: {trait: dearest, gte: 5}\n"
    (changed_folder / "segments" / "spenders.yaml").write_text(segment)

    report = second_stack.json("up", "--config", str(changed_folder))
    assert (report["replaced"], report["filled"], report["evaluated"]) == (True, 1, 1)
    profile = second_stack.ask("profile", "show", "customer_id:sent")
    assert profile["traits"]["dearest"] == 5
    assert "dearest.since" not in profile["traits"]
    assert profile["segments"].keys() == {"buyers", "spenders"}
    second_report = second_stack.json("up", "--config", str(changed_folder))
    assert (second_report["replaced"], second_report["filled"], second_report["evaluated"]) == (
        False,
        0,
        0,
    )


def test_killed_processes_come_back(second_stack: Stack) -> None:
    second_stack.restart(_WORKER, _GATEWAY, _ADAPTER)
    eventually(second_stack.is_answering)
    restarts = {
        process["name"]: process["restarts"] for process in second_stack.ask("status")["processes"]
    }
    assert min(restarts[name] for name in (_WORKER, _GATEWAY, _ADAPTER)) >= 1


@pytest.mark.timeout(400)
@pytest.mark.long
def test_up_restores_a_stack_whose_processes_were_all_killed(
    second_stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("type,event,userId\ntrack,Order,before the kill\n")
    second_stack.kairos("send", str(tmp_path / "rows.csv"))
    status = second_stack.json("status", "--until-idle", "60")
    assert _WORKER in {process["name"] for process in status["processes"]}
    supervision = read_supervision(second_stack.home)
    assert supervision is not None
    processes = [second_stack.process(name) for name in (_WORKER, _GATEWAY, _ADAPTER)]
    supervisor = supervision.supervisor.process()
    assert supervisor is not None
    for process in (supervisor, second_stack.broker(), *processes):
        process.kill()
    second_stack.kairos("up")
    profile = second_stack.ask("profile", "show", "customer_id:before the kill")
    assert profile["traits"]["orders"] == 1
    second_stack.kairos("up")
    assert "ready" in second_stack.kairos("doctor")


def test_killed_broker_comes_back_while_the_others_wait(second_stack: Stack) -> None:
    names = (_WORKER, _GATEWAY, _ADAPTER)
    first_restarts = {
        process["name"]: process["restarts"] for process in second_stack.ask("status")["processes"]
    }
    broker = second_stack.broker()
    broker.kill()
    eventually(
        lambda: (status := second_stack.settings.broker().status()) and status.pid != broker.pid
    )
    # The broker is up already; the call returns once it answers.
    second_stack.settings.broker().start()
    eventually(second_stack.is_answering)
    last_restarts = {
        process["name"]: process["restarts"] for process in second_stack.ask("status")["processes"]
    }
    assert all(last_restarts[name] - first_restarts[name] <= 1 for name in names), (
        first_restarts,
        last_restarts,
    )


@pytest.mark.long
def test_stopped_broker_stays_stopped_and_others_are_not_restarted(
    second_stack: Stack,
) -> None:
    second_stack.kairos("broker", "stop")
    second_stack.process(_WORKER).kill()
    eventually(lambda: not _is_running(second_stack, _WORKER))
    time.sleep(_SUPERVISION_S)
    assert second_stack.settings.broker().status() is None
    assert not _is_running(second_stack, _WORKER), "it waits for the broker"
    second_stack.kairos("broker", "start")
    second_stack.wait_until_ready(_WORKER)
    eventually(second_stack.is_answering)


def _is_running(stack: Stack, name: str) -> bool:
    supervision = read_supervision(stack.home)
    assert supervision is not None
    return supervision.children[name].process is not None


def test_home_is_readable_by_its_owner_only(second_stack: Stack) -> None:
    path_count = 0
    for folder, _, files in os.walk(second_stack.home):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            with suppress(FileNotFoundError):  # processes of the home may remove files meanwhile
                assert path.lstat().st_mode & 0o077 == 0 or path.is_symlink(), path
                path_count += 1
    assert path_count > 100


@pytest.mark.timeout(400)
@pytest.mark.long
def test_up_and_down_at_the_same_time_take_turns(second_stack: Stack) -> None:
    for first_command, second_command in (("down", "up"), ("up", "down")):
        processes = [second_stack.start(first_command), second_stack.start(second_command)]
        assert [process.wait(200) for process in processes] == [0, 0]
        supervision = read_supervision(second_stack.home)
        is_supervised = supervision is not None and supervision.supervisor.process() is not None
        assert is_supervised == (second_stack.settings.broker().status() is not None)
    second_stack.kairos("up")


def test_down_leaves_no_process_of_this_home_and_the_other_home_goes_on(
    stack: Stack, second_stack: Stack
) -> None:
    second_stack.kairos("down")
    remaining_pids = [
        process.pid
        for process in psutil.process_iter(["environ", "cmdline"])
        if str(second_stack.home) in " ".join(process.info["cmdline"] or ())
        or (process.info["environ"] or {}).get("KAIROS_HOME") == str(second_stack.home)
    ]
    assert not remaining_pids
    assert "start everything with `kairos up`" in second_stack.run("doctor").stdout
    eventually(stack.is_answering)


@pytest.mark.long
def test_home_that_is_removed_ends_its_processes(second_stack: Stack) -> None:
    second_stack.kairos("up", "--config", str(second_stack.configuration))
    processes = [second_stack.process(name) for name in (_WORKER, _GATEWAY, _ADAPTER)]
    supervision = read_supervision(second_stack.home)
    assert supervision is not None
    supervisor = supervision.supervisor.process()
    assert supervisor is not None
    all_processes = [second_stack.broker(), supervisor, *processes]
    shutil.rmtree(second_stack.home, ignore_errors=True)
    shutil.rmtree(second_stack.home, ignore_errors=True)
    _, survivors = psutil.wait_procs(all_processes, 60)
    assert not survivors
    assert not second_stack.home.exists()
    assert "Nothing was running" in second_stack.kairos("down")
