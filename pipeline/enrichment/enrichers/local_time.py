"""What the clock on the customer's wall said."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pipeline.config import model
from pipeline.config.derived import HOUR, LOCAL_TIME, WEEKDAY
from pipeline.config.zones import zone
from pipeline.model.interaction import Interaction, Scalar

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class LocalTimeEnricher:
    """`hour` and `weekday`."""

    names = LOCAL_TIME

    def __init__(self, rules: model.LocalTime) -> None:
        self._usual = zone(rules.zone) or UTC

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        named = interaction.context.timezone
        here = (zone(named) if named is not None else None) or self._usual
        try:
            then = datetime.fromtimestamp(interaction.occurred_at / 1000, here)
        except (OverflowError, ValueError, OSError):
            return {}
        return {HOUR: then.hour, WEEKDAY: _DAYS[then.weekday()]}
