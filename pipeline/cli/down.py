"""`kairos down`: end of all processes of this home."""

from pipeline.cli.console import JsonOption, err, out, print_json
from pipeline.settings import Settings
from pipeline.stack.control import stop_stack


def run(json: JsonOption = False) -> None:
    """Stop adapters, learner and file import, then gateway, workers and broker; the data stay."""
    count = stop_stack(Settings(), lambda line: err.print(f"  {line}"))
    if json:
        print_json({"stopped": count})
    else:
        out.print(f"Stopped {count} processes." if count else "Nothing was running.")
