"""Base of the configuration's records, and kinds of values that many of them have."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from pipeline.conditions.duration import DURATION_PATTERN
from pipeline.conditions.parse import NAME_PATTERN

Name: TypeAlias = Annotated[str, Meta(pattern=NAME_PATTERN)]
SECRET_PATTERN: Final = r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$(?!\n)"
SecretName: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": SECRET_PATTERN})]
"""`${NAME}`: an environment variable of the process that uses the secret. Configurations that were
applied by earlier versions may hold the secret itself."""

CURRENCY_PATTERN: Final = r"^[A-Z]{3}$(?!\n)"
TIME_OF_DAY_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)"
Duration: TypeAlias = Annotated[str, Meta(pattern=DURATION_PATTERN)]
Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Share: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
TimeOfDay: TypeAlias = Annotated[str, Meta(pattern=TIME_OF_DAY_PATTERN)]
CurrencyCode: TypeAlias = Annotated[str, Meta(pattern=CURRENCY_PATTERN)]
Cost: TypeAlias = Annotated[float, Meta(ge=0)]

Condition: TypeAlias = Annotated[
    dict[str, object], Meta(extra_json_schema={"$ref": "#/$defs/Condition"})
]
"""A condition as written; `pipeline.conditions` parses and compiles it."""


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Part of a configuration: immutable; unknown fields are errors."""
