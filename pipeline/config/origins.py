"""Origins of pages that may use a write key: `https://shop.example`, `https://*.shop.example`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.config import model

_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?://)(?P<any>\*\.)?"
    r"(?P<host>[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?"
)
_DEFAULT_PORTS: Final = {"http://": ":80", "https://": ":443"}


@dataclass(frozen=True, slots=True)
class Origins:
    """Allowed origins: `full_origins`, and
    (scheme, suffix) pairs of all subdomains of a host."""

    full_origins: frozenset[str]
    subdomain_suffixes: tuple[tuple[str, str], ...]

    def allows(self, origin: str) -> bool:
        """Return whether a page with this `Origin` header may send."""
        return origin in self.full_origins or any(
            origin.startswith(scheme) and origin.endswith(suffix)
            for scheme, suffix in self.subdomain_suffixes
        )


def origins_by_source(sources: Sequence[model.Source]) -> Mapping[str, Origins]:
    """Compile the origins of the sources that restrict them."""
    return {
        source.name: _compile(source.origins) for source in sources if source.origins is not None
    }


def origin_problem(text: str) -> str | None:
    """Return the problem of an origin's form, with the correction; None without one."""
    if _ORIGIN.fullmatch(text.lower()):
        return None
    return "write an origin as https://shop.example or https://*.shop.example, without a path"


def _compile(origins: Sequence[str]) -> Origins:
    full_origins, subdomain_suffixes = set(), []
    for match in (_ORIGIN.fullmatch(text.lower()) for text in origins):
        if match is None:
            continue
        scheme = match["scheme"]
        port = "" if match["port"] == _DEFAULT_PORTS[scheme] else match["port"] or ""
        if match["any"]:
            subdomain_suffixes.append((scheme, f".{match['host']}{port}"))
        else:
            full_origins.add(f"{scheme}{match['host']}{port}")
    return Origins(frozenset(full_origins), tuple(subdomain_suffixes))
