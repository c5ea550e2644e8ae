"""Every person on local disk, kept up from `profiles`, `memberships` and `identities`.

Rows, by the first byte of their key:

    p profile id                 the snapshot, with its identifiers beside it
    m profile id                 the memberships
    n identifier                 the profile whose snapshot names it
    r identifier                 the profile that the log of identities says it belongs to
    c identifier, place in log   one change of it, since it was forgotten last
    o topic, partition           the offset up to which all of this was applied
    v                            what the whole view is of

A batch of records and its offsets are written at once, so a killed process goes on where it was.
"""

import logging
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct as Layout
from typing import Final, TypeVar

import msgspec
from rocksdict import Rdict, WriteBatch

from pipeline.adapters.avro import Codec
from pipeline.adapters.kafka import Place
from pipeline.adapters.rocks import DatabaseInUseError, open_rows
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.profile import Memberships, Profile

_log = logging.getLogger(__name__)

TOPICS: Final = (topics.PROFILES, topics.MEMBERSHIPS, topics.IDENTITIES)

_FORMAT: Final = 1
_FRESH_S: Final = 12 * 3600
"""Half of the time for which Kafka keeps tombstones by default: an older view could miss one."""

_ORIGIN: Final = b"v"
_PASSING: Final = frozenset({"probe", "clock"})
_NUMBER: Final = Layout(">q")
_LENGTH: Final = Layout(">H")
_PLACE: Final = Layout(">iq")

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record of one of `TOPICS`; `value` None: a tombstone."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None


class _Snapshot(msgspec.Struct, frozen=True, array_like=True):
    identifiers: tuple[str, ...]
    value: bytes


class _Origin(msgspec.Struct, frozen=True):
    """`written_at`: epoch seconds."""

    format: int
    cluster: str
    written_at: float


class View:
    """One writer; any thread may read. One that is damaged is emptied.

    Raises DatabaseInUseError.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        self._snapshots = msgspec.msgpack.Decoder(_Snapshot)
        self._cluster = ""
        self._rows = self._open()

    def resume(self, cluster: str, ends: Mapping[Place, int]) -> dict[Place, int]:
        """Where to go on in each partition of the Kafka cluster with this id; `ends` are its end
        offsets now.

        A view of another cluster, of a log that was made again, or so old that Kafka may have
        dropped tombstones since, is emptied.
        """
        self._cluster = cluster
        offsets = {place: self._offset(place) for place in ends}
        reason = self._misfit(offsets, ends)
        if reason is None:
            return offsets
        self._rows.close()
        self._rows = self._anew(reason)
        return dict.fromkeys(ends, 0)

    def apply(self, records: Iterable[Arrived]) -> None:
        """In the order of each partition; all or, when it raises, nothing."""
        writes = _Writes(self._rows)
        for one in records:
            self._apply(one, writes)
            writes.put(_offset_key((one.topic, one.partition)), _NUMBER.pack(one.offset + 1))
        self._write(writes)

    def owners(self, identifier: str) -> Iterator[str]:
        """Ids of profiles that it may belong to, the likeliest first."""
        for kind in (b"r", b"n"):
            found = self._rows.get(kind + identifier.encode())
            if found is not None:
                yield found.decode()

    def profile(self, profile_id: str) -> Profile | None:
        """The latest snapshot; None when nothing is left under the id."""
        row = self._rows.get(b"p" + profile_id.encode())
        if row is None:
            return None
        return self._decoded(topics.PROFILES, self._snapshots.decode(row).value, Profile)

    def memberships(self, profile_id: str) -> Memberships | None:
        """As `profile`."""
        row = self._rows.get(b"m" + profile_id.encode())
        return None if row is None else self._decoded(topics.MEMBERSHIPS, row, Memberships)

    def changes(self, identifiers: Collection[str]) -> list[IdentityChange]:
        """What the log says of each since it was forgotten last, in its order."""
        found = (
            self._decoded(topics.IDENTITIES, value, IdentityChange)
            for identifier in identifiers
            for _, value in _scan(self._rows, _changes_of(identifier))
        )
        return [change for change in found if change is not None]

    def close(self) -> None:
        self._rows.close()

    def _apply(self, record: Arrived, writes: "_Writes") -> None:
        if record.topic == topics.PROFILES:
            self._apply_profile(record, writes)
        elif record.topic == topics.MEMBERSHIPS:
            writes.put(b"m" + record.key.encode(), record.value)
        else:
            self._apply_change(record, writes)

    def _apply_profile(self, record: Arrived, writes: "_Writes") -> None:
        mine = record.key.encode()
        row = b"p" + mine
        before = writes.get(row)
        old = self._snapshots.decode(before).identifiers if before is not None else ()
        profile = self._decoded(topics.PROFILES, record.value, Profile)
        new = profile.identifiers if profile is not None else ()
        for name in set(old) - set(new):
            if writes.get(named := b"n" + name.encode()) == mine:
                writes.put(named, None)
        for name in new:
            writes.put(b"n" + name.encode(), mine)
        snapshot = record.value and msgspec.msgpack.encode(_Snapshot(new, record.value))
        writes.put(row, snapshot if profile is not None else None)

    def _apply_change(self, record: Arrived, writes: "_Writes") -> None:
        change = self._decoded(topics.IDENTITIES, record.value, IdentityChange)
        if change is None or change.kind in _PASSING:
            return
        owner = b"r" + change.identifier.encode()
        if change.kind == "erased":
            writes.put(owner, None)
            writes.delete_all(_changes_of(change.identifier))
        else:
            place = _PLACE.pack(record.partition, record.offset)
            writes.put(_changes_of(change.identifier) + place, record.value)
            if change.kind == "resolved" and change.profile_id is not None:
                writes.put(owner, change.profile_id.encode())

    def _decoded(self, topic: str, value: bytes | None, kind: type[T]) -> T | None:
        record = None if value is None else self._codec.decode(topic, value)
        return record if isinstance(record, kind) else None

    def _offset(self, place: Place) -> int:
        stored = self._rows.get(_offset_key(place))
        return 0 if stored is None else int(_NUMBER.unpack(stored)[0])

    def _open(self) -> Rdict:
        try:
            return open_rows(self._folder)
        except DatabaseInUseError:
            raise
        except Exception as error:
            return self._anew(str(error))

    def _anew(self, reason: str) -> Rdict:
        _log.warning("%s is emptied and read from Kafka again: %s", self._folder, reason)
        shutil.rmtree(self._folder)
        return open_rows(self._folder)

    def _misfit(self, offsets: Mapping[Place, int], ends: Mapping[Place, int]) -> str | None:
        """Why what is there cannot be gone on with."""
        stored = self._rows.get(_ORIGIN)
        if stored is None:
            return None
        origin = msgspec.json.decode(stored, type=_Origin)
        if (origin.format, origin.cluster) != (_FORMAT, self._cluster):
            return "it is of another version, or of another cluster"
        if any(offsets[place] > end for place, end in ends.items()):
            return "a topic was made again"
        return "it is too old" if time.time() - origin.written_at > _FRESH_S else None

    def _write(self, writes: "_Writes") -> None:
        origin = _Origin(_FORMAT, self._cluster, time.time())
        writes.put(_ORIGIN, msgspec.json.encode(origin))
        self._rows.write(writes.batch())


class _Writes:
    """What is about to be written, laid over what is there."""

    def __init__(self, rows: Rdict) -> None:
        self._rows = rows
        self._changed: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        if key in self._changed:
            return self._changed[key]
        found: bytes | None = self._rows.get(key)
        return found

    def put(self, key: bytes, value: bytes | None) -> None:
        """None deletes it."""
        self._changed[key] = value

    def delete_all(self, prefix: bytes) -> None:
        stored = [key for key, _ in _scan(self._rows, prefix)]
        fresh = [key for key in self._changed if key.startswith(prefix)]
        self._changed.update(dict.fromkeys((*stored, *fresh)))

    def batch(self) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        for key, value in self._changed.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        return batch


def _scan(rows: Rdict, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    for key, value in rows.items(from_key=prefix):
        assert isinstance(key, bytes)
        if not key.startswith(prefix):
            return
        yield key, value


def _changes_of(identifier: str) -> bytes:
    """With its length in front, one identifier's rows begin like no other's."""
    name = identifier.encode()
    return b"c" + _LENGTH.pack(len(name)) + name


def _offset_key(place: Place) -> bytes:
    topic, partition = place
    return f"o{topic}/{partition}".encode()
