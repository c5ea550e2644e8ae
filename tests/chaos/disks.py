"""Comparison of the rows on the workers' disks with their changelogs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from agents.store.rocks import META
from agents.transport.fencing import TAKE_OVER, fencing_token_of
from pipeline.flow import STAGES
from tests.support.chain import open_for_reading

_READER_OPTIONS = {"enable.partition.eof": True, "enable.auto.commit": False}
_BATCH = 10_000


@dataclass
class _Changelog:
    """One changelog partition: its rows, the offset after the last record, and the owner's fencing
    token."""

    rows: dict[bytes, bytes] = field(default_factory=dict)
    end: int = 0
    owner_token: int = 0


def differences(bootstrap: str, state: Path, partitions: int) -> Iterator[str]:
    """Yield a line for each partition whose rows no worker has, or whose rows on a disk differ from
    the changelog. `state` is the folder of all workers, which have ended."""
    for stage in STAGES:
        logs = _changelogs(bootstrap, f"{stage.group}-rows-changelog", partitions)
        for number, log in enumerate(logs):
            copies = [_read_rows(file) for file in (state / stage.name).glob(f"*/rows/{number}")]
            complete_copies = [rows for end, rows in copies if end == log.end]
            place = f"{stage.name}, partition {number}"
            if log.end and not complete_copies:
                yield f"{place}: changelog at {log.end}, disks at {[end for end, _ in copies]}"
            for rows in complete_copies:
                keys = {key for key, _ in rows.items() ^ log.rows.items()}
                if keys:
                    yield f"{place}: {len(keys)} rows differ, e.g. {min(keys)!r}"


def _changelogs(bootstrap: str, topic: str, partitions: int) -> list[_Changelog]:
    logs = [_Changelog() for _ in range(partitions)]
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "disks", **_READER_OPTIONS})
    reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    open_partitions = partitions
    while open_partitions:
        for message in reader.consume(_BATCH, 1.0):
            error = message.error()
            if error is None:
                _apply(logs[message.partition()], message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                open_partitions -= 1
    reader.close()
    return logs


def _apply(log: _Changelog, message: Message) -> None:
    """Apply a record of the changelog, unless a former owner wrote it after a takeover."""
    log.end = message.offset() + 1
    token = fencing_token_of(message) or 0
    if token < log.owner_token:
        return
    log.owner_token = token
    key, value = message.key(), message.value()
    if value is None:
        log.rows.pop(key, None)
    elif key != TAKE_OVER:
        log.rows[key] = value


def _read_rows(partition: Path) -> tuple[int, dict[bytes, bytes]]:
    """Return the changelog offset and the rows on disk; -1 and no rows for a damaged copy, which
    its owner would rebuild."""
    try:
        database = open_for_reading(partition)
    except Exception:  # rocksdict raises nothing narrower
        return -1, {}
    try:
        meta = database.get_column_family(META)
        return int(meta.get(b"next-offset") or 0), dict(database.items())
    finally:
        database.close()
