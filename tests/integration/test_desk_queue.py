"""Tasks for people over a real broker."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from tests.support.stack import Stack, eventually


def test_task_is_taken_by_one_person_and_ends_with_a_result(stack: Stack) -> None:
    email = f"{uuid4().hex}@example.com"
    message = {
        "event": "Callback Requested",
        "userId": f"c-{email}",
        "context": {"traits": {"email": email}},
        "properties": {"topic": "about shoes"},
    }
    with stack.client("test-app-key") as client:
        assert client.post("/v1/track", json=message).status_code == 200

    def find_task() -> dict[str, str] | None:
        tasks = stack.ask("desk", "list")
        return next((task for task in tasks if task["to"] == email), None)

    task = eventually(find_task)
    assert (task["state"], task["script"]) == ("open", "Call about shoes")

    def take(name: str) -> int:
        return stack.run("desk", "take", task["id"], "--by", name).returncode

    assert stack.run("desk", "done", task["id"], "--result", "reached").returncode == 1
    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(take, ("ana", "eva", "joe"))) == [0, 1, 1]
    assert eventually(find_task)["state"] == "taken"
    answer = stack.ask("desk", "done", task["id"], "--result", "accepted")
    assert answer["state"] == "done"
    assert find_task() is None
