"""Outcomes are accepted by their token or source, and a copy is not counted again."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.adapters.clock import now_ms
from pipeline.config import model
from pipeline.model.interaction import Identifier
from pipeline.model.time import DAY_MS, HOUR_MS
from pipeline.rules.token import Claims
from tests.support.doorway import ADAPTER_KEY, TOKEN_MS, Doorway, configuration, doorway

SHOP_KEY, EMAIL_KEY, LOG_KEY = "shop-key-1", "adapters-key-1", "log-key-12"
NOW_MS = now_ms()


@pytest.fixture
def door(tmp_path: Path) -> Doorway:
    sources = (
        model.Source("shop", "web", SHOP_KEY),
        model.Source("adapters", "email", EMAIL_KEY),
        model.Source("log", "web", LOG_KEY, clock="log"),
    )
    return doorway(configuration(*sources), tmp_path)


def sign_token(door: Doorway, decided_at: int = NOW_MS) -> str:
    identifier = Identifier("customer_id", "ana")
    return door.tokens.sign(
        Claims("a-1", "d-1", identifier, "email", "camp", "offer", "treat", decided_at)
    )


def post(door: Doorway, key: str, body: dict[str, Any]) -> httpx.Response:
    return door.request("POST", "/v1/outcomes", key, json=body)


@pytest.mark.parametrize("outcome", ["expired", "bounce"])
@pytest.mark.parametrize("key", [SHOP_KEY, LOG_KEY])
def test_holder_of_a_token_cannot_report_that_nothing_was_shown(
    door: Doorway, outcome: str, key: str
) -> None:
    outcome_body = {"token": sign_token(door), "outcome": outcome}
    for body in (outcome_body, {"outcomes": [outcome_body]}, {**outcome_body, "messageId": "m"}):
        answer = post(door, key, body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("not_believed", "outcome")
    assert not door.interactions()


@pytest.mark.parametrize("outcome", ["expired", "bounce", "sent", "delivered", "complaint"])
def test_late_outcomes_of_adapters_are_accepted(door: Doorway, outcome: str) -> None:
    old_token = sign_token(door, NOW_MS - 30 * DAY_MS)
    assert post(door, EMAIL_KEY, {"token": old_token, "outcome": outcome}).status_code == 200
    assert [interaction.name for interaction in door.interactions()] == [outcome]


def test_own_adapters_report_by_a_key_made_from_the_secret(door: Doorway) -> None:
    body = {"token": sign_token(door), "outcome": "expired"}
    assert post(door, ADAPTER_KEY, body).status_code == 200
    assert [(interaction.name, interaction.source) for interaction in door.interactions()] == [
        ("expired", "adapters")
    ]
    assert post(door, ADAPTER_KEY + "x", body).status_code == 401


def test_token_expires_by_its_time(door: Doorway) -> None:
    fresh_token = sign_token(door, NOW_MS - TOKEN_MS + HOUR_MS)
    stale_token = sign_token(door, NOW_MS - TOKEN_MS - 1)
    assert post(door, SHOP_KEY, {"token": fresh_token, "outcome": "click"}).status_code == 200
    for old_token in (stale_token, sign_token(door, 0)):
        error = post(door, SHOP_KEY, {"token": old_token, "outcome": "click"}).json()["error"]
        assert (error["code"], error["field"]) == ("expired_token", "token")
    assert len(door.interactions()) == 1


def test_token_of_a_log_expires_by_its_time(door: Doorway) -> None:
    decided_at = 1_600_000_000_000
    body = {"token": sign_token(door, decided_at), "outcome": "click"}
    assert post(door, LOG_KEY, {**body, "timestamp": decided_at + HOUR_MS}).status_code == 200
    assert post(door, LOG_KEY, {**body, "timestamp": decided_at + 8 * DAY_MS}).status_code == 400


def test_conversion_counts_once_per_action_and_goal(door: Doorway) -> None:
    outcome_body = {"token": sign_token(door), "outcome": "conversion"}
    bodies = [
        outcome_body,
        {**outcome_body, "messageId": "m-1"},
        {**outcome_body, "messageId": "m-2", "properties": {"value": 3}},
        {**outcome_body, "messageId": "m-3", "properties": {"goal": "order"}},
        {**outcome_body, "messageId": "m-4", "properties": {"goal": "order"}},
        {**outcome_body, "properties": {"goal": "visit"}},
    ]
    for body in bodies:
        assert post(door, SHOP_KEY, body).status_code == 200
    ids = [interaction.event_id for interaction in door.interactions()]
    assert [ids.index(event_id) for event_id in ids] == [0, 0, 0, 3, 3, 5]


def test_clicks_with_their_own_ids_count_separately(door: Doorway) -> None:
    outcome_body = {"token": sign_token(door), "outcome": "click"}
    for body in (
        outcome_body,
        outcome_body,
        {**outcome_body, "messageId": "m-1"},
        {**outcome_body, "messageId": "m-2"},
    ):
        assert post(door, SHOP_KEY, body).status_code == 200
    assert len({interaction.event_id for interaction in door.interactions()}) == 3
