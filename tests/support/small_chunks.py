"""`kairos replay` with chunks so small that a kill can come between two chunks."""

import sys
from typing import Final

from pipeline.cli.main import main
from pipeline.replay import topics

CHUNK: Final = 200

if __name__ == "__main__":
    topics._BATCH = CHUNK  # type: ignore[misc]
    topics._CHUNK_RECORDS = CHUNK  # type: ignore[misc]
    sys.argv.insert(1, "replay")
    main()
