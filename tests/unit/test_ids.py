"""Ids are derived from their cause, and tokens cannot be forged."""

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.ids import decision_id, profile_id
from pipeline.model.interaction import Identifier
from pipeline.rules.token import Claims, TokenKey
from tests.records import records

_KAIROS = UUID("6f1d6c1e-5d0b-5c57-9a4e-3c6f8f1f0a52")
_TEXT = st.text(st.characters(codec="utf-8"))


@given(_TEXT)
def test_ids_are_uuids_of_their_cause(name: str) -> None:
    assert decision_id(name) == str(uuid5(uuid5(_KAIROS, "decision"), name))
    identifier = Identifier("email", name)
    assert profile_id(identifier) == str(uuid5(uuid5(_KAIROS, "profile"), f"email:{name}"))


@given(records(Claims), st.data())
def test_token_contains_exactly_the_signed_claims(claims: Claims, data: st.DataObject) -> None:
    key = TokenKey("a secret")
    token = key.sign(claims)
    assert key.verify(token) == claims
    assert TokenKey("another").verify(token) is None
    index = data.draw(st.integers(0, len(token) - 2))  # the last character has unused bits
    substitute = data.draw(st.characters(codec="utf-8").filter(lambda char: char != token[index]))
    assert key.verify(token[:index] + substitute + token[index + 1 :]) is None
