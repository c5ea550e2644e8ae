"""Player of the script: visits, decisions, reactions, day after day.

The pipeline is idle between rounds, so that decisions depend on the log alone and not on the speed
of its parts.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain

from pipeline.adapters.lag import LagReader
from pipeline.adapters.log_clock import LogClock
from pipeline.adapters.mailbox import Mailbox
from pipeline.demo.narrator import PlayedRound
from pipeline.demo.reactions import DeliveredMessage, reactions
from pipeline.demo.script import Day, Round
from pipeline.demo.shop import Shop
from pipeline.model.decision import Action

_IDLE_TIMEOUT_S = 120.0


class NotIdleError(Exception):
    """Raised when the pipeline did not become idle in time."""


class Pipeline:
    """Pipeline that the player waits for: idle once all input is decided and delivered, including
    the reports of delivery.

    `stages`: lag of the four stages only; `all_groups`: lag including the adapters.
    """

    def __init__(self, stages: LagReader, all_groups: LagReader, mailbox: Mailbox) -> None:
        self._stages = stages
        self._all_groups = all_groups
        self._mailbox = mailbox

    async def wait_until_idle(self) -> None:
        """Wait for the stages, and only then allow reports of delivery and wait for them."""
        await _wait_until_idle(self._stages)
        self._mailbox.gate.set()
        await _wait_until_idle(self._all_groups)
        self._mailbox.gate.clear()


class Player:
    """Player of days through a shop, by the log's clock; `seed` determines customers' reactions."""

    def __init__(
        self, shop: Shop, mailbox: Mailbox, pipeline: Pipeline, clock: LogClock, seed: int
    ) -> None:
        self._shop = shop
        self._clock = clock
        self._mailbox = mailbox
        self._pipeline = pipeline
        self._seed = seed

    async def play(self, days: Iterable[Day], progress: Callable[[PlayedRound], None]) -> list[Day]:
        """Play the days, and return those that were played; `progress` gets each round."""
        played_days: list[Day] = []
        for day in days:
            await self._set_clock(day.date)
            rounds = []
            for day_round in day.rounds:
                messages = await self._play_round(day_round)
                rounds.append(messages)
                progress(
                    PlayedRound(
                        day.date, day_round.event_count, messages, self._shop.take_answer_times()
                    )
                )
            for messages in rounds:
                await self._react(messages)
            played_days.append(day)
        if played_days:
            await self._set_clock(played_days[-1].date + timedelta(days=1))
            await self._pipeline.wait_until_idle()
        return played_days

    async def _set_clock(self, midnight: date) -> None:
        """Advance the log's clock to `midnight`.

        Visits need not wait until due timers have fired: a customer's due timers fire before any
        later event of the customer.
        """
        at = datetime.combine(midnight, time.min, UTC)
        await asyncio.to_thread(self._clock.tick, round(at.timestamp() * 1000))

    async def _play_round(self, day_round: Round) -> list[DeliveredMessage]:
        visits = await asyncio.gather(*(self._shop.visit(visit) for visit in day_round.visits))
        await self._pipeline.wait_until_idle()
        mails = [_delivered_mail(action) for action in self._mailbox.take()]
        return [*chain.from_iterable(visits), *mails]

    async def _react(self, messages: Sequence[DeliveredMessage]) -> None:
        """Report reactions in one request; a customer's reactions have one key and stay in
        order."""
        sorted_messages = sorted(messages, key=lambda message: (message.at, message.action_id))
        sorted_reactions = [
            reaction for message in sorted_messages for reaction in reactions(message, self._seed)
        ]
        if sorted_reactions:
            await self._shop.report(sorted_reactions)
            await self._pipeline.wait_until_idle()


def _delivered_mail(action: Action) -> DeliveredMessage:
    return DeliveredMessage(
        action.action_id, action.token, action.offer, is_outbound=True, at=action.created_at
    )


async def _wait_until_idle(reader: LagReader) -> None:
    if not await asyncio.to_thread(reader.wait_until_idle, _IDLE_TIMEOUT_S):
        raise NotIdleError(
            f"the pipeline is still busy after {_IDLE_TIMEOUT_S:.0f} s: {reader.lag()}; "
            "see `kairos status`"
        )
