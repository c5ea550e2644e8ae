"""Profiles as of a time, by replaying all earlier input through the stages.

The configuration is the one in force now; the replay reaches back as far as the retention of
`interactions`. Inputs and states are on disk, because they may exceed memory.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from struct import Struct as Layout
from typing import Any, Final, TypeAlias

import msgspec

from pipeline.adapters.rocks import RowMap, temporary_rows
from pipeline.adapters.snapshots import StoredRecord
from pipeline.enrichment import view
from pipeline.enrichment.state import ProfileState
from pipeline.enrichment.time_triggers import profile_at
from pipeline.flow import Flow, Stage
from pipeline.home.records import Records
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Interaction
from pipeline.model.records import time_of
from pipeline.model.time import MAX_AHEAD_MS
from pipeline.profile_reads.member_profiles import MemberProfile
from pipeline.rules import Rules
from pipeline.segmentation.state import MembershipState

_REQUEST_KINDS: Final = ("unlink", "forget")
_INPUTS: Final = (topics.INTERACTIONS, topics.IDENTITIES)
_SORT_KEY: Final = Layout(">QIQB")
"""Sort key of an input: write time (ms), partition, offset, and index of its topic in `_INPUTS`."""

_Input: TypeAlias = Interaction | IdentityChange
_State: TypeAlias = Any


@contextmanager
def open_profiles_as_of(
    records: Records, rules: Rules, at: int
) -> Iterator[Iterator[MemberProfile]]:
    """Provide the profiles with memberships at `at` (epoch ms, inclusive), in the order of ids."""
    with ExitStack() as stack:
        flow = Flow(rules, lambda stage: _StateRows(stack.enter_context(temporary_rows()), stage))
        for record in inputs_until(records, at):
            if isinstance(record, Interaction):
                for _ in flow.advance(time_of(record)):
                    pass
            for _ in flow.run(record):
                pass
        for _ in flow.advance(at):
            pass
        yield member_profiles(flow, at)


class _StateRows(MutableMapping[str, _State]):
    """States of one stage's rows, on disk."""

    def __init__(self, rows: RowMap, stage: Stage) -> None:
        self._rows = rows
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode: Callable[[bytes], _State] = msgspec.msgpack.Decoder(stage.state).decode

    def __getitem__(self, key: str) -> _State:
        value = self._rows.get(key.encode())
        if value is None:
            raise KeyError(key)
        return self._decode(value)

    def __setitem__(self, key: str, state: _State) -> None:
        self._rows[key.encode()] = self._encode(state)

    def __delitem__(self, key: str) -> None:
        del self._rows[key.encode()]

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key, _ in self._rows.items())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def inputs_until(records: Records, at: int) -> Iterator[_Input]:
    """Yield the records that entered from outside the stages up to `at` (epoch ms, inclusive), in
    the order of writing."""
    with temporary_rows() as rows:
        lane_times: dict[tuple[int, int], int] = {}
        for entry, record in _outside_records(records):
            if time_of(record) <= min(at, entry.timestamp + MAX_AHEAD_MS):
                topic_index = 0 if isinstance(record, Interaction) else 1
                lane = topic_index, entry.partition
                lane_times[lane] = max(lane_times.get(lane, 0), entry.timestamp)
                key = _SORT_KEY.pack(lane_times[lane], entry.partition, entry.offset, topic_index)
                rows[key] = entry.value or b""
        for key, value in rows.items():
            *_, topic_index = _SORT_KEY.unpack(key)
            record_or_fault = records.codec.decode(_INPUTS[topic_index], value)
            assert isinstance(record_or_fault, (Interaction, IdentityChange))
            yield record_or_fault


def _outside_records(records: Records) -> Iterator[tuple[StoredRecord, _Input]]:
    yield from records.read_all(topics.INTERACTIONS, Interaction, _is_from_outside)
    for record, change in records.read_all(topics.IDENTITIES, IdentityChange, _is_from_outside):
        if change.kind in _REQUEST_KINDS:
            yield record, change


def _is_from_outside(record: StoredRecord) -> bool:
    """Return whether no stage wrote the record; the replay derives records of stages again."""
    return all(name != topics.CAUSE_HEADER for name, _ in record.headers)


def member_profiles(flow: Flow, at: int) -> Iterator[MemberProfile]:
    """Yield every profile of a flow, as of `at` (epoch ms)."""
    memberships = flow.rows["segmentation"]
    for key, state in flow.rows["enrichment"].items():
        assert isinstance(state, ProfileState)
        moment = profile_at(state, at, flow.rules)
        if moment.shards:
            profile = view.snapshot(key, state, moment.traits, moment.at, flow.rules.config)
            members = memberships.get(key) or MembershipState()
            yield MemberProfile(profile, members.members, at)
