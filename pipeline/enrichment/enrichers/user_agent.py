"""The device in the customer's hand, by what its browser says of itself."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final

from ua_parser import Parser, Result
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from pipeline.config.derived import BOT, BROWSER, DEVICE_TYPE, OS, USER_AGENT
from pipeline.model.interaction import Interaction, Scalar

_KEPT: Final = 10_000
"""Parsed user agents that are remembered: a few thousand make up nearly all traffic."""
_LONGEST: Final = 1_024
"""Characters that are looked at, so that what is remembered stays small."""

_HANDHELD: Final = frozenset(
    ("iOS", "Android", "Windows Phone", "KaiOS", "BlackBerry OS", "Sailfish")
)
_SCREENS: Final = frozenset(("Tizen", "WebOS", "tvOS", "ATV OS X", "Chromecast", "FireTV", "Roku"))
_DESKS: Final = frozenset(
    (
        "Windows",
        "Mac OS X",
        "Linux",
        "Chrome OS",
        "Ubuntu",
        "Fedora",
        "Debian",
        "FreeBSD",
        "OpenBSD",
    )
)


class UserAgentEnricher:
    """`device_type`, `os`, `browser` and `bot`."""

    names = USER_AGENT

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        text = interaction.context.user_agent
        return {} if not text else _parsed(text[:_LONGEST])


@cache
def _parser() -> Parser:
    """Of the locked list of expressions; made at the first use."""
    return Parser(Resolver(load_lazy_builtins()))


@lru_cache(maxsize=_KEPT)
def _parsed(text: str) -> Mapping[str, Scalar]:
    found = _parser().parse(text)
    bot = found.device is not None and found.device.family == "Spider"
    derived: dict[str, Scalar] = {
        DEVICE_TYPE: "bot" if bot else _device_type(text, found),
        BOT: bot,
    }
    if found.os is not None:
        derived[OS] = found.os.family
    if found.user_agent is not None:
        derived[BROWSER] = found.user_agent.family
    return derived


def _device_type(text: str, found: Result) -> str:
    os = "" if found.os is None else found.os.family
    device = "" if found.device is None else f"{found.device.family} {found.device.brand}"
    if os in _SCREENS or "TV" in text or "TV" in device:
        return "tv"
    # Chrome says "Mobile" on a phone that runs Android, and nothing on a tablet.
    if "iPad" in device or "Tablet" in device or (os == "Android" and "Mobile" not in text):
        return "tablet"
    if os in _HANDHELD or "Mobile" in text:
        return "mobile"
    return "desktop" if os in _DESKS else "other"
