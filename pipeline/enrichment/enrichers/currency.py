"""Amounts in the deployment's currency, by the rate of the interaction's day."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from pipeline.conditions import Facts
from pipeline.config import model
from pipeline.config.dates import start_ms
from pipeline.config.derived import UNKNOWN_CURRENCY
from pipeline.config.readers import is_number, reader
from pipeline.model.interaction import Interaction, Scalar

_DECIMALS: Final = 6


class CurrencyEnricher:
    """Enricher of each configured amount, or of `unknown_currency`."""

    def __init__(self, rules: model.Currency) -> None:
        self._target = rules.to
        self._code = reader(rules.currency)
        self._amounts = {name: reader(field) for name, field in rules.amounts.items()}
        self._rates: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for rate in sorted(rules.rates, key=lambda entry: start_ms(entry.since)):
            self._rates[rate.currency].append((start_ms(rate.since), rate.rate))
        self.names = (*rules.amounts, UNKNOWN_CURRENCY)

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        facts = Facts.of(interaction)
        values = {name: read(facts) for name, read in self._amounts.items() if read is not None}
        amounts = {name: value for name, value in values.items() if is_number(value)}
        if not amounts:
            return {}
        code = self._code(facts) if self._code is not None else None
        currency = self._target if code is None else str(code).strip().upper()
        rate = self._rate(currency, interaction.occurred_at)
        if rate is None:
            return {UNKNOWN_CURRENCY: currency}
        return {name: round(value * rate, _DECIMALS) for name, value in amounts.items()}

    def _rate(self, currency: str, at: int) -> float | None:
        """Return the rate at `at` (epoch ms); None: no rate of that time is configured."""
        if currency == self._target:
            return 1
        rates = self._rates.get(currency, [])
        index = bisect_right(rates, at, key=lambda rate: rate[0])
        return rates[index - 1][1] if index else None
