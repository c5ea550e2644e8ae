"""Fencing tokens for changelogs: records below the owner's token are a zombie's and ignored.

A worker that is stopped while another takes over its partitions still has records in librdkafka's
queue. They are sent when the process resumes, before it learns that its session is lost, and would
follow the newer rows of its successor. So every changelog record carries its owner's fencing
token. A new owner reads the partition to its end and claims it with a record that carries the next
token, which must be the first record that it has not read. Later records with a lower token are
void.

A void record that is newer than a valid row of the same key becomes dangerous once the topic is
compacted. It is detected before: an owner's records have consecutive offsets, since no other worker
writes. An owner that finds a gap ends; at the next start it writes the affected rows again.
"""

from collections.abc import Mapping
from typing import Final

from agents.transport.epochs import Epoch
from agents.transport.errors import ChangelogTakenError
from agents.transport.records import Headers, Record
from pipeline.adapters.headers import first_header

TAKE_OVER: Final = b"\x00owner"
"""Key of the record that claims a partition; tables have no such key."""

_HEADER: Final = "owner"


def fencing_headers(token: int) -> Headers:
    """Return the headers of records whose owner has this fencing token."""
    return [(_HEADER, b"%d" % token)]


def fencing_token_of(record: Record) -> int | None:
    """Return the fencing token that `record` carries, if any."""
    token = first_header(record.headers(), _HEADER)
    return None if token is None else int(token)


class ChangelogFence:
    """Tokens of the changelog partitions, (topic, partition), that this worker owns."""

    def __init__(self) -> None:
        self._headers: dict[tuple[str, int], Headers] = {}
        self._ends: dict[tuple[str, int], int] = {}

    @property
    def headers(self) -> Mapping[tuple[str, int], Headers]:
        """Headers that a record of each partition carries."""
        return self._headers

    def begin(self, topic_partition: tuple[str, int], token: int, end: int) -> None:
        """Own a partition under `token`; `end` is the offset of this owner's next record."""
        self._headers[topic_partition] = fencing_headers(token)
        self._ends[topic_partition] = end

    def check(self, epoch: Epoch) -> None:
        """Check that no other worker has written before the last record of the delivered `epoch`.

        Raises ChangelogTakenError.
        """
        for topic_partition, end in epoch.changelog_ends.items():
            start = self._ends.get(topic_partition)
            if start is None:
                continue
            if end - start != epoch.changelog_counts[topic_partition]:
                topic, partition = topic_partition
                raise ChangelogTakenError(
                    f"another worker has written to {topic} [{partition}] from {start} to {end}: "
                    "one of the two was stopped"
                )
            self._ends[topic_partition] = end
