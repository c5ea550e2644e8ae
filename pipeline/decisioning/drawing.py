"""Arbitration by learned evidence: choices are drawn, each with its probability.

Each place of a placement is a separate contest among the candidates that no constraint rejects.
Outbound, rounds follow each other until one draws nothing: each draws among the candidates whose
campaign and channel are free, under the caps after the earlier rounds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from msgspec import Struct

from pipeline.config.compiled import CompiledCandidate
from pipeline.decisioning.arbitrate import (
    BEATEN_BY,
    CERTAIN_ODDS,
    NOTHING,
    Arbitration,
    Odds,
    place_in,
)
from pipeline.decisioning.lineup import Lineup
from pipeline.decisioning.render import RenderFailure, render
from pipeline.model.decision import Choice
from pipeline.rules.chooser import DrawResult, Field, FieldMaker, PricedCandidate

_Content: TypeAlias = dict[str, str]

NO_TREATMENT: Final = ""
"""Name of the empty choice beside those of treatments, in `SlotChances`."""

_MAX_COMPETITORS: Final = 16
"""Maximum of candidates that compete for several channels at once, since their results are
enumerated."""

_MAX_PRERENDERS: Final = 16
"""Maximum of candidates whose contents are all rendered before a draw. Failures are rare: among
more candidates a content is rendered once drawn, and the other propensities of the slot count a
candidate whose rendering fails as one that could have been sent."""


@dataclass(slots=True)
class Drawing:
    """Drawn choices of one decision, which fill the slots of `arbitration`."""

    arbitration: Arbitration
    chooser: FieldMaker
    context_bin: str

    def answer(self, placement: str, lineup: Lineup) -> None:
        """Fill a requested placement with different offers, in order."""
        pool, limit = lineup.contenders, lineup.limit
        places = _Places(self.arbitration, pool, self.chooser.field(pool, self.context_bin))
        for place in range(1, limit + 1):
            if not places.fill(place_in(placement, place), is_last=place == limit):
                break
        if places.empty_odds is not None:
            self.arbitration.choices.append(places.empty_odds.of(Choice(placement, lineup.channel)))

    def send(self, lineup: Lineup) -> None:
        """Fill the channels of the campaigns whose triggers fire."""
        contenders = lineup.contenders
        self.arbitration.contend(
            [contender for contender in contenders if contender.candidate.transactional]
        )
        pool = [contender for contender in contenders if not contender.candidate.transactional]
        if pool:
            _Rounds(self.arbitration, pool, self.chooser.field(pool, self.context_bin)).run()


class _PlaceWinner(Struct, frozen=True):
    """Winner of a place: the index of its candidate, its content, and its odds."""

    index: int
    content: _Content
    odds: Odds


@dataclass(slots=True)
class _Places:
    """Places of one placement. `indexes`: remaining candidates; `empty_odds`: odds of the
    empty choice, where it was drawn."""

    arbitration: Arbitration
    pool: Sequence[PricedCandidate]
    contest_field: Field
    indexes: list[int] = field(init=False)
    contents: dict[int, _Content] = field(default_factory=dict)
    empty_odds: Odds | None = None

    def __post_init__(self) -> None:
        self.indexes = list(range(len(self.pool)))

    def fill(self, slot: str, *, is_last: bool) -> bool:
        """Fill a place; return whether another may follow."""
        key = f"{self.arbitration.decision_id}/{slot}"
        self._hold_back(slot, key)
        winner = self._find_winner(slot, key)
        if winner is None:
            self._note_all(slot, key, BEATEN_BY + NOTHING)
            return False
        index = winner.index
        contender = self.contest_field.draw_worth(index, key)
        fate = self.arbitration.grant(contender, slot, winner.content, winner.odds)
        self.arbitration.note_fate(contender, slot, fate, self.contest_field.evidence(index))
        self.indexes.remove(index)
        offer = None if is_last else _offer_key(contender.candidate)
        self._note_all(slot, key, BEATEN_BY + contender.candidate.treatment, offer)
        return not is_last and bool(self.indexes)

    def _hold_back(self, slot: str, key: str) -> None:
        """Note the candidates that a constraint holds back, and remove them; if few remain, render
        their contents."""
        self.arbitration.refresh()
        constraint_state = self.arbitration.constraint_state
        for index in tuple(self.indexes):
            candidate = self.pool[index].candidate
            if constraint_state.is_open and not candidate.consents:
                continue
            objection = constraint_state.objection(candidate)
            if objection is not None:
                self._remove(index, slot, key, objection)
        if len(self.indexes) <= _MAX_PRERENDERS:
            for index in tuple(self.indexes):
                self._render_content(index, slot, key)

    def _find_winner(self, slot: str, key: str) -> _PlaceWinner | None:
        """Return the winner of the place; transactional messages come before all others."""
        for index in tuple(self.indexes):
            if self.pool[index].candidate.transactional:
                content = self._render_content(index, slot, key)
                if content is not None:
                    return _PlaceWinner(index, content, CERTAIN_ODDS)
        while self.indexes:
            result = self.contest_field.draw(self.indexes, key)
            if result.index is None:
                self._say_nothing(slot, result)
                return None
            available = tuple(self.indexes)
            content = self._render_content(result.index, slot, key)
            if content is not None:
                odds = Odds(self.contest_field.chance(available, result.index), result.explored)
                self._note_chances(slot, available)
                return _PlaceWinner(result.index, content, odds)
        self._say_nothing(slot, DrawResult(None))
        return None

    def _say_nothing(self, slot: str, result: DrawResult) -> None:
        if "#" not in slot:
            chance = self.contest_field.chance(self.indexes, None) if self.indexes else 1.0
            self.empty_odds = Odds(chance, result.explored)
            self._note_chances(slot, self.indexes)

    def _note_chances(self, slot: str, available: Sequence[int]) -> None:
        """Note the probabilities of the first place's candidates."""
        if self.arbitration.rules.with_chances and available and "#" not in slot:
            chance = self.contest_field.chance
            chances_by_index = {index: chance(available, index) for index in available}
            nothing_chance = chance(available, None)
            self.arbitration.chances[slot] = _chances_by_treatment(
                self.pool, chances_by_index, nothing_chance
            )

    def _render_content(self, index: int, slot: str, key: str) -> _Content | None:
        content = self.contents.get(index)
        if content is None:
            rendering = render(self.pool[index].candidate.content, self.arbitration.moment.facts)
            if isinstance(rendering, RenderFailure):
                self._remove(index, slot, key, f"content {rendering.reason}")
                return None
            content = self.contents[index] = rendering
        return content

    def _note_all(
        self, slot: str, key: str, fate: str, offer: tuple[str, str] | None = None
    ) -> None:
        """Note the fate of all remaining candidates, or of those of one offer, and remove them."""
        noted_indexes, other_indexes = self.indexes, []
        if offer is not None:
            noted_indexes = [
                index for index in self.indexes if _offer_key(self.pool[index].candidate) == offer
            ]
            other_indexes = [
                index for index in self.indexes if _offer_key(self.pool[index].candidate) != offer
            ]
        note_fate, draw_worth = self.arbitration.note_fate, self.contest_field.draw_worth
        for index in noted_indexes:
            note_fate(draw_worth(index, key), slot, fate, self.contest_field.evidence(index))
        self.indexes = other_indexes

    def _remove(self, index: int, slot: str, key: str, fate: str) -> None:
        self.indexes.remove(index)
        self.arbitration.note_fate(
            self.contest_field.draw_worth(index, key),
            slot,
            fate,
            self.contest_field.evidence(index),
        )


@dataclass(slots=True)
class _Rounds:
    """Rounds of outbound draws. `objections`: constraint that keeps a candidate from all rounds,
    by candidate; `render_failures`: reason for which a candidate's content cannot be rendered."""

    arbitration: Arbitration
    pool: Sequence[PricedCandidate]
    contest_field: Field
    objections: dict[int, str] = field(default_factory=dict)
    render_failures: dict[int, str] = field(default_factory=dict)
    competitors: frozenset[int] = frozenset()
    contents: dict[int, _Content] = field(default_factory=dict)
    results: list[DrawResult] = field(default_factory=list)
    _available_by_winners: dict[frozenset[int], tuple[int, ...]] = field(default_factory=dict)

    def run(self) -> None:
        """Fill the channels."""
        self.arbitration.refresh()
        self._hold_back()
        self.competitors = self._find_competitors()
        if len(self.competitors) <= _MAX_PRERENDERS:
            for index in sorted(self.competitors):
                self._render_content(index)
        contents = self._draw_all()
        chances = self._chances()
        winners = [result.index for result in self.results if result.index is not None]
        key = self._key(max(len(self.results), 1))
        fates = self.objections | self.render_failures
        for result, content in zip(self.results, contents, strict=False):
            assert result.index is not None
            contender = self.contest_field.draw_worth(
                result.index, self._key(winners.index(result.index) + 1)
            )
            odds = Odds(chances[result.index], result.explored)
            fate = self.arbitration.grant(contender, contender.candidate.channel, content, odds)
            self.arbitration.note_fate(
                contender,
                contender.candidate.channel,
                fate,
                self.contest_field.evidence(result.index),
            )
        self.arbitration.refresh()
        for index, contender in enumerate(self.pool):
            if index not in winners:
                fate = fates.get(index) or self._fate(contender.candidate, winners)
                drawn_contender = self.contest_field.draw_worth(index, key)
                self.arbitration.note_fate(
                    drawn_contender,
                    contender.candidate.channel,
                    fate,
                    self.contest_field.evidence(index),
                )
        self._say_nothing(winners, chances)

    def _find_competitors(self) -> frozenset[int]:
        """Return the competitors: all, unless they are many and several may win."""
        free_indexes = [index for index in range(len(self.pool)) if index not in self.objections]
        candidates = [self.pool[index].candidate for index in free_indexes]
        has_one_winner = len({candidate.channel for candidate in candidates}) < 2 or (
            len({candidate.campaign for candidate in candidates}) < 2
        )
        if has_one_winner or len(free_indexes) <= _MAX_COMPETITORS:
            return frozenset(free_indexes)
        return frozenset(
            sorted(free_indexes, key=lambda index: -self.contest_field.optimistic_score(index))[
                :_MAX_COMPETITORS
            ]
        )

    def _hold_back(self) -> None:
        """Note the candidates that a constraint holds back before the first draw."""
        constraint_state = self.arbitration.constraint_state
        for index, contender in enumerate(self.pool):
            objection = constraint_state.objection(contender.candidate)
            if objection is not None:
                self.objections[index] = objection

    def _draw_all(self) -> list[_Content]:
        """Draw all rounds, and again without candidates whose rendering fails; return the
        contents."""
        while True:
            self.results = []
            winners: frozenset[int] = frozenset()
            while available := self._available_indexes(winners):
                result = self.contest_field.draw(available, self._key(len(self.results) + 1))
                if result.index is None:
                    break
                self.results.append(result)
                winners |= {result.index}
            contents = [
                self._render_content(result.index)
                for result in self.results
                if result.index is not None
            ]
            complete_contents = [content for content in contents if content is not None]
            if len(complete_contents) == len(contents):
                return complete_contents
            self._available_by_winners.clear()

    def _render_content(self, index: int) -> _Content | None:
        content = self.contents.get(index)
        if content is None:
            rendering = render(self.pool[index].candidate.content, self.arbitration.moment.facts)
            if isinstance(rendering, RenderFailure):
                self.render_failures[index] = f"content {rendering.reason}"
                return None
            content = self.contents[index] = rendering
        return content

    def _available_indexes(self, winners: frozenset[int]) -> tuple[int, ...]:
        """Return the competitors that can still win once `winners` have."""
        competitors = self._available_by_winners.get(winners)
        if competitors is None:
            competitors = self._available_by_winners[winners] = tuple(
                self._remaining_indexes(winners)
            )
        return competitors

    def _remaining_indexes(self, winners: frozenset[int]) -> list[int]:
        winning_candidates = [self.pool[winner].candidate for winner in winners]
        campaigns = {candidate.campaign for candidate in winning_candidates}
        channels = {candidate.channel for candidate in winning_candidates}
        free_indexes = [
            index
            for index in sorted(self.competitors - winners - self.render_failures.keys())
            if self.pool[index].candidate.campaign not in campaigns
            and self.pool[index].candidate.channel not in channels
        ]
        if not winners or not free_indexes:
            return free_indexes
        contacts = [
            self.arbitration.contact(candidate, candidate.channel)
            for candidate in winning_candidates
        ]
        spent_tokens = self.arbitration.spent_tokens.copy()
        for candidate in winning_candidates:
            spent_tokens.update(dict(candidate.draws))
        constraint_state = self.arbitration.constraint_state.update(
            (*self.arbitration.counted_contacts(), *contacts), spent_tokens
        )
        return [
            index
            for index in free_indexes
            if constraint_state.objection(self.pool[index].candidate) is None
        ]

    def _chances(self) -> defaultdict[int, float]:
        """Return each candidate's probability of winning its channel, over all rounds."""
        chances: defaultdict[int, float] = defaultdict(float)
        states: dict[frozenset[int], float] = {frozenset(): 1.0}
        while states:
            next_states: defaultdict[frozenset[int], float] = defaultdict(float)
            for winners, probability in states.items():
                available = self._available_indexes(winners)
                for index in available:
                    chance = probability * self.contest_field.chance(available, index)
                    chances[index] += chance
                    if chance > 0 and self._available_indexes(winners | {index}):
                        next_states[winners | {index}] += chance
            states = next_states
        return chances

    def _fate(self, candidate: CompiledCandidate, winners: Sequence[int]) -> str:
        for index in winners:
            winner_candidate = self.pool[index].candidate
            if (
                winner_candidate.campaign == candidate.campaign
                or winner_candidate.channel == candidate.channel
            ):
                return BEATEN_BY + winner_candidate.treatment
        return self.arbitration.constraint_state.objection(candidate) or BEATEN_BY + NOTHING

    def _say_nothing(self, winners: Sequence[int], chances: defaultdict[int, float]) -> None:
        """Note the channels that send nothing, each with the probability of that."""
        filled_channels = {self.pool[winner].candidate.channel for winner in winners}
        for slot in dict.fromkeys(contender.candidate.channel for contender in self.pool):
            indexes = [
                index
                for index, contender in enumerate(self.pool)
                if contender.candidate.channel == slot
            ]
            nothing_chance = max(1 - sum(chances[index] for index in indexes), 0.0)
            if self.arbitration.rules.with_chances:
                chances_by_index = {index: chances[index] for index in indexes}
                self.arbitration.chances[slot] = _chances_by_treatment(
                    self.pool, chances_by_index, nothing_chance
                )
            if slot not in filled_channels:
                self.arbitration.choices.append(Odds(nothing_chance).of(Choice(slot, slot)))

    def _key(self, number: int) -> str:
        return f"{self.arbitration.decision_id}/sent#{number}"


def _chances_by_treatment(
    pool: Sequence[PricedCandidate], chances: Mapping[int, float], nothing_chance: float
) -> dict[str, float]:
    """Return the chances of candidates by the names of their treatments, and that of nothing."""
    chances_by_name = {NO_TREATMENT: nothing_chance}
    for index, chance in chances.items():
        name = pool[index].candidate.treatment
        chances_by_name[name] = chances_by_name.get(name, 0.0) + chance
    return chances_by_name


def _offer_key(candidate: CompiledCandidate) -> tuple[str, str]:
    return candidate.campaign, candidate.offer
