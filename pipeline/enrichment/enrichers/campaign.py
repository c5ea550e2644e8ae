"""Campaign that brought the customer: Segment's `context.campaign`, or the URL's parameters."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pipeline.config.derived import (
    AD_NETWORK,
    CAMPAIGN_PARTS,
    CAMPAIGN_PREFIX,
    CAMPAIGN_TAGS,
    CLICK_ID,
)
from pipeline.model.interaction import Interaction, Scalar

_UTM: Final = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}
_CLICK_PARAMETERS: Final = {
    "gclid": "google",
    "gbraid": "google",
    "wbraid": "google",
    "dclid": "google",
    "fbclid": "meta",
    "msclkid": "microsoft",
    "ttclid": "tiktok",
    "twclid": "x",
    "li_fat_id": "linkedin",
}
"""Advertising network by the parameter that it adds to URLs."""
_MAX_PARAMETERS: Final = 100
_MAX_URL_LENGTH: Final = 8_192


class CampaignEnricher:
    """Enricher of `campaign_source` and the other tags, `ad_network` and `click_id`."""

    names = CAMPAIGN_TAGS

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        context = interaction.context
        parameters = _parameters(context.url)
        values: dict[str, Scalar] = {
            CAMPAIGN_PREFIX + part: parameters[name]
            for name, part in _UTM.items()
            if name in parameters
        }
        for part in CAMPAIGN_PARTS:
            if tag := context.campaign.get(part):
                values[CAMPAIGN_PREFIX + part] = tag
        for name, network in _CLICK_PARAMETERS.items():
            if name in parameters:
                values |= {AD_NETWORK: network, CLICK_ID: parameters[name]}
                break
        return values


def _parameters(url: str | None) -> dict[str, str]:
    """Return the first value of each parameter; none for an invalid URL."""
    if url is None or "?" not in url:
        return {}
    try:
        query = urlsplit(url[:_MAX_URL_LENGTH]).query
        pairs = parse_qsl(query, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return {}
    return dict(reversed(pairs))
