"""Faust's streams in pure Python lose events, so a worker refuses to start with them."""

import os
import subprocess
import sys


def test_app_refuses_streams_that_are_not_compiled() -> None:
    program = """
from pathlib import Path
from agents.app import AppOptions, create_app
create_app("hop", AppOptions(bootstrap_servers="", home=Path(), partitions=1))
"""
    environment = {**os.environ, "NO_CYTHON": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "compiled streams are missing" in result.stderr
