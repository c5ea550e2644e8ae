"""Fencing tokens for changelogs: records below the owner's token are a zombie's and ignored.

A worker that is stopped while another takes over its partitions still has records in librdkafka's
queue. They are sent when the process resumes, before it detects the loss of its session, and would
follow the newer rows of its successor. So every changelog record carries its owner's fencing token.
A new owner reads the partition to its end and claims it with a record that carries the next token.
That record must be the first one that the new owner has not read. Later records with a lower token
are void.

A void record that is newer than a valid row of the same key would replace that row once the topic
is compacted. The owner detects such a record before that: its own records have consecutive offsets
while no other worker writes. An owner that finds a gap ends; at the next start it writes the
affected rows again.
"""

from collections.abc import Mapping
from typing import Final

from faust.types import TP

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
    """Fencing tokens of the changelog partitions that this worker owns."""

    def __init__(self) -> None:
        self._headers: dict[tuple[str, int], Headers] = {}
        self._ends: dict[tuple[str, int], int] = {}

    @property
    def headers(self) -> Mapping[tuple[str, int], Headers]:
        """Headers of this owner's records, by (topic, partition)."""
        return self._headers

    def begin_ownership(self, changelog: TP, token: int, end: int) -> None:
        """Own a partition under `token`; `end` is the offset of this owner's next record."""
        self._headers[changelog] = fencing_headers(token)
        self._ends[changelog] = end

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
