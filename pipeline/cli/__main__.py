"""`python -m pipeline.cli`: the command `kairos` of this very interpreter."""

from pipeline.cli.main import main

main()
