"""Local time of the customer."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from pipeline.config import model
from pipeline.config.derived import HOUR, LOCAL_TIME, UNKNOWN_TIMEZONE, WEEKDAY
from pipeline.config.zones import zone
from pipeline.model.interaction import Interaction, Scalar

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_MAX_CHARACTERS: Final = 64
"""Maximum of reported characters of an unknown zone."""


class LocalTimeEnricher:
    """Enricher of `hour` and `weekday`; `unknown_timezone` where the default zone was used."""

    names = LOCAL_TIME

    def __init__(self, rules: model.LocalTime) -> None:
        self._default_zone = zone(rules.zone) or UTC

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        zone_name = interaction.context.timezone
        customer_zone = zone(zone_name) if zone_name else None
        try:
            local_time = datetime.fromtimestamp(
                interaction.occurred_at / 1000, customer_zone or self._default_zone
            )
        except (OverflowError, ValueError, OSError):
            return {}
        values: dict[str, Scalar] = {HOUR: local_time.hour, WEEKDAY: _DAYS[local_time.weekday()]}
        if zone_name and customer_zone is None:
            values[UNKNOWN_TIMEZONE] = zone_name[:_MAX_CHARACTERS]
        return values
