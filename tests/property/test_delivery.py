"""The outputs of interactions are the same over kills of any process at any point."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.flow import STAGES
from pipeline.identity.record_factory import profile_of
from pipeline.model import topics
from pipeline.model.decision import Reply
from pipeline.model.interaction import DecideRequest, Identifier, Interaction
from pipeline.model.profile import Profile
from tests.support.cases import cases
from tests.support.killed import KilledStages, Logs
from tests.support.offers import offering_rules
from tests.support.worlds import RANKS, plain_rules

_OUTPUTS = (
    topics.PROFILES,
    topics.MEMBERSHIPS,
    topics.SEGMENT_CHANGES,
    topics.DECISIONS,
    topics.REPLIES,
    topics.DEAD_LETTERS,
    "actions.web",
    "actions.email",
)
_PARTITIONS = 2
_START_MS = 1_900_000_000_000
_REST_MS = _START_MS + 90_000


def _interaction(number: int, name: str, addresses: Sequence[str], size: int = 0) -> Interaction:
    """Return an interaction with a property of `size` characters."""
    time_ms = _START_MS + number * 1_000
    names = tuple(Identifier.parse(identifier) for identifier in addresses)
    request = DecideRequest(f"r{number}", "g", ("hero",), time_ms + 100) if name == "Ask" else None
    properties = {"text": "x" * size}
    return Interaction(
        f"e{number}",
        "track",
        name,
        "web",
        "shop",
        time_ms,
        time_ms,
        names,
        properties,
        request=request,
    )


_ACTS = st.tuples(st.sampled_from("abc"), st.sampled_from(["Order", "Ask", "View"]))


@settings(max_examples=cases(60), deadline=None)
@given(st.lists(_ACTS, min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_state_and_outputs_after_kills_are_those_of_a_run_without_kills(
    acts: list[tuple[str, str]], seed: int
) -> None:
    stream = [
        _interaction(number, name, [f"email:{person}@x"])
        for number, (person, name) in enumerate(acts)
    ]
    expected = _run(stream, Random(seed), 0)
    killed_run = _run(stream, Random(seed), 12, has_copies=True)
    assert killed_run == expected
    assert sum(map(len, expected[1][topics.DECISIONS].values())) == len(stream)


_KILL_DURING_THE_LAST_LOOK = [
    ("a", "Order"), ("b", "View"), ("c", "View"), ("a", "Order"),
    ("c", "Ask"), ("b", "Ask"), ("b", "Ask"), ("c", "Ask"),
]  # fmt: skip


@settings(max_examples=cases(60), deadline=None)
@given(st.lists(_ACTS, min_size=1, max_size=8), st.integers(0, 2**32 - 1))
@example(_KILL_DURING_THE_LAST_LOOK, 24081)
def test_timers_fire_once_across_kills(acts: list[tuple[str, str]], seed: int) -> None:
    stream = [
        _interaction(number, name, [f"email:{person}@x"])
        for number, (person, name) in enumerate(acts)
    ]
    expected = _run_until_idle(stream, Random(seed), 0)
    killed_run = _run_until_idle(stream, Random(seed), 12)
    last_acts = {person: name for person, name in acts if name != "View"}
    assert killed_run == expected
    assert _count_silent_changes(expected[1]) == sum(name == "Ask" for name in last_acts.values())


@pytest.mark.parametrize("seed", range(8))
def test_large_outboxes_committed_early_lose_nothing_across_kills(seed: int) -> None:
    stream = [
        _interaction(number, name, [f"email:{person}@x"], 150_000)
        for number, (person, name) in enumerate(zip("aabaaa", ["Order", "Ask"] * 3, strict=True))
    ]
    assert _run(stream, Random(seed), 12) == _run(stream, Random(seed), 0)


_SHORT_STREAM = [
    _interaction(1, "Ask", ["email:a@x"]),
    _interaction(2, "Order", ["email:a@x"]),
    _interaction(3, "Order", ["email:b@x"]),
    _interaction(4, "Ask", ["email:a@x"]),
]


@pytest.mark.parametrize(
    "writes", ["nothing", "changelog only", "outputs only", "everything"], ids=str
)
def test_kill_before_any_write_of_any_stage_changes_nothing(writes: str) -> None:
    expected = _run(_SHORT_STREAM, Random(0), 0)
    is_written = {
        "nothing": lambda place: False,
        "changelog only": lambda place: place[0].endswith("-changelog"),
        "outputs only": lambda place: not place[0].endswith("-changelog"),
        "everything": lambda place: True,
    }[writes]
    kill_count = 0
    for stage, write in _all_writes():
        logs = _logs(_SHORT_STREAM)
        stages = KilledStages(offering_rules(), logs, Random(0))
        stages.run_with_one_kill(stage, write, is_written)
        kill_count += stages.kill_count
        assert (stages.states(), _outputs(logs)) == expected, (STAGES[stage].name, write)
    assert kill_count > 50


def _all_writes() -> list[tuple[int, int]]:
    """Return every write of a run without kills: index of the stage, and number of its write."""
    stages = KilledStages(offering_rules(), _logs(_SHORT_STREAM), Random(0))
    stages.run_with_one_kill(0, 10**9, lambda place: True)
    return [
        (stage, write)
        for stage, count in enumerate(stages.write_counts())
        for write in range(count)
    ]


_NAMES = [
    f"{namespace}:{value}"
    for namespace, values in (("customer_id", "AB"), ("email", "xy"), ("cookie", "klm"))
    for value in values
]
_MEETINGS = st.lists(st.sets(st.sampled_from(_NAMES), min_size=1, max_size=3), max_size=9)


@settings(max_examples=cases(100), deadline=None)
@given(_MEETINGS, st.integers(0, 2**32 - 1))
def test_people_merge_under_kills(meetings: list[set[str]], seed: int) -> None:
    assert _find_violated_laws(meetings, seed) == []


def _find_violated_laws(meetings: list[set[str]], seed: int) -> list[str]:
    stream = [
        _interaction(number, "View", sorted(names, key=lambda name: RANKS[name.split(":")[0]]))
        for number, names in enumerate(meetings)
    ]
    logs = _logs(stream, copy_random=Random(seed))
    stages = KilledStages(plain_rules(), logs, Random(seed))
    stages.run(8)
    states = stages.states()
    profiles_by_shard = {
        shard: profile_of(place.root)
        for row in states["identity"].values()
        for shard, place in row.shards.items()
    }
    holders = {shard: key for key, row in states["enrichment"].items() for shard in row.shards.here}
    snapshots: dict[str, Profile | None] = dict(logs.read(topics.PROFILES))
    counts = [
        int(str(snapshot.traits["interactions"]))
        for snapshot in snapshots.values()
        if snapshot is not None
    ]
    decisions = {
        (decision.event_id, decision.profile_id) for _, decision in logs.read(topics.DECISIONS)
    }
    verdicts = {
        "a shard is where identity says": holders == profiles_by_shard,
        "each interaction counts once": sum(counts) == len(stream),
        "each interaction is decided once": sorted(event for event, _ in decisions)
        == sorted(record.event_id for record in stream),
    }
    return [law for law, holds in verdicts.items() if not holds]


def _run(
    stream: Sequence[Interaction], random: Random, kill_count: int, has_copies: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, list[Any]]]]:
    """Return states and outputs of a run with `kill_count` kills; if `has_copies`, some
    interactions come once more."""
    logs = _logs(stream, random if has_copies else None)
    stages = KilledStages(offering_rules(), logs, random)
    stages.run(kill_count)
    return stages.states(), _outputs(logs)


def _run_until_idle(
    stream: Sequence[Interaction], random: Random, kill_count: int
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, list[Any]]]]:
    """Return states and outputs after a time without interactions.

    Timers are looked for until no process is killed meanwhile.
    """
    logs = _logs(stream)
    stages = KilledStages(offering_rules(), logs, random)
    stages.run(kill_count)
    for _ in range(3):
        stages.fire_due_timers(_REST_MS)
        stages.run(kill_count)
    previous_kills = None
    while previous_kills != stages.kill_count:
        previous_kills = stages.kill_count
        stages.fire_due_timers(_REST_MS)
        stages.run(0)
    return stages.states(), _outputs(logs)


def _count_silent_changes(outputs: dict[str, dict[str, list[Any]]]) -> int:
    """Return the number of changes of the segment that customers enter by time alone."""
    changes = outputs[topics.SEGMENT_CHANGES].values()
    return sum(
        change.segment == "silent" for customer_changes in changes for change in customer_changes
    )


def _logs(stream: Sequence[Interaction], copy_random: Random | None = None) -> Logs:
    """Return logs with the stream; with `copy_random`, some interactions come once more."""
    logs = Logs(_PARTITIONS)
    for number, interaction in enumerate(stream):
        logs.put(interaction)
        if copy_random is not None and copy_random.random() < 0.3:
            logs.put(stream[copy_random.randint(0, number)])
    return logs


def _outputs(logs: Logs) -> dict[str, dict[str, list[Any]]]:
    """Return the distinct outputs by topic and key (of replies, the request's id), in order."""
    outputs_by_topic: dict[str, dict[str, list[Any]]] = {
        topic: defaultdict(list) for topic in _OUTPUTS
    }
    for topic in _OUTPUTS:
        for key, value in logs.read(topic):
            key = value.request_id if isinstance(value, Reply) else key
            if value not in outputs_by_topic[topic][key]:
                outputs_by_topic[topic][key].append(value)
    return outputs_by_topic
