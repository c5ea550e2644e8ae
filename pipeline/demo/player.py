"""Plays the script: visitors come, decisions come back, customers react, day after day.

Between rounds the pipeline comes to rest, so that what is decided depends on the log alone and not
on how fast the parts happen to be.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.demo.mailbox import Mailbox
from pipeline.demo.narrator import Update
from pipeline.demo.reactions import Delivered, reactions
from pipeline.demo.script import Day, Round
from pipeline.demo.shop import Shop
from pipeline.model.decision import Action

_REST_S = 120.0


class NotAtRestError(Exception):
    """The pipeline did not finish what it was given in time."""


class Pipeline:
    """Waits until everything sent has been decided and delivered, reports of delivery included.

    `stages` looks at the four stages only, `everything` at the adapters too.
    """

    def __init__(self, stages: LagReader, everything: LagReader, mailbox: Mailbox) -> None:
        self._stages = stages
        self._everything = everything
        self._mailbox = mailbox

    async def rest(self) -> None:
        """The stages first: only then may what they sent out be reported as delivered."""
        await _until_idle(self._stages)
        self._mailbox.door.set()
        await _until_idle(self._everything)
        self._mailbox.door.clear()


class Player:
    """Plays days through a shop, by the log's clock; `seed` chooses how customers react."""

    def __init__(
        self, shop: Shop, mailbox: Mailbox, pipeline: Pipeline, clock: LogClock, seed: int
    ) -> None:
        self._shop = shop
        self._clock = clock
        self._mailbox = mailbox
        self._pipeline = pipeline
        self._seed = seed

    async def play(self, days: Iterable[Day], progress: Callable[[Update], None]) -> list[Day]:
        """Return the days that were played; `progress` is told each round."""
        played: list[Day] = []
        for day in days:
            await self._tick(day.date)
            shown = []
            for one in day.rounds:
                delivered = await self._round(one)
                shown.append(delivered)
                progress(Update(day.date, one.events, delivered, self._shop.take_answer_times()))
            for of_round in shown:
                await self._react(of_round)
            played.append(day)
        if played:
            await self._tick(played[-1].date + timedelta(days=1))
            await self._pipeline.rest()
        return played

    async def _tick(self, midnight: date) -> None:
        """What fell due by then happens. Visits need not wait for it: a customer's own due moments
        always come before what the customer does after them."""
        at = datetime.combine(midnight, time.min, UTC)
        await asyncio.to_thread(self._clock.tick, round(at.timestamp() * 1000))

    async def _round(self, one: Round) -> list[Delivered]:
        shown = await asyncio.gather(*(self._shop.visit(visit) for visit in one.visits))
        await self._pipeline.rest()
        mailed = [_mailed(action) for action in self._mailbox.take()]
        return [*(delivered for visit in shown for delivered in visit), *mailed]

    async def _react(self, delivered: Sequence[Delivered]) -> None:
        """In one request: a customer's reactions have one key within a round, and keep order."""
        ordered = sorted(delivered, key=lambda one: (one.at, one.action_id))
        answers = [answer for one in ordered for answer in reactions(one, self._seed)]
        if answers:
            await self._shop.report(answers)
            await self._pipeline.rest()


def _mailed(action: Action) -> Delivered:
    return Delivered(
        action.action_id, action.token, action.offer, outbound=True, at=action.created_at
    )


async def _until_idle(reader: LagReader) -> None:
    if not await asyncio.to_thread(reader.wait_until_idle, _REST_S):
        raise NotAtRestError(
            f"the pipeline is still busy after {_REST_S:.0f} s: {reader.lag()}; see `kairos status`"
        )
