"""Arguments of a four-hop pipeline; imports nothing, so that peers run it with their own pins.

Hop n reads topic `<prefix>.t<n>`, reads and writes its state, and sends the value on to t<n+1>.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

READY_LINE = "ready"


@dataclass(frozen=True)
class Arguments:
    """Arguments of one process; `hops`: numbers (0 to 3) of its hops; `folder`: for its state."""

    bootstrap: str
    prefix: str
    partitions: int
    hops: Sequence[int]
    folder: Path

    def topic(self, number: int) -> str:
        return f"{self.prefix}.t{number}"

    @property
    def group(self) -> str:
        """Consumer group of this process alone."""
        return f"{self.prefix}.{''.join(map(str, self.hops))}"


def parse() -> Arguments:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    for name in ("--bootstrap", "--prefix", "--hops"):
        parser.add_argument(name, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    values = parser.parse_args()
    hops = [int(hop) for hop in values.hops.split(",")]
    return Arguments(values.bootstrap, values.prefix, values.partitions, hops, values.folder)
