"""Slots of one decision: the lineups, the contests and the holdouts that fill them."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from pipeline.decisioning.arbitrate import Arbitration
from pipeline.decisioning.constraints import ConstraintState
from pipeline.decisioning.drawing import Drawing
from pipeline.decisioning.eligibility import Moment
from pipeline.decisioning.history import CustomerHistory
from pipeline.decisioning.holdouts import FilledSlots, HoldoutDraws, fill_slots
from pipeline.decisioning.impact import arm_of, field_maker
from pipeline.decisioning.lineup import DecisionLineups, Lineup, LineupMaker, Vacancy
from pipeline.model.decision import Assignment, BudgetRead
from pipeline.rules import Rules


class SlotResults(Struct, frozen=True):
    """Filled slots of a decision; `new_draws`: holdouts that it drew; `arm`: of the impact tests;
    `budget_reads`: the budgets as it read them."""

    lineups: DecisionLineups
    filled_slots: FilledSlots
    new_draws: dict[str, Assignment]
    arm: str | None
    budget_reads: tuple[BudgetRead, ...]
    context_bin: str


class Slots(Struct, frozen=True):
    """Slots of a decision for a customer with the history `history`; `context_bin`: bin of the
    context for which evidence is kept apart."""

    decision_id: str
    moment: Moment
    history: CustomerHistory
    rules: Rules
    context_bin: str

    def fill(self, vacancies: Iterable[Vacancy]) -> SlotResults:
        """Line up the candidates and let them compete."""
        rules, moment, profile_id = self.rules, self.moment, self.moment.identity.profile_id
        arm = arm_of(rules.config.bundle.policies.impact_tests, profile_id)
        state = ConstraintState.of(
            rules.config.constraints, moment.facts, self.history, rules.wallet
        )
        funds = state.funds
        lineups = LineupMaker(moment, rules.propensities, funds, arm).line_up(vacancies)
        draws = HoldoutDraws(profile_id, moment.now_ms, self.history.holdouts)
        filled_slots = fill_slots(
            lineups.lineups,
            lambda lineups_to_fill: self._contest(lineups_to_fill, state, arm),
            draws,
        )
        budget_reads = () if funds is None else funds.read_budgets(lineups.budget_names)
        return SlotResults(
            lineups, filled_slots, draws.new_draws, arm, budget_reads, self.context_bin
        )

    def _contest(
        self, lineups: Sequence[Lineup], state: ConstraintState, arm: str | None
    ) -> Arbitration:
        arbitration = Arbitration(self.decision_id, self.moment, self.history, self.rules, state)
        chooser = field_maker(arm, self.rules.chooser)
        filler = arbitration if chooser is None else Drawing(arbitration, chooser, self.context_bin)
        for lineup in lineups:
            if lineup.placement is None:
                filler.send(lineup)
            else:
                filler.answer(lineup.placement, lineup)
        return arbitration
