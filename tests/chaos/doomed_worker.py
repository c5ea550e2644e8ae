"""Program that runs `kairos worker all --instance INSTANCE` until it is killed at a named point:
`python -m tests.chaos.doomed_worker POINT INSTANCE`."""

import sys

from pipeline.cli.main import main
from tests.support.doom import doom

if __name__ == "__main__":
    point, instance = sys.argv[1:]
    doom(point)
    sys.argv[1:] = ["worker", "all", "--instance", instance]
    main()
