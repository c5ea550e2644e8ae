"""Player of the script: visits, decisions, reactions, day after day.

The pipeline is idle between rounds, so that decisions depend on the log alone and not on the speed
of its parts.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta

from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.adapters.mailbox import Mailbox
from pipeline.demo.narrator import PlayedRound
from pipeline.demo.reactions import DeliveredMessage, reactions
from pipeline.demo.script import Day, Round
from pipeline.demo.shop import Shop
from pipeline.model.decision import Action

_REST_S = 120.0


class NotAtRestError(Exception):
    """Raised when the pipeline did not become idle in time."""


class Pipeline:
    """Wait for the pipeline: all input decided and delivered, reports of delivery included.

    `stages`: lag of the four stages only; `everything`: lag including the adapters.
    """

    def __init__(self, stages: LagReader, everything: LagReader, mailbox: Mailbox) -> None:
        self._stages = stages
        self._everything = everything
        self._mailbox = mailbox

    async def wait_until_idle(self) -> None:
        """Wait for the stages, and only then let deliveries be reported."""
        await _until_idle(self._stages)
        self._mailbox.gate.set()
        await _until_idle(self._everything)
        self._mailbox.gate.clear()


class Player:
    """Player of days through a shop, by the log's clock; `seed` chooses how customers react."""

    def __init__(
        self, shop: Shop, mailbox: Mailbox, pipeline: Pipeline, clock: LogClock, seed: int
    ) -> None:
        self._shop = shop
        self._clock = clock
        self._mailbox = mailbox
        self._pipeline = pipeline
        self._seed = seed

    async def play(self, days: Iterable[Day], progress: Callable[[PlayedRound], None]) -> list[Day]:
        """Return the days that were played; `progress` is called with each round."""
        played: list[Day] = []
        for day in days:
            await self._tick(day.date)
            shown = []
            for day_round in day.rounds:
                delivered = await self._round(day_round)
                shown.append(delivered)
                progress(
                    PlayedRound(
                        day.date, day_round.events, delivered, self._shop.take_answer_times()
                    )
                )
            for of_round in shown:
                await self._react(of_round)
            played.append(day)
        if played:
            await self._tick(played[-1].date + timedelta(days=1))
            await self._pipeline.wait_until_idle()
        return played

    async def _tick(self, midnight: date) -> None:
        """Advance the log's clock to `midnight`.

        Visits need not wait: a customer's due timers always precede what the customer does after
        them.
        """
        at = datetime.combine(midnight, time.min, UTC)
        await asyncio.to_thread(self._clock.tick, round(at.timestamp() * 1000))

    async def _round(self, day_round: Round) -> list[DeliveredMessage]:
        shown = await asyncio.gather(*(self._shop.visit(visit) for visit in day_round.visits))
        await self._pipeline.wait_until_idle()
        mailed = [_delivered_mail(action) for action in self._mailbox.take()]
        return [*(delivered for visit in shown for delivered in visit), *mailed]

    async def _react(self, delivered: Sequence[DeliveredMessage]) -> None:
        """Report reactions in one request: a customer's have one key, and stay in order."""
        ordered = sorted(delivered, key=lambda message: (message.at, message.action_id))
        answers = [answer for message in ordered for answer in reactions(message, self._seed)]
        if answers:
            await self._shop.report(answers)
            await self._pipeline.wait_until_idle()


def _delivered_mail(action: Action) -> DeliveredMessage:
    return DeliveredMessage(
        action.action_id, action.token, action.offer, outbound=True, at=action.created_at
    )


async def _until_idle(reader: LagReader) -> None:
    if not await asyncio.to_thread(reader.wait_until_idle, _REST_S):
        raise NotAtRestError(
            f"the pipeline is still busy after {_REST_S:.0f} s: {reader.lag()}; see `kairos status`"
        )
