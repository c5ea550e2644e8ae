"""Who owns a changelog partition, told by the changelog itself.

A worker that is stopped while another takes over its partitions still has records in librdkafka's
queue. They leave once it goes on, before anything tells it that its session is lost, and would
stand behind the newer rows of its successor. So every changelog record carries the number of its
owner. Whoever is given a partition reads it to the end and takes it over by a record with the next
number, which must be the first one that it has not read. What stands behind a record with a higher
number than its own came too late and is void.

A void record that is newer than a row of the same key is a danger once the topic is compacted. It
is noticed in time: an owner's records follow each other without gaps, since nobody else writes.
Who finds a gap ends, and at the next start writes the rows that a void record stands behind again.
"""

from collections.abc import Mapping
from typing import Final

from agents.transport.epochs import Epoch
from agents.transport.errors import ChangelogTakenError
from agents.transport.records import Headers, Record
from pipeline.adapters.headers import first_header

#: Key of the record by which a partition is taken over; tables have no such key.
TAKE_OVER: Final = b"\x00owner"
_HEADER: Final = "owner"


def owner_headers(number: int) -> Headers:
    """The headers of the owner `number`'s records."""
    return [(_HEADER, b"%d" % number)]


def owner_of(record: Record) -> int | None:
    """The number of the owner who wrote `record`; None: a version that had no numbers did."""
    number = first_header(record.headers(), _HEADER)
    return None if number is None else int(number)


class Ownership:
    """Of the changelog partitions, (topic, partition), that this worker has taken over."""

    def __init__(self) -> None:
        self._headers: dict[tuple[str, int], Headers] = {}
        self._ends: dict[tuple[str, int], int] = {}

    @property
    def headers(self) -> Mapping[tuple[str, int], Headers]:
        """What a record of each partition carries."""
        return self._headers

    def begin(self, where: tuple[str, int], number: int, end: int) -> None:
        """This worker is the owner `number`; the next record is its own and has offset `end`."""
        self._headers[where] = owner_headers(number)
        self._ends[where] = end

    def check(self, epoch: Epoch) -> None:
        """Nobody else has written before the last record of `epoch`, which is delivered.

        Raises ChangelogTakenError.
        """
        for where, end in epoch.changelog_ends.items():
            begun = self._ends.get(where)
            if begun is None:
                continue
            if end - begun != epoch.changelog_counts[where]:
                raise ChangelogTakenError(
                    f"another worker has written to {where[0]} [{where[1]}] from {begun} to {end}: "
                    "this one was stopped, or the other"
                )
            self._ends[where] = end
