"""Slots of one decision: who competes for each, and who fills it."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from pipeline.decisioning.arbitrate import Arbitration
from pipeline.decisioning.constraints import Standing
from pipeline.decisioning.drawing import Drawing
from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.history import Remembered
from pipeline.decisioning.holdouts import FilledSlots, HoldoutDraws, fill_slots
from pipeline.decisioning.impact import arm_of, field_maker
from pipeline.decisioning.lineup import Lineup, LineupMaker, Roster, Vacancy
from pipeline.model.decision import Assignment, BudgetRead
from pipeline.rules import Rules


class SlotResults(Struct, frozen=True):
    """Slots of a decision as they were filled; `drawn`: holdouts that it drew; `arm`: that of the
    impact tests; `read`: the budgets as it read them."""

    roster: Roster
    filled: FilledSlots
    drawn: dict[str, Assignment]
    arm: str | None
    read: tuple[BudgetRead, ...]


class Slots(Struct, frozen=True):
    """Slots of a decision for a customer with the history `known`; `context_bin`: circumstances
    that are learned about apart."""

    decision_id: str
    moment: Moment
    known: Remembered
    rules: Rules
    context_bin: str

    def fill(self, vacancies: Iterable[Vacancy]) -> SlotResults:
        """Line up the candidates and let them compete."""
        rules, moment, profile = self.rules, self.moment, self.moment.identity.profile_id
        arm = arm_of(rules.config.bundle.policies.impact_tests, profile)
        standing = Standing.of(rules.config.constraints, moment.facts, self.known, rules.wallet)
        funds = standing.funds
        roster = LineupMaker(moment, rules.propensities, funds, arm).line_up(vacancies)
        draws = HoldoutDraws(profile, moment.now_ms, self.known.holdouts)
        filled = fill_slots(
            roster.lineups, lambda lineups: self._contest(lineups, standing, arm), draws
        )
        read = () if funds is None else funds.read_budgets(roster.read)
        return SlotResults(roster, filled, draws.drawn, arm, read)

    def _contest(
        self, lineups: Sequence[Lineup], standing: Standing, arm: str | None
    ) -> Arbitration:
        made = Arbitration(self.decision_id, self.moment, self.known, self.rules, standing)
        chooser = field_maker(arm, self.rules.chooser)
        filling = made if chooser is None else Drawing(made, chooser, self.context_bin)
        for lineup in lineups:
            if lineup.placement is None:
                filling.send(lineup)
            else:
                filling.answer(lineup.placement, lineup)
        return made
