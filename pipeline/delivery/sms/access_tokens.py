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
_RENEWAL_S: Final = 2_700
"""Age at which a JWT is replaced: some providers refuse one older than an hour, others refuse new
ones that come too often."""

_RENEWAL_MARGIN_S: Final = 120
"""Time before a token's expiry at which it is renewed."""

_REQUEST_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _CachedToken:
    """Token, and the time (epoch s) of its renewal."""

    token: str
    renewal_s: float


class AccessTokens:
    """Access tokens of this process, by the provider's name."""

    def __init__(self, client: ClientSession) -> None:
        self._client = client
        self._cache: dict[str, _CachedToken] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def find(self, provider: Provider) -> str:
        """Return the provider's token; empty where it needs none. Raises MisconfiguredError."""
        grant = provider.request.access_token
        if grant is None:
            return ""
        async with self._locks[provider.provider]:
            entry = self._cache.get(provider.provider)
            if entry is None or entry.renewal_s < time.time():
                try:
                    entry = await self._renew(grant)
                except (ValueError, TypeError, JoseError) as error:
                    message = f"provider {provider.provider}: no access token: {error}"
                    raise MisconfiguredError(message) from error
                self._cache[provider.provider] = entry
        return entry.token

    def discard(self, provider: Provider, token: str) -> None:
        """Discard a refused token, so that the provider's next message renews it."""
        entry = self._cache.get(provider.provider)
        if entry is not None and entry.token == token:
            del self._cache[provider.provider]

    async def _renew(self, grant: ProviderToken) -> _CachedToken:
        """Obtain a new token. Raises ValueError, TypeError, JoseError."""
        now = time.time()
        assertion = _sign(grant, round(now))
        if grant.url is None:
            return _CachedToken(assertion, now + _RENEWAL_S)
        answer = await self._exchange(_expand(grant.url), assertion)
        token = text_at(answer, "access_token")
        if token is None:
            raise ValueError("the answer has no access_token")
        lifetime_s = float(text_at(answer, "expires_in") or _ASSERTION_S)
        return _CachedToken(token, now + max(0.0, lifetime_s - _RENEWAL_MARGIN_S))

    async def _exchange(self, url: str, assertion: str) -> Any:
        form = {"grant_type": _GRANT, "assertion": assertion}
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


def _sign(grant: ProviderToken, now: int) -> str:
    """Return the JWT. Raises ValueError, TypeError, JoseError."""
    key = _KEYS[grant.algorithm].import_key(_expand(grant.key).replace("\\n", "\n"))
    header = {"alg": grant.algorithm, **({"kid": _expand(grant.key_id)} if grant.key_id else {})}
    claims: dict[str, Any] = {"iss": _expand(grant.issuer), "iat": now}
    if grant.url is not None:
        claims |= {"aud": _expand(grant.url), "exp": now + _ASSERTION_S}
    if grant.scope is not None:
        claims["scope"] = grant.scope
    return jwt.encode(header, claims, key)


def _expand(text: str) -> str:
    value = expand_variables(text, os.environ)
    if value is None:
        raise ValueError(f"a variable in {text[:60]!r} is not set here")
    return value
