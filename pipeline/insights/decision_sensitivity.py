"""Sensitivity of decisions: factors that change winners, losses between offers, and effects of
rules.

A factor is made equal for all competitors of a slot (p and value: their mean; cost: 0; weight: 1)
and the scores (p × value − cost) × weight are compared again. The winner changes if another
competitor then has a higher score, if the winner's own score is then not above 0, or if a slot
without a winner gets one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.insights.decision_log import STAGES
from pipeline.insights.engines import Queries, QueryRow

NOTHING: Final = "nothing"
_SCORES: Final = {
    "p": "(mean_p * value - cost) * weight",
    "value": "(p * mean_value - cost) * weight",
    "cost": "p * value * weight",
    "weight": "p * value - cost",
}
_BUCKETS: Final = ("none", "below 1", "1 to 3", "3 or more")


@dataclass(frozen=True, slots=True)
class FactorSensitivity:
    """Number of contests for a slot, and number (`changed`) and share of contests whose winner
    changes without the factor."""

    factor: str
    contests: int
    changed: int
    share: float


@dataclass(frozen=True, slots=True)
class OfferLosses:
    """Number of times that an offer lost to another, or to `nothing`, by its score."""

    offer: str
    to: str
    times: int


@dataclass(frozen=True, slots=True)
class FunnelRule:
    """Number of candidates that a rule rejected (`fell`), and of candidates `left` after it;
    `share_left`: share of these in the candidates before the first rule."""

    stage: str
    rule: str
    fell: int
    left: int
    share_left: float


@dataclass(frozen=True, slots=True)
class Optionality:
    """Candidates left after a rule: the mean per decision, and numbers of customers by the mean of
    their decisions."""

    after: str
    mean_left: float
    customers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class NeverWon:
    """Treatment that never won a slot; `offer`: None if it was never a candidate; `considered`:
    number of times that it was a candidate for a slot (`candidate`) or that a rule rejected it
    before; `mostly`, `mostly_times`: the rule that excluded it most often, and how often."""

    treatment: str
    offer: str | None
    considered: int
    candidate: int
    mostly: str
    mostly_times: int


@dataclass(frozen=True, slots=True)
class DecisionGroup:
    """Figures of the decisions of a segment or a time, or of all."""

    group: str
    decisions: int
    customers: int
    candidates: int
    chosen: int
    sensitivity: tuple[FactorSensitivity, ...]
    losses: tuple[OfferLosses, ...]
    funnel: tuple[FunnelRule, ...]
    optionality: tuple[Optionality, ...]
    never_won: tuple[NeverWon, ...]


def decision_groups(queries: Queries) -> tuple[DecisionGroup, ...]:
    """Return the figures of each group of the loaded decisions."""
    figures = _Figures(queries)
    return tuple(figures.describe_group(*row) for row in figures.sizes)


class _Figures:
    """Rows of each statistic, by group of decisions."""

    def __init__(self, queries: Queries) -> None:
        self.sizes = queries.rows(_SIZES)
        order = queries.rows(_ORDER)
        self._rules = [(int(stage), str(rule)) for stage, rule in order]
        self._sensitivity = _group_rows(queries.rows(_sensitivity()))
        self._losses = _group_rows(queries.rows(_LOSSES))
        self._exclusions = _group_rows(queries.rows(_RULES))
        self._treatments = _group_rows(queries.rows(_TREATMENTS))
        self._reasons = _group_rows(queries.rows(_REASONS))
        self._optionality_rows = _group_rows(
            queries.rows(_optionality(self._rules)) if self._rules else []
        )

    def describe_group(
        self,
        name: str,
        decision_count: int,
        customer_count: int,
        candidate_count: int,
        choice_count: int,
    ) -> DecisionGroup:
        return DecisionGroup(
            name,
            decision_count,
            customer_count,
            candidate_count,
            choice_count,
            tuple(_factors(self._sensitivity[name])),
            tuple(OfferLosses(*row) for row in self._losses[name]),
            tuple(self._funnel(name, candidate_count)),
            tuple(self._optionality(name, decision_count)),
            tuple(self._never_won(name)),
        )

    def _funnel(self, name: str, candidate_count: int) -> Iterator[FunnelRule]:
        rejections = {(stage, rule): count for stage, rule, count in self._exclusions[name]}
        remaining_count = candidate_count
        for stage, rule in self._rules:
            if (stage, rule) in rejections:
                remaining_count -= rejections[stage, rule]
                share = remaining_count / candidate_count
                yield FunnelRule(
                    STAGES[stage], rule, rejections[stage, rule], remaining_count, share
                )

    def _optionality(self, name: str, decisions: int) -> Iterator[Optionality]:
        for number, remaining_count, *buckets in self._optionality_rows[name]:
            _, rule = self._rules[number]
            counts = dict(zip(_BUCKETS, buckets, strict=True))
            yield Optionality(rule, remaining_count / decisions, counts)

    def _never_won(self, name: str) -> Iterator[NeverWon]:
        reasons = {treatment: (rule, times) for treatment, rule, times in self._reasons[name]}
        for treatment, offer, appearances, candidate, wins in self._treatments[name]:
            if not wins:
                rule, times = reasons[treatment]
                yield NeverWon(treatment, offer, appearances, candidate, rule, times)


def _group_rows(rows: Iterable[QueryRow]) -> defaultdict[str, list[QueryRow]]:
    rows_by_group: defaultdict[str, list[QueryRow]] = defaultdict(list)
    for group, *rest in rows:
        rows_by_group[group].append(tuple(rest))
    return rows_by_group


def _factors(rows: Sequence[QueryRow]) -> Iterator[FactorSensitivity]:
    for contests, *change_counts in rows:
        for factor, count in zip(_SCORES, change_counts, strict=True):
            yield FactorSensitivity(factor, contests, int(count), int(count) / contests)


_SIZES: Final = """
WITH sized AS (
    SELECT decision_id, count(*) AS candidates, sum(won) AS won FROM (
        SELECT decision_id, CASE WHEN fate = 'chosen' THEN 1 ELSE 0 END AS won FROM entries
        UNION ALL SELECT decision_id, 0 AS won FROM rejections
    ) AS both_tables GROUP BY decision_id
)
SELECT d.grp, count(*), count(DISTINCT d.profile_id), CAST(sum(s.candidates) AS BIGINT),
    CAST(sum(s.won) AS BIGINT)
FROM decided AS d JOIN sized AS s ON d.decision_id = s.decision_id GROUP BY d.grp ORDER BY d.grp
"""

_ORDER: Final = """
SELECT stage, rule FROM exclusions GROUP BY stage, rule ORDER BY stage, count(*) DESC, rule
"""
"""Rules by stage and, within a stage, by the number of their rejections, since the log does not
contain the order in which the configuration checks them."""

_RULES: Final = """
SELECT d.grp, f.stage, f.rule, count(*) FROM exclusions AS f
JOIN decided AS d ON f.decision_id = d.decision_id GROUP BY d.grp, f.stage, f.rule
"""

_LOSSES: Final = f"""
SELECT d.grp, c.offer, coalesce(c.winner, '{NOTHING}') AS lost_to, count(*) AS times
FROM contests AS c JOIN decided AS d ON c.decision_id = d.decision_id
WHERE NOT c.won GROUP BY d.grp, c.offer, coalesce(c.winner, '{NOTHING}')
ORDER BY d.grp, times DESC, c.offer, lost_to
"""

_TREATMENTS: Final = """
SELECT d.grp, t.treatment, max(t.offer), count(*) AS considered,
    CAST(sum(t.candidate) AS BIGINT), CAST(sum(t.won) AS BIGINT)
FROM (
    SELECT decision_id, treatment, offer, 1 AS candidate, CASE WHEN won THEN 1 ELSE 0 END AS won
    FROM entries
    UNION ALL
    SELECT decision_id, treatment, CAST(NULL AS VARCHAR) AS offer, 0 AS candidate, 0 AS won
    FROM rejections
) AS t JOIN decided AS d ON t.decision_id = d.decision_id
GROUP BY d.grp, t.treatment ORDER BY d.grp, considered DESC, t.treatment
"""

_REASONS: Final = """
SELECT grp, treatment, rule, times FROM (
    SELECT d.grp AS grp, f.treatment AS treatment, f.rule AS rule, count(*) AS times,
        row_number() OVER (
            PARTITION BY d.grp, f.treatment ORDER BY count(*) DESC, f.rule) AS nth
    FROM exclusions AS f JOIN decided AS d ON f.decision_id = d.decision_id
    GROUP BY d.grp, f.treatment, f.rule
) AS ranked WHERE nth = 1
"""


def _sensitivity() -> str:
    """Return the query that counts the contests whose winner changes without each factor."""
    scores = ", ".join(f"{score} AS without_{name}" for name, score in _SCORES.items())
    sides = ", ".join(
        f"max(CASE WHEN won THEN without_{name} END) AS its_{name}, "
        f"max(CASE WHEN NOT won THEN without_{name} END) AS other_{name}"
        for name in _SCORES
    )
    change_counts = ", ".join(
        f"sum(CASE WHEN coalesce(other_{name}, 0) > coalesce(its_{name}, 0) "
        f"OR its_{name} <= 0 THEN 1 ELSE 0 END) AS changed_{name}"
        for name in _SCORES
    )
    return f"""
        WITH averaged AS (
            SELECT decision_id, slot, won, p, value, cost, weight,
                avg(p) OVER (PARTITION BY decision_id, slot) AS mean_p,
                avg(value) OVER (PARTITION BY decision_id, slot) AS mean_value
            FROM contests
        ), scored AS (SELECT decision_id, slot, won, {scores} FROM averaged),
        compared AS (SELECT decision_id, slot, {sides} FROM scored GROUP BY decision_id, slot)
        SELECT d.grp, count(*), {change_counts} FROM compared AS c
        JOIN decided AS d ON c.decision_id = d.decision_id GROUP BY d.grp
    """


def _optionality(rules: Sequence[tuple[int, str]]) -> str:
    """Return the query of the candidates left to a customer by each rule, as means of decisions."""
    rule_rows = " UNION ALL ".join(
        f"SELECT {number} AS number, {stage} AS stage, '{_escape(rule)}' AS rule"
        for number, (stage, rule) in enumerate(rules)
    )
    return f"""
        WITH rules AS ({rule_rows}), sized AS (
            SELECT decision_id, count(*) AS candidates FROM (
                SELECT decision_id FROM entries UNION ALL SELECT decision_id FROM rejections
            ) AS both_tables GROUP BY decision_id
        ), customers AS (
            SELECT d.grp AS grp, d.profile_id AS profile_id, count(*) AS decisions,
                sum(s.candidates) AS candidates
            FROM decided AS d JOIN sized AS s ON d.decision_id = s.decision_id
            GROUP BY d.grp, d.profile_id
        ), rejected AS (
            SELECT d.grp AS grp, d.profile_id AS profile_id, r.number AS number, count(*) AS n
            FROM exclusions AS f JOIN decided AS d ON f.decision_id = d.decision_id
            JOIN rules AS r ON f.stage = r.stage AND f.rule = r.rule
            GROUP BY d.grp, d.profile_id, r.number
        ), remaining AS (
            SELECT c.grp AS grp, r.number AS number, c.decisions AS decisions,
                c.candidates - sum(coalesce(f.n, 0)) OVER (
                    PARTITION BY c.grp, c.profile_id ORDER BY r.number) AS remaining
            FROM customers AS c CROSS JOIN rules AS r
            LEFT JOIN rejected AS f ON f.grp = c.grp AND f.profile_id = c.profile_id
                AND f.number = r.number
        )
        SELECT grp, number, CAST(sum(remaining) AS BIGINT),
            CAST(sum(CASE WHEN remaining = 0 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN remaining > 0 AND remaining < decisions
                THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN remaining >= decisions AND remaining < 3 * decisions
                THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN remaining >= 3 * decisions THEN 1 ELSE 0 END) AS BIGINT)
        FROM remaining GROUP BY grp, number ORDER BY grp, number
    """


def _escape(text: str) -> str:
    return text.replace("'", "''")
