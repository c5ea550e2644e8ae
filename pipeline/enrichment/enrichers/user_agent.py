"""Device of the customer, by the user agent of the browser or app."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final

from ua_parser import Parser, Result
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from pipeline.config.derived import BOT, BROWSER, DEVICE_TYPE, OS, USER_AGENT
from pipeline.model.interaction import Interaction, Scalar

_CACHE_SIZE: Final = 10_000
"""Size of the cache: a few thousand user agents make up nearly all traffic."""
_MAX_LENGTH: Final = 1_024
"""Maximum of parsed characters, so that the cache stays small."""

_HANDHELD_SYSTEMS: Final = frozenset(
    ("iOS", "Android", "Windows Phone", "KaiOS", "BlackBerry OS", "Sailfish")
)
_TELEVISION_SYSTEMS: Final = frozenset(
    ("Tizen", "WebOS", "Web0S", "tvOS", "ATV OS X", "Chromecast Linux", "Chromecast", "FireTV",
     "Roku")
)  # fmt: skip
_TELEVISION: Final = re.compile(
    r"TV\b|\bTV|AFT[A-Z0-9]{1,6}\b|BRAVIA|MiBOX|MITV|CrKey|VIERA|SmartHub"
)
"""Televisions and devices for them: `AFT…` are Amazon's sticks, `CrKey` is Chromecast."""

_TABLET: Final = re.compile(
    r"ipad|tablet|kindle|xoom|slate|\bpixel c\b|nexus (7|9|10)\b"
    r"|\b(sm-[txp]|gt-p|sgp|kf[a-z]{2,6}\b)"  # Samsung, Sony, Amazon
    r"|\btb-?[0-9x]|\b(yoga|galaxy|lenovo) ?tab|\btab\b|[a-z ]pad\b",  # Lenovo and others
    re.IGNORECASE,
)
"""Models of tablets, in user agents of apps, which do not name the type of device."""

_CONSOLE: Final = re.compile(r"Xbox|PlayStation|Nintendo")
_AUTOMATION: Final = re.compile(r"HeadlessChrome|PhantomJS|Chrome-Lighthouse")
_BROWSER: Final = re.compile(r"AppleWebKit/|Gecko/")

_DESKTOP_SYSTEMS: Final = frozenset(
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
    """Enricher of `device_type`, `os`, `browser` and `bot`."""

    names = USER_AGENT

    def derive(self, interaction: Interaction) -> Mapping[str, Scalar]:
        text = interaction.context.user_agent
        return {} if not text else _parse(text[:_MAX_LENGTH])


@cache
def _parser() -> Parser:
    """Return the parser with the locked list of expressions, created on first use."""
    return Parser(Resolver(load_lazy_builtins()))


@lru_cache(maxsize=_CACHE_SIZE)
def _parse(text: str) -> Mapping[str, Scalar]:
    agent = _parser().parse(text)
    is_spider = agent.device is not None and agent.device.family == "Spider"
    is_bot = is_spider or _AUTOMATION.search(text) is not None
    values: dict[str, Scalar] = {
        DEVICE_TYPE: "bot" if is_bot else _device_type(text, agent),
        BOT: is_bot,
    }
    if agent.os is not None:
        values[OS] = agent.os.family
    if agent.user_agent is not None:
        values[BROWSER] = agent.user_agent.family
    return values


def _device_type(text: str, result: Result) -> str:
    os = "" if result.os is None else result.os.family
    if os in _TELEVISION_SYSTEMS or _TELEVISION.search(text):
        return "tv"
    if _CONSOLE.search(text):
        return "other"
    if _is_tablet(text, os, result):
        return "tablet"
    if os in _HANDHELD_SYSTEMS or "Mobile" in text:
        return "mobile"
    return "desktop" if os in _DESKTOP_SYSTEMS else "other"


def _is_tablet(text: str, os: str, result: Result) -> bool:
    """Return whether a device is a tablet, by its model or, on Android, by the lack of "Mobile".

    On Android a browser's user agent contains "Mobile" on a phone only. User agents of other apps
    (Dalvik, okhttp, an app's own name) never contain it, and are classified by the model alone.
    """
    device = "" if result.device is None else f"{result.device.family} {result.device.model or ''}"
    if _TABLET.search(device) or (os != "iOS" and "Tablet" in text):
        return True
    return os == "Android" and _BROWSER.search(text) is not None and "Mobile" not in text
