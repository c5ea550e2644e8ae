"""`python -m pipeline.cli`: the command `kairos`, run by this interpreter."""

from pipeline.cli.main import main

main()
