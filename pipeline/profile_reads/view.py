"""View of every person on local disk, updated from `profiles`, `memberships` and `identities`.

Rows, by the first byte of their key:

    p profile id                 the snapshot, with its identifiers beside it
    m profile id                 the memberships
    n identifier                 the profile whose snapshot names it
    r identifier                 the profile that has it by the log of identities
    c identifier, place in log   a change of the identifier, since it was last forgotten
    o topic, partition           the next offset to apply
    v                            format, cluster and age of the view

A batch of records and its offsets are written atomically, so a killed process
resumes after the last batch.
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
from pipeline.adapters.kafka import Partition
from pipeline.adapters.rocks import DatabaseInUseError, open_rows
from pipeline.model import topics
from pipeline.model.identity import IdentityChange
from pipeline.model.profile import Memberships, Profile

_log = logging.getLogger(__name__)

TOPICS: Final = (topics.PROFILES, topics.MEMBERSHIPS, topics.IDENTITIES)

_FORMAT: Final = 1
_MAX_AGE_S: Final = 12 * 3600
"""Greatest age (s) of a view that is continued: half of Kafka's default retention of tombstones,
since an older view could miss one."""

_ORIGIN: Final = b"v"
_TRANSIENT_KINDS: Final = frozenset({"probe", "clock"})
_NUMBER: Final = Layout(">q")
_LENGTH: Final = Layout(">H")
_PLACE: Final = Layout(">iq")

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """Record of one of `TOPICS`; `value` None: a tombstone."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes | None


class _Snapshot(msgspec.Struct, frozen=True, array_like=True):
    identifiers: tuple[str, ...]
    value: bytes


class _Origin(msgspec.Struct, frozen=True):
    """Format, cluster and time of the last write (`written_at`, epoch seconds)."""

    format: int
    cluster: str
    written_at: float


class View:
    """Source of persons on disk with one writer; any thread may read. A damaged database is
    emptied.

    Raises DatabaseInUseError.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        self._snapshots = msgspec.msgpack.Decoder(_Snapshot)
        self._cluster = ""
        self._rows = self._open()

    def resume(self, cluster: str, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return the next offset to apply of each partition.

        `cluster`: id of the Kafka cluster; `ends`: the present end offsets. The view is emptied if
        it is of another cluster or of recreated topics, or so old that Kafka may have removed
        tombstones since.
        """
        self._cluster = cluster
        offsets = {place: self._offset(place) for place in ends}
        reason = self._reason_to_rebuild(offsets, ends)
        if reason is None:
            return offsets
        self._rows.close()
        self._rows = self._rebuild(reason)
        return dict.fromkeys(ends, 0)

    def apply(self, records: Iterable[ViewRecord]) -> None:
        """Apply records in the order of each partition: all of them, or none if an error is
        raised."""
        writes = _PendingWrites(self._rows)
        for record in records:
            self._apply(record, writes)
            writes.put(
                _offset_key((record.topic, record.partition)), _NUMBER.pack(record.offset + 1)
            )
        self._write(writes)

    def owners(self, identifier: str) -> Iterator[str]:
        for kind in (b"r", b"n"):
            value = self._rows.get(kind + identifier.encode())
            if value is not None:
                yield value.decode()

    def profile(self, profile_id: str) -> Profile | None:
        row = self._rows.get(b"p" + profile_id.encode())
        if row is None:
            return None
        return self._decode(topics.PROFILES, self._snapshots.decode(row).value, Profile)

    def memberships(self, profile_id: str) -> Memberships | None:
        row = self._rows.get(b"m" + profile_id.encode())
        return None if row is None else self._decode(topics.MEMBERSHIPS, row, Memberships)

    def changes(self, identifiers: Collection[str]) -> list[IdentityChange]:
        rows = (
            self._decode(topics.IDENTITIES, value, IdentityChange)
            for identifier in identifiers
            for _, value in _scan(self._rows, _change_prefix(identifier))
        )
        return [change for change in rows if change is not None]

    def close(self) -> None:
        self._rows.close()

    def _apply(self, record: ViewRecord, writes: "_PendingWrites") -> None:
        if record.topic == topics.PROFILES:
            self._apply_profile(record, writes)
        elif record.topic == topics.MEMBERSHIPS:
            writes.put(b"m" + record.key.encode(), record.value)
        else:
            self._apply_change(record, writes)

    def _apply_profile(self, record: ViewRecord, writes: "_PendingWrites") -> None:
        profile_key = record.key.encode()
        row = b"p" + profile_key
        old_snapshot = writes.get(row)
        old_identifiers = (
            self._snapshots.decode(old_snapshot).identifiers if old_snapshot is not None else ()
        )
        profile = self._decode(topics.PROFILES, record.value, Profile)
        new_identifiers = profile.identifiers if profile is not None else ()
        for name in set(old_identifiers) - set(new_identifiers):
            if writes.get(name_row := b"n" + name.encode()) == profile_key:
                writes.put(name_row, None)
        for name in new_identifiers:
            writes.put(b"n" + name.encode(), profile_key)
        snapshot = record.value and msgspec.msgpack.encode(_Snapshot(new_identifiers, record.value))
        writes.put(row, snapshot if profile is not None else None)

    def _apply_change(self, record: ViewRecord, writes: "_PendingWrites") -> None:
        change = self._decode(topics.IDENTITIES, record.value, IdentityChange)
        if change is None or change.kind in _TRANSIENT_KINDS:
            return
        owner = b"r" + change.identifier.encode()
        if change.kind == "erased":
            writes.put(owner, None)
            writes.delete_all(_change_prefix(change.identifier))
        else:
            place = _PLACE.pack(record.partition, record.offset)
            writes.put(_change_prefix(change.identifier) + place, record.value)
            if change.kind == "resolved" and change.profile_id is not None:
                writes.put(owner, change.profile_id.encode())

    def _decode(self, topic: str, value: bytes | None, kind: type[T]) -> T | None:
        record = None if value is None else self._codec.decode(topic, value)
        return record if isinstance(record, kind) else None

    def _offset(self, place: Partition) -> int:
        value = self._rows.get(_offset_key(place))
        return 0 if value is None else int(_NUMBER.unpack(value)[0])

    def _open(self) -> Rdict:
        try:
            return open_rows(self._folder)
        except DatabaseInUseError:
            raise
        except Exception as error:
            return self._rebuild(str(error))

    def _rebuild(self, reason: str) -> Rdict:
        _log.warning("%s is emptied and read from Kafka again: %s", self._folder, reason)
        shutil.rmtree(self._folder)
        return open_rows(self._folder)

    def _reason_to_rebuild(
        self, offsets: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> str | None:
        """Return the reason why the stored view cannot be continued; None if it can."""
        value = self._rows.get(_ORIGIN)
        if value is None:
            return None
        origin = msgspec.json.decode(value, type=_Origin)
        if (origin.format, origin.cluster) != (_FORMAT, self._cluster):
            return "it is of another version, or of another cluster"
        if any(offsets[place] > end for place, end in ends.items()):
            return "a topic was created again"
        return "it is too old" if time.time() - origin.written_at > _MAX_AGE_S else None

    def _write(self, writes: "_PendingWrites") -> None:
        origin = _Origin(_FORMAT, self._cluster, time.time())
        writes.put(_ORIGIN, msgspec.json.encode(origin))
        self._rows.write(writes.batch())


class _PendingWrites:
    """Pending writes, which hide the stored rows of the same keys."""

    def __init__(self, rows: Rdict) -> None:
        self._rows = rows
        self._values: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        if key in self._values:
            return self._values[key]
        value: bytes | None = self._rows.get(key)
        return value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write a row; `value` None deletes it."""
        self._values[key] = value

    def delete_all(self, prefix: bytes) -> None:
        stored_keys = [key for key, _ in _scan(self._rows, prefix)]
        pending_keys = [key for key in self._values if key.startswith(prefix)]
        self._values.update(dict.fromkeys((*stored_keys, *pending_keys)))

    def batch(self) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        for key, value in self._values.items():
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


def _change_prefix(identifier: str) -> bytes:
    """Return the prefix of an identifier's changes; its length makes the prefix unambiguous."""
    name = identifier.encode()
    return b"c" + _LENGTH.pack(len(name)) + name


def _offset_key(place: Partition) -> bytes:
    topic, partition = place
    return f"o{topic}/{partition}".encode()
