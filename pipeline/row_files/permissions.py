"""Rows of consent and suppression lists, converted to interactions that the gateway would accept.

Consent that is given or withdrawn becomes the same `identify` as on the preference page, with the
traits `consent.CHANNEL.PURPOSE`. A bounce or a complaint becomes that outcome, though no message of
Kairos caused it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pipeline.conditions import did_you_mean
from pipeline.config import model
from pipeline.row_files.fault import Fault

PERMISSION: Final = "permission"

_WORDS: Final[Mapping[model.PermissionState, str]] = {
    "given": "given granted yes y true t 1 on in optin optedin consented confirmed subscribe "
    "subscribed active sí si alta suscrito suscrita",
    "withdrawn": "withdrawn denied no n false f 0 off out optout optedout declined revoked "
    "unsubscribe unsubscribed suppressed usersuppressed manual manualsuppression stop "
    "donotcontact dnc baja dadodebaja desuscrito desuscrita",
    "bounce": "bounce bounced hardbounce hardbounced permanent permanentbounce cleaned held "
    "invalid invalidemail invalidaddress undeliverable rebote rebotado",
    "complaint": "complaint complained spam spamcomplaint spamreport markedasspam abuse queja",
}
"""Words in the exports of mail and text services, in lower case without spaces and signs."""

_OUTCOMES: Final[Mapping[model.PermissionState, Mapping[str, str]]] = {
    "bounce": {"bounce": "address"},
    "complaint": {},
}
"""States that are outcomes, with their properties."""

_Cells: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Fields of the interaction for a row."""

    kind: Literal["identify", "outcome"]
    name: str
    properties: Mapping[str, Any]
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class PermissionReader:
    """Reader of the rows of a list. `states`: the state for each word."""

    rules: model.Permissions
    states: Mapping[str, model.PermissionState]

    def complete(self, record: dict[str, Any]) -> Fault | None:
        """Replace the permission in a record by its fields; return the fault, if there is one."""
        cells = record.pop(PERMISSION, {})
        has_columns = any(isinstance(value, Mapping) for value in cells.values())
        meaning = self._read_columns(cells) if has_columns else self._read_single_state(cells)
        if isinstance(meaning, Fault):
            return meaning
        record.setdefault("properties", {}).update(meaning.properties)
        record.update(kind=meaning.kind, name=meaning.name)
        if meaning.channel is not None:
            record["channel"] = meaning.channel
        return None

    def _read_columns(self, cells: _Cells) -> _Meaning | Fault:
        """Read a row that has a column for each channel and purpose."""
        consents: dict[str, bool] = {}
        for channel, purposes in cells.items():
            for purpose, cell in purposes.items():
                field = f"{channel}.{purpose}"
                state = self._state(cell, field)
                if isinstance(state, Fault):
                    return state
                if state in _OUTCOMES:
                    return _fault(field, f"{_text(cell)!r} is neither yes nor no")
                consents[field] = state == "given"
        return _consent(consents)

    def _read_single_state(self, cells: _Cells) -> _Meaning | Fault:
        """Read a row with a single state."""
        channels = _pick(cells.get("channel"), self.rules.channels, "channel")
        purposes = _pick(cells.get("purpose"), self.rules.purposes, "purpose")
        state = self._state(cells.get("state"), "state")
        if isinstance(channels, Fault):
            return channels
        if isinstance(purposes, Fault):
            return purposes
        if isinstance(state, Fault):
            return state
        outcome = _OUTCOMES.get(state)
        if outcome is not None:
            return _Meaning("outcome", state, outcome, channels[0])
        return _consent(
            {
                f"{channel}.{purpose}": state == "given"
                for channel in channels
                for purpose in purposes
            }
        )

    def _state(self, cell: object, field: str) -> model.PermissionState | Fault:
        if cell is None:
            return self.rules.state or _fault(field, "it has no permission", "missing_field")
        state = self.states.get(_letters(cell))
        if state is None:
            hint = did_you_mean(_letters(cell), sorted(self.states))
            message = f"{_text(cell)!r} is not a permission ({hint}): add it to `permissions.words`"
            return _fault(field, message)
        return state


def permission_reader(rules: model.Permissions) -> PermissionReader:
    """Return the reader of a list; its own words precede the built-in ones."""
    built_in_states = {word: state for state, words in _WORDS.items() for word in words.split()}
    own_states = {_letters(word): state for state, words in rules.words.items() for word in words}
    return PermissionReader(rules, {**built_in_states, **own_states})


def _consent(consents: Mapping[str, bool]) -> _Meaning:
    traits = {f"consent.{field}": value for field, value in consents.items()}
    return _Meaning("identify", "identify", traits)


def _pick(cell: object, names: Sequence[str], field: str) -> tuple[str, ...] | Fault:
    """Return the name in a cell, or all where it is empty."""
    if cell is None:
        return tuple(names)
    matches = tuple(name for name in names if _letters(name) == _letters(cell))
    if matches:
        return matches
    return _fault(field, f"{_text(cell)!r} is none of {', '.join(names)}")


def _fault(field: str, message: str, code: str = "invalid_field") -> Fault:
    return Fault(code, f"{PERMISSION}.{field}", message)


def _letters(cell: object) -> str:
    """Return a word without case, spaces and signs; 1.0, as in tables with gaps, is 1."""
    text = str(cell).strip().removesuffix(".0")
    return "".join(filter(str.isalnum, text)).casefold()


def _text(cell: object) -> str:
    return str(cell)[:60]
