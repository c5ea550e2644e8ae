"""Access tokens of providers, kept until shortly before they expire."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from pipeline.adapters.json_paths import text_at
from pipeline.config.keys import expand_variables
from pipeline.config.model.providers import Provider, ProviderToken
from pipeline.delivery.retries import MisconfiguredError

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_KEYS: Final[Mapping[str, type[RSAKey] | type[ECKey]]] = {"RS256": RSAKey, "ES256": ECKey}
_ASSERTION_S: Final = 3_600
_KEPT_S: Final = 2_700
"""Time after which a new JWT is signed: some providers refuse one older than an hour, others too
frequent new ones."""

_EARLY_S: Final = 120
_REQUEST_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _KeptToken:
    """Token, and the time (epoch s) of its renewal."""

    token: str
    until_s: float


class AccessTokens:
    """Access tokens of this process, by the provider's name."""

    def __init__(self, client: ClientSession) -> None:
        self._client = client
        self._kept: dict[str, _KeptToken] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, provider: Provider) -> str:
        """Return the provider's token; empty where it needs none. Raises MisconfiguredError."""
        wanted = provider.request.access_token
        if wanted is None:
            return ""
        async with self._locks[provider.provider]:
            kept = self._kept.get(provider.provider)
            if kept is None or kept.until_s < time.time():
                try:
                    kept = await self._renew(wanted)
                except (ValueError, TypeError, JoseError) as error:
                    message = f"provider {provider.provider}: no access token: {error}"
                    raise MisconfiguredError(message) from error
                self._kept[provider.provider] = kept
        return kept.token

    def forget(self, provider: Provider, token: str) -> None:
        """Forget a refused token, so that the provider's next message renews it."""
        kept = self._kept.get(provider.provider)
        if kept is not None and kept.token == token:
            del self._kept[provider.provider]

    async def _renew(self, wanted: ProviderToken) -> _KeptToken:
        """Return a new token. Raises ValueError, TypeError, JoseError."""
        now = time.time()
        signed = _sign(wanted, round(now))
        if wanted.url is None:
            return _KeptToken(signed, now + _KEPT_S)
        answer = await self._exchange(_expand(wanted.url), signed)
        token = text_at(answer, "access_token")
        if token is None:
            raise ValueError("the answer has no access_token")
        lasts = text_at(answer, "expires_in") or str(_ASSERTION_S)
        return _KeptToken(token, now + max(0.0, float(lasts) - _EARLY_S))

    async def _exchange(self, url: str, signed: str) -> Any:
        form = {"grant_type": _GRANT, "assertion": signed}
        timeout = ClientTimeout(_REQUEST_S)
        try:
            async with self._client.post(
                url, data=form, timeout=timeout, allow_redirects=False
            ) as answer:
                raw = await answer.read()
        except (ClientError, TimeoutError) as error:
            raise ValueError(type(error).__name__) from error
        if not answer.ok:
            raise ValueError(f"status {answer.status}")
        return msgspec.json.decode(raw)


def _sign(wanted: ProviderToken, now: int) -> str:
    """Return the JWT. Raises ValueError, TypeError, JoseError."""
    key = _KEYS[wanted.algorithm].import_key(_expand(wanted.key).replace("\\n", "\n"))
    header = {"alg": wanted.algorithm, **({"kid": _expand(wanted.key_id)} if wanted.key_id else {})}
    claims: dict[str, Any] = {"iss": _expand(wanted.issuer), "iat": now}
    if wanted.url is not None:
        claims |= {"aud": _expand(wanted.url), "exp": now + _ASSERTION_S}
    if wanted.scope is not None:
        claims["scope"] = wanted.scope
    return jwt.encode(header, claims, key)


def _expand(text: str) -> str:
    expanded = expand_variables(text, os.environ)
    if expanded is None:
        raise ValueError(f"a variable in {text[:60]!r} is not set here")
    return expanded
