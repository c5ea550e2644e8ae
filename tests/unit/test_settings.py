"""Settings come from KAIROS_* variables alone, and each has a description."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from agents.transport.options import TransportOptions
from pipeline.adapters.kafka import RESERVED_SETTINGS
from pipeline.model import sizes
from pipeline.settings import NoBrokerError, Settings, kafka_properties


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_kafka_variables_become_librdkafka_properties() -> None:
    environment = {
        "KAIROS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAIROS_KAFKA_SASL_MECHANISM": "PLAIN",
        "KAIROS_HOME": "elsewhere",
        "KAFKA_X": "y",
    }
    assert kafka_properties(environment) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
    }


def test_existing_cluster_is_used_with_its_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_BOOTSTRAP_SERVERS", "kafka:9092")
    monkeypatch.setenv("KAIROS_KAFKA_SSL_CA_LOCATION", "/ca.pem")
    monkeypatch.setenv("KAIROS_KAFKA_RECONNECT_BACKOFF_MAX_MS", "250")
    assert Settings().kafka() == {
        "bootstrap.servers": "kafka:9092",
        "ssl.ca.location": "/ca.pem",
        "reconnect.backoff.max.ms": "250",
        "message.max.bytes": sizes.RECORD,
    }


def test_error_of_a_missing_broker_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoBrokerError, match="run `kairos up` or set KAIROS_BOOTSTRAP_SERVERS"):
        Settings(home=tmp_path, bootstrap_servers=None).kafka()


def test_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new", secret=None)
    secret = settings.signing_secret()
    assert len(secret) >= 32
    assert settings.signing_secret() == secret
    assert [path.name for path in settings.home.iterdir()] == ["secret"]
    assert (settings.home / "secret").stat().st_mode & 0o777 == 0o600


def test_given_secret_is_not_written(tmp_path: Path) -> None:
    assert Settings(home=tmp_path, secret="given").signing_secret() == "given"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("partitions", 0), ("broker_port", 70_000), ("gateway_message_bytes", 1 << 20)],
)
def test_value_out_of_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})


def test_limit_below_the_largest_message_of_a_stage_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAIROS_KAFKA_MESSAGE_MAX_BYTES", "1000000")
    with pytest.raises(ValidationError, match="must be 8000000 or more"):
        Settings()


@pytest.mark.parametrize("name", ["MESSAGE_TIMEOUT_MS", "DELIVERY_TIMEOUT_MS"])
@pytest.mark.parametrize("value", ["1", "119999", "soon"])
def test_no_record_may_be_dropped_while_a_later_one_leaves(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"KAIROS_KAFKA_{name}", value)
    with pytest.raises(ValidationError, match=f"KAIROS_KAFKA_{name} must be 120000 or more"):
        Settings()
    monkeypatch.setenv(f"KAIROS_KAFKA_{name}", "120000")
    Settings()


def test_worker_ends_before_a_record_is_dropped() -> None:
    options = TransportOptions("", "", "")
    assert options.commit_stall_ms < options.delivery_timeout_ms


@pytest.mark.parametrize("name", ["SESSION_TIMEOUT_MS", "HEARTBEAT_INTERVAL_MS"])
def test_session_is_set_in_one_place(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"KAIROS_KAFKA_{name}", "2000")
    with pytest.raises(ValidationError, match="KAIROS_SESSION_TIMEOUT_MS instead"):
        Settings()


@pytest.mark.parametrize("name", sorted(RESERVED_SETTINGS))
def test_properties_that_break_delivery_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable = f"KAIROS_KAFKA_{name.upper().replace('.', '_')}"
    monkeypatch.setenv(variable, "0")
    with pytest.raises(
        ValidationError, match=f"{variable} is not allowed: Kairos relies on its own"
    ):
        Settings()


@pytest.mark.parametrize("name", ["BOOTSTRAP_SERVERS", "METADATA_BROKER_LIST"])
def test_cluster_is_set_in_one_place(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"KAIROS_KAFKA_{name}", "kafka:9092")
    with pytest.raises(
        ValidationError, match=f"{name} is not allowed: .* KAIROS_BOOTSTRAP_SERVERS"
    ):
        Settings()


def test_session_that_a_pause_would_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIROS_SESSION_TIMEOUT_MS", "1")
    with pytest.raises(ValidationError, match="session_timeout_ms") as refusal:
        Settings()
    assert len(refusal.value.errors()) == 1
    assert "greater than or equal to 3000" in str(refusal.value)
