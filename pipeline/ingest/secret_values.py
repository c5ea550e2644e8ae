"""Secrets of watches, from variables of the watching process's environment."""

import errno
from collections.abc import Mapping

from pipeline.config import model
from pipeline.row_files.decrypting import PgpKey


def secret_value(reference: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the value of the variable that `${NAME}` names; None without a reference. Raises
    OSError if the variable is not set."""
    if reference is None:
        return None
    name = reference.removeprefix("${").removesuffix("}")
    value = environment.get(name)
    if not value:
        raise OSError(errno.ENOENT, f"the environment has no {name}")
    return value


def pgp_key(watch: model.Watch, environment: Mapping[str, str]) -> PgpKey | None:
    """Return the private key of a watch; None if it has none. Raises OSError if its variables are
    not set."""
    if watch.pgp is None:
        return None
    text = secret_value(watch.pgp.key, environment)
    assert text is not None  # the field is required
    return PgpKey(text, secret_value(watch.pgp.passphrase, environment))
