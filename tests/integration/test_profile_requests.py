"""`kairos profile unlink`, `forget` and `export`, with the agents on a real broker."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from confluent_kafka import Producer

from pipeline.adapters.avro import Codec, recorded_versions
from pipeline.adapters.cleaning import CLEANER_MS, max_retention_ms
from pipeline.adapters.config_log import open_configuration_log
from pipeline.adapters.consumer_groups import stage_groups
from pipeline.adapters.lag import LagReader
from pipeline.flow import STAGES
from pipeline.home.records import Records
from pipeline.home.topics import ensure_topics
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.profile import Profile
from pipeline.model.time import DAY_MS
from pipeline.settings import Settings
from tests.support.broker import running_broker
from tests.support.compacted import latest_records, latest_stored_records
from tests.support.offers import offering_rules
from tests.support.stack import ask

_START_MS = 1_700_000_000_000


class AgentStack:
    """Broker and the four agents in a home of their own, and the commands of this home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.records = Records.of(settings)
        self._environment = {
            **os.environ,
            "KAIROS_HOME": str(settings.home),
            "KAIROS_BOOTSTRAP_SERVERS": str(settings.bootstrap_servers),
            "KAIROS_PARTITIONS": str(settings.partitions),
            "COLUMNS": "150",
            "NO_COLOR": "1",
        }
        self._lag = LagReader(settings.kafka(), stage_groups())
        self._producer = Producer({**settings.kafka(), "partitioner": "murmur2_random"})

    def start(self) -> None:
        command = [sys.executable, "-m", "pipeline.cli", "worker", "all"]
        self._worker = subprocess.Popen(command, env=self._environment, start_new_session=True)

    def stop(self) -> None:
        self._worker.terminate()
        self._worker.wait(120)

    def rebuild(self) -> None:
        """Rebuild the state from the changelogs."""
        self.stop()
        shutil.rmtree(self.settings.home / "state")
        self.start()

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `kairos profile`, and return its result, failed or not."""
        command = [sys.executable, "-m", "pipeline.cli", "profile", *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True)

    def ask(self, *arguments: str) -> Any:
        """Run a command of `kairos profile` with --json, and return its output."""
        return ask(self._environment, "profile", *arguments)

    def send(self, *interactions: Interaction) -> None:
        """Write interactions, each after all that followed from the one before."""
        codec = Codec(recorded_versions())
        for record in interactions:
            value = codec.encode(topics.INTERACTIONS, record)
            self._producer.produce(topics.INTERACTIONS, value, record.identifiers[0].key)
            self._producer.flush()
            assert self._lag.wait_until_idle(timeout_s=60)

    def states(self, stage: str) -> dict[str, object]:
        """Return the changelog's state of each row, None for a row without state."""
        rows = latest_stored_records(
            self.settings.kafka(), f"kairos.{stage}-rows-changelog"
        ).items()
        return {
            key[1:]: msgspec.msgpack.decode(row.value or b"")[0]
            for key, row in rows
            if key.startswith("r")
        }

    def count_orders(self) -> dict[str, Any]:
        """Return the number of orders of each profile, by its strongest identifier."""
        profiles = latest_records(self.records, topics.PROFILES, Profile).values()
        return {profile.root: profile.traits.get("orders", 0) for profile in profiles}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentStack]:
    home = tmp_path_factory.mktemp("home")
    with running_broker(home) as bootstrap:
        settings = Settings(home=home, bootstrap_servers=bootstrap, partitions=3)
        ensure_topics(settings, ["web", "email"])
        with open_configuration_log(settings.kafka(), Codec(recorded_versions())) as log:
            log.apply(offering_rules().config.bundle, "test")
        pipeline = AgentStack(settings)
        pipeline.start()
        yield pipeline
        pipeline.stop()


def _order(number: int, *names: str) -> Interaction:
    time_ms = _START_MS + number * 1_000
    identifiers: Sequence[Identifier] = tuple(map(Identifier.parse, names))
    return Interaction(
        f"e{number}", "track", "Order", "web", "shop", time_ms, time_ms, tuple(identifiers)
    )


def test_unlinking_a_device_moves_its_orders_to_its_own_profile(stack: AgentStack) -> None:
    stack.send(
        _order(1, "cookie:k"),
        _order(2, "customer_id:a", "email:a@x", "cookie:k"),
        _order(3, "cookie:k"),
    )
    assert stack.count_orders() == {"customer_id:a": 3}

    answer = stack.ask("unlink", "customer_id:a", "cookie:k")

    assert answer["done"]
    assert answer["profiles"] == {
        "customer_id:a": profile_of("customer_id:a"),
        "cookie:k": profile_of("cookie:k"),
    }
    assert stack.count_orders() == {"customer_id:a": 1, "cookie:k": 2}
    profile = stack.ask("show", "customer_id:a")
    assert [link["identifier"] for link in profile["tree"]] == ["customer_id:a", "email:a@x"]
    assert "unlink" in [change["kind"] for change in profile["history"]]
    result = stack.run("show", "email: A@X")
    assert "customer_id:a\n└── email:a@x  together in e2 at 2023-11-14T22:13:22.000Z" in (
        result.stdout
    )


def test_identifiers_never_linked_cannot_be_unlinked(stack: AgentStack) -> None:
    stack.send(_order(11, "customer_id:b"), _order(12, "cookie:m"))
    refusal = stack.run("unlink", "customer_id:b", "cookie:m")
    assert refusal.returncode == 1
    assert "are not linked" in refusal.stderr
    second_refusal = stack.run("unlink", "customer:b", "cookie:m")
    assert "did you mean 'customer_id'" in " ".join(second_refusal.stderr.split())


@pytest.mark.long
def test_forgotten_person_is_gone_and_returns_as_a_new_profile(
    stack: AgentStack, tmp_path: Path
) -> None:
    stack.send(
        _order(21, "customer_id:c", "email:c@x", "cookie:n"),
        _order(22, "email:c@x", "cookie:o"),
        _order(23, "customer_id:d", "cookie:p"),
    )
    first_orders = stack.count_orders()
    assert first_orders["customer_id:c"] == 2

    answer = stack.ask("forget", "cookie:o")

    names = {"customer_id:c", "email:c@x", "cookie:n", "cookie:o"}
    assert set(answer["forgotten"]) == names
    assert answer["done"]
    ends_by_topic = {topic["topic"]: topic["until"] for topic in answer["remaining"]}
    assert ends_by_topic["interactions"] == answer["at"] + max_retention_ms(30 * 24.0)
    end_of_traces = answer["at"] + DAY_MS + CLEANER_MS
    changelogs = {f"{stage.group}-rows-changelog" for stage in STAGES}
    assert {ends_by_topic[name] for name in {*topics.SNAPSHOTS, *changelogs}} == {end_of_traces}
    assert topics.REPLIES in ends_by_topic
    assert stack.count_orders() == {
        identifier: count for identifier, count in first_orders.items() if identifier not in names
    }
    snapshots = latest_stored_records(stack.settings.kafka(), topics.MEMBERSHIPS)
    assert not {profile_of(name) for name in names} & snapshots.keys()
    assert stack.run("show", "email:c@x").returncode == 1
    log = stack.records.read_all(topics.IDENTITIES, IdentityChange)
    assert {change.identifier for _, change in log if change.kind == "erased"} == names
    for stage in STAGES:
        forgotten_keys = names if stage.name == "identity" else set(map(profile_of, names))
        assert not any(
            state for key, state in stack.states(stage.name).items() if key in forgotten_keys
        )
    _check_exports(stack, tmp_path, names)

    stack.rebuild()
    stack.send(_order(24, "customer_id:c", "email:c@x"))
    assert stack.count_orders()["customer_id:c"] == 1
    profile = stack.ask("show", "email:c@x")
    assert [decision["event_id"] for decision in profile["decisions"]] == ["e24"]


def _check_exports(stack: AgentStack, folder: Path, names: set[str]) -> None:
    """Check that exports, of now and by a replay, have the person who remains, and none of the
    forgotten identifiers."""
    for kind, options in (("last", ()), ("replayed", ("--at", datetime.now(UTC).isoformat()))):
        stack.ask("export", "--all", "--out", str(folder / kind), *options)
        identifiers = _table(folder / kind, "identifiers")
        exported_identifiers = {f"{space}:{value}" for _, space, value in identifiers}
        assert "customer_id:d" in exported_identifiers
        assert not names & exported_identifiers


def test_export_at_a_time_equals_the_profiles_of_then(stack: AgentStack, tmp_path: Path) -> None:
    stack.send(_order(31, "cookie:q"), _order(32, "customer_id:e", "email:e@x", "cookie:q"))
    now = datetime.now(UTC).isoformat()
    moment = datetime.fromtimestamp((_START_MS + 31_000) / 1000, UTC).isoformat()

    assert stack.run("export", "--all", "--out", str(tmp_path / "last")).returncode == 0
    assert stack.ask("export", "--all", "--out", str(tmp_path / "now"), "--at", now)
    assert stack.ask("export", "--all", "--out", str(tmp_path / "then"), "--at", moment)

    for name in ("identifiers", "memberships", "profiles"):
        assert _table(tmp_path / "now", name) == _table(tmp_path / "last", name), name
    assert (profile_of("customer_id:e"), "cookie", "q") in _table(tmp_path / "last", "identifiers")
    assert (profile_of("cookie:q"), "cookie", "q") in _table(tmp_path / "then", "identifiers")
    assert stack.run("export", "--all", "--out", "x", "--at", "yesterday").returncode == 2


def _table(folder: Path, name: str) -> list[tuple[Any, ...]]:
    """Return the table's rows, sorted, without the moment at which a segment was entered."""
    columns = "profile_id, segment" if name == "memberships" else "*"
    rows = duckdb.sql(f"SELECT {columns} FROM '{folder}/{name}.parquet' ORDER BY ALL").fetchall()
    assert rows
    return rows
