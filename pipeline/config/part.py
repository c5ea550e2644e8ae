"""Base of the configuration's records, and kinds of values that many of them have."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from pipeline.conditions.parse import NAME_PATTERN

Name: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN)]
SECRET_PATTERN: Final = r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$(?!\n)"
SecretName: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": SECRET_PATTERN})]
"""`${NAME}`: an environment variable of the process that uses the secret. Configurations that were
applied by earlier versions may hold the secret itself."""


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A piece of configuration: immutable, and unknown fields are errors."""
