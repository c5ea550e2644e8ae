"""Keys and secrets in a configuration: digests of keys, names of secrets.

An applied configuration is stored without end and has many readers, so it must hold neither in
clear.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from pipeline.config.model import SECRET_PATTERN, Bundle

_MARK: Final = "sha256:"
_DIGEST: Final = re.compile(_MARK + "[0-9a-f]{64}")
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_MASK: Final = "***"
_PREFIX_DIGITS: Final = 8
"""Digits of a digest in output: enough to distinguish keys."""


def key_digest(key: str) -> str:
    """Return the digest of a presented key, by which keys are looked up.

    A sender cannot choose a digest, so the duration of its comparison reveals nothing about a key.
    """
    return _MARK + sha256(key.encode(errors="surrogatepass")).hexdigest()


def stored_key(text: str) -> str:
    """Return the digest of a key as it is written in sources.yaml, which may be a digest."""
    return text if _DIGEST.fullmatch(text) else key_digest(text)


def replace_keys(bundle: Bundle) -> Bundle:
    """Return the bundle with digests in place of keys."""
    original_sources = bundle.sources
    sources = [
        replace(source, write_key=stored_key(source.write_key))
        for source in original_sources.sources
    ]
    servers = [replace(key, key=stored_key(key.key)) for key in original_sources.server_keys]
    new_sources = replace(original_sources, sources=tuple(sources), server_keys=tuple(servers))
    return replace(bundle, sources=new_sources)


def expand_variables(text: str, environment: Mapping[str, str]) -> str | None:
    """Return `text` with every `${NAME}` and `${NAME:-default}` replaced; None where one without a
    default is not set."""
    unset_variables = (
        name not in environment and default is None
        for name, default in map(re.Match.groups, _REFERENCE.finditer(text))
    )
    return None if any(unset_variables) else _substitute(text, environment)


def variable_names(bundle: Bundle) -> frozenset[str]:
    """Return the names of the variables that texts of the bundle refer to."""
    text = msgspec.json.encode(bundle).decode()
    return frozenset(name for name, _ in map(re.Match.groups, _REFERENCE.finditer(text)))


def _substitute(text: str, environment: Mapping[str, str], filler: str = "") -> str:
    """Return `text` with `filler` for variables that have neither a value nor a default."""

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        return environment.get(name, filler if default is None else default)

    return _REFERENCE.sub(value, text)


def reference_problem(text: str) -> str | None:
    """Return the problem of the references to variables in `text`; None without one."""
    if "${" not in _REFERENCE.sub("", text) and "$${" not in text:
        return None
    return "write ${NAME} or ${NAME:-default} for a variable of the adapter's environment"


def possible_texts(text: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the resolved `text` or, if `environment` lacks some of its variables, possible values
    of the text."""
    resolved_text = expand_variables(text, environment)
    if resolved_text is not None:
        return (resolved_text,)
    return tuple(_substitute(text, environment, filler) for filler in ("1", "x", "http://x"))


def mask_secrets(bundle: Bundle) -> Bundle:
    """Return the bundle as it may be shown: no key of a source or server in full, no secret of a
    source or channel, and no user or query in a channel's URL.

    Configurations that earlier versions applied may hold keys and secrets in clear.
    """
    original_sources = bundle.sources
    sources = [
        replace(source, write_key=_mask_key(source.write_key), secret=_mask_secret(source.secret))
        for source in original_sources.sources
    ]
    servers = [replace(key, key=_mask_key(key.key)) for key in original_sources.server_keys]
    channels = [
        replace(channel, secret=_mask_secret(channel.secret), url=_mask_url(channel.url))
        for channel in bundle.channels.channels
    ]
    return replace(
        bundle,
        sources=replace(original_sources, sources=tuple(sources), server_keys=tuple(servers)),
        channels=replace(bundle.channels, channels=tuple(channels)),
    )


def _mask_key(text: str) -> str:
    return stored_key(text)[: len(_MARK) + _PREFIX_DIGITS] + _MASK


def _mask_secret(text: str | None) -> str | None:
    is_reference = text is None or re.search(SECRET_PATTERN, text)
    return text if is_reference else _MASK


def _mask_url(text: str | None) -> str | None:
    if text is None:
        return None
    scheme, colon, address = text.partition("://")
    authority, slash, path_and_query = address.partition("/")
    _, at_sign, host = authority.rpartition("@")
    path, question_mark, _ = path_and_query.partition("?")
    user = _MASK + at_sign if at_sign else ""
    query = question_mark + _MASK if question_mark else ""
    return f"{scheme}{colon}{user}{host}{slash}{path}{query}"
