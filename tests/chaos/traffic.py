"""Customers who send through the gateway by an impatient client, which sends unacknowledged
messages again under the same id, and some acknowledged ones too."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from random import Random
from threading import Event, Thread
from typing import Any

import httpx

from pipeline.adapters.murmur2 import murmur2_partition
from pipeline.model.ids import profile_id
from pipeline.model.interaction import Identifier

WRITE_KEY = "chaos-shop-key"
STEPS = 5
_LANES = 6
_GROUP_SIZE = 20
_TIMEOUT_S = 8.0
_ROLL_CALL_S = 60.0
_PAGES = ("home", "list", "cart", "help")


@dataclass(frozen=True, slots=True)
class Load:
    """Load of `customer_count` (None: without end) at `rate` messages per second; `copy_share`:
    share of messages that are sent once more later."""

    run: str
    seed: int
    rate: float
    customer_count: int | None = None
    copy_share: float = 0.1


class CustomerTraffic:
    """Customers' messages. `accepted_ids`: messages that got a 2xx; `post_counts`: number of posts
    of each message; `retry_count`: number of repeated batches."""

    def __init__(self, url: str, load: Load) -> None:
        self.post_counts: Counter[str] = Counter()
        self.accepted_ids: set[str] = set()
        self.retry_count = 0
        self._url = url
        self._load = load
        self._end = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="traffic")

    def start(self) -> "CustomerTraffic":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Add no further customers, and wait until all messages are acknowledged."""
        self._end.set()
        self.join()

    def join(self) -> None:
        """Wait until every customer has sent everything."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:
            self._failure = error

    async def _send_all(self) -> None:
        async with (
            httpx.AsyncClient(
                base_url=self._url, auth=(WRITE_KEY, ""), timeout=_TIMEOUT_S, trust_env=False
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for lane in range(_LANES):
                group.create_task(self._send_lane(client, lane))

    async def _send_lane(self, client: httpx.AsyncClient, lane: int) -> None:
        """Send for groups of customers in turn; each customer's step waits for the answer to the
        one before, so that the order is known."""
        random = Random(f"{self._load.seed}/{lane}")
        pause_s = _GROUP_SIZE * _LANES / self._load.rate
        for customers in self._groups(lane):
            past_messages: list[dict[str, Any]] = []
            for step in range(STEPS):
                start_s = time.monotonic()
                messages = [
                    _message(self._load.run, customer, step, random) for customer in customers
                ]
                copies = [
                    message for message in past_messages if random.random() < self._load.copy_share
                ]
                batch = messages + copies
                random.shuffle(batch)
                await self._post(client, batch)
                self.accepted_ids.update(message["messageId"] for message in messages)
                past_messages += messages
                await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - start_s)))

    def _groups(self, lane: int) -> Iterator[Sequence[int]]:
        start = lane * _GROUP_SIZE
        limit = self._load.customer_count
        while not self._end.is_set() and (limit is None or start < limit):
            end = start + _GROUP_SIZE if limit is None else min(start + _GROUP_SIZE, limit)
            yield range(start, end)
            start += _LANES * _GROUP_SIZE

    async def _post(self, client: httpx.AsyncClient, batch: list[dict[str, Any]]) -> None:
        while True:
            self.post_counts.update(message["messageId"] for message in batch)
            try:
                response = await client.post("/v1/batch", json={"batch": batch})
            except httpx.TransportError:
                pass
            else:
                if response.is_success:
                    assert response.json()["success"] is True, response.text
                    assert not response.json().get("rejected"), response.text
                    return
                assert response.status_code >= 500, response.text
            self.retry_count += 1
            await asyncio.sleep(0.2)


def call_the_roll(url: str, run: str, partitions: int) -> set[str]:
    """Post messages of new customers for each partition, both of topics keyed by identifier and of
    topics keyed by profile; return the ids of the messages, which are all accepted."""
    names = list(_customers_of_partitions(f"{run}-roll", partitions))
    batch = [
        {"type": "track", "event": "Viewed", "messageId": name, "userId": name} for name in names
    ]
    with httpx.Client(auth=(WRITE_KEY, ""), timeout=_ROLL_CALL_S, trust_env=False) as client:
        response = client.post(f"{url}/v1/batch", json={"batch": batch})
    assert response.is_success, response.text
    assert not response.json().get("rejected"), response.text
    return set(names)


def _customers_of_partitions(stem: str, partitions: int) -> Iterator[str]:
    """Yield customer ids until every partition has one, by identifier as well as by profile."""
    missing = {
        (kind, number) for kind in ("interaction", "profile") for number in range(partitions)
    }
    for number in count():
        customer = Identifier("customer_id", f"{stem}-{number}")
        own_partitions = {
            ("interaction", murmur2_partition(customer.key.encode(), partitions)),
            ("profile", murmur2_partition(profile_id(customer).encode(), partitions)),
        }
        if missing & own_partitions:
            yield customer.value
        missing -= own_partitions
        if not missing:
            return


def _message(run: str, customer: int, step: int, random: Random) -> dict[str, Any]:
    """Return the next message of a visitor who becomes a customer with an e-mail address; at the
    last step three in four order again, the others view a page and stay away."""
    name = f"{run}-{customer}"
    message: dict[str, Any] = {
        "type": "track",
        "messageId": f"{name}-{step}",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "properties": {"page": random.choice(_PAGES), "step": step},
    }
    stays_away = customer % 4 == 3
    if step == 2 or (step == 4 and not stays_away):
        message["event"] = "Order"
        message["properties"]["total"] = random.randrange(1, 100)
    else:
        message["event"] = "Viewed"
    if step <= 2:
        message["anonymousId"] = f"k{name}"
    if step >= 2:
        message["userId"] = f"c{name}"
        message["context"] = {"traits": {"email": f"{name}@example.com"}}
    return message
