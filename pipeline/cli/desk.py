"""`kairos desk`: messages that people deliver, such as calls, from the terminal."""

import asyncio
from typing import Annotated

import typer

from pipeline.adapters.clock import now_ms
from pipeline.adapters.gateway_client import GatewayClient
from pipeline.adapters.topic_ranges import UnknownTopicError
from pipeline.cli.console import JsonOption, fail, out, print_json, print_table
from pipeline.cli.times import iso
from pipeline.delivery.desk import OUTCOMES, TAKEN_OUTCOME, DeskResult, DeskTask, read_tasks
from pipeline.home.records import Records
from pipeline.settings import Settings
from pipeline.stack.control import gateway_url

app = typer.Typer()

_Channel = Annotated[str, typer.Option(help="Channel whose messages people deliver.")]
_Id = Annotated[
    str, typer.Argument(metavar="ID", help="ID of the task, as `kairos desk list` shows it.")
]


@app.command("list")
def list_tasks(
    channel: _Channel = "call",
    all_tasks: Annotated[
        bool, typer.Option("--all", help="Also list tasks that are done, cancelled or too late.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List tasks that are open or taken, by deadline."""
    tasks = [task for task in _load_tasks(channel) if all_tasks or task.state in ("open", "taken")]
    if json:
        print_json([_table_row(task) for task in tasks])
    elif not tasks:
        out.print("No tasks.")
    else:
        rows = [[str(value) for value in _table_row(task).values()] for task in tasks]
        print_table(f"Tasks of {channel} ({len(tasks)})", list(_table_row(tasks[0])), rows)


@app.command()
def take(
    task_id: _Id,
    by: Annotated[str, typer.Option(help="Name of the person who takes the task.")],
    channel: _Channel = "call",
    json: JsonOption = False,
) -> None:
    """Claim a task, so that nobody else takes it, and show its script."""
    task = _find(channel, task_id)
    if task.state == "open":
        _report(task, TAKEN_OUTCOME, {"by": by})
        task = _find(channel, task_id)
    if task.state != "taken" or task.by != by:
        fail(f"task {task_id} is {task.state}{f' by {task.by}' if task.by else ''}")
    _show(task, as_json=json)


@app.command("done")
def finish(
    task_id: _Id,
    result: Annotated[DeskResult, typer.Option(help="Result of the task.")],
    channel: _Channel = "call",
    json: JsonOption = False,
) -> None:
    """Report the result of a task, which becomes an outcome of its action."""
    task = _find(channel, task_id)
    if task.state != "taken":
        fail(f"task {task_id} is {task.state}: only one that is taken can be done")
    outcome, properties = OUTCOMES[result]
    _report(task, outcome, dict(properties))
    _show(_find(channel, task_id), as_json=json)


def _load_tasks(channel: str) -> list[DeskTask]:
    try:
        return read_tasks(Records.of(Settings()), channel, now_ms())
    except UnknownTopicError:
        fail(f"there is no channel {channel!r}")


def _find(channel: str, task_id: str) -> DeskTask:
    match = next((task for task in _load_tasks(channel) if task.action_id == task_id), None)
    if match is None:
        fail(f"there is no task {task_id!r} in channel {channel}")
    return match


def _report(task: DeskTask, outcome: str, properties: dict[str, str]) -> None:
    settings = Settings()
    body = {
        "token": task.token,
        "outcome": outcome,
        "timestamp": now_ms(),
        "properties": properties,
    }

    async def post() -> None:
        client = GatewayClient(gateway_url(settings), settings.adapter_key(), 1)
        try:
            await client.post("/v1/outcomes", body)
        finally:
            await client.close()

    asyncio.run(post())


def _show(task: DeskTask, *, as_json: bool) -> None:
    if as_json:
        print_json(_table_row(task))
        return
    for name, value in _table_row(task).items():
        out.print(f"{name}: {value}", markup=False)


def _table_row(task: DeskTask) -> dict[str, object]:
    return {
        "id": task.action_id,
        "state": task.state,
        "by": task.by or "",
        "to": task.to or "",
        "offer": task.offer,
        "until": iso(task.until),
        "script": task.script.get("text", ""),
    }
