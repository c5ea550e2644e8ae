"""Location of the customer, by the device's address."""

from collections.abc import Mapping

from pipeline.config.derived import CITY, COUNTRY, GEO, REGION
from pipeline.model.interaction import Interaction, Scalar
from pipeline.rules.enricher import Places


class GeoEnricher:
    """Enricher of `country`, `region` and `city`."""

    names = GEO

    def __init__(self, places: Places) -> None:
        self._places = places

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        address = interaction.context.ip
        place = None if address is None else self._places(address)
        if place is None:
            return {}
        names = {COUNTRY: place.country, REGION: place.region, CITY: place.city}
        return {name: value for name, value in names.items() if value is not None}
