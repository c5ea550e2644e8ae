"""An applied configuration contains neither keys nor secrets."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.config_files import load, read_write_keys
from pipeline.config import canonical
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.keys import expand_variables, key_digest, mask_secrets
from pipeline.config.model import Bundle, Channel, ServerKey, Source

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
KEYS = ("demo-web-shop", "demo-live-key", "demo-point-of-sale", "demo-server-key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "config"))


def configuration(folder: Path, **environment: str) -> Configuration:
    bundle = load(folder, environment)
    assert isinstance(bundle, Bundle), bundle
    result = compile_bundle(bundle)
    assert isinstance(result, Configuration)
    return result


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_applied_configuration_has_digests_of_keys_only(folder: Path) -> None:
    applied_configuration = configuration(folder)
    assert not any(key in applied_configuration.to_json() for key in KEYS)
    decoded_configuration = Configuration.from_json(applied_configuration.to_json())
    source = decoded_configuration.source_by_key("demo-live-key")
    assert source is not None
    assert source.name == "live"
    assert decoded_configuration.server_key_name("demo-server-key") == "back-office"


def test_digest_is_no_key(folder: Path) -> None:
    applied_configuration = configuration(folder)
    assert applied_configuration.source_by_key(key_digest("demo-live-key")) is None
    assert applied_configuration.server_key_name(key_digest("demo-server-key")) is None
    assert applied_configuration.source_by_key("\ud83d") is None


def test_key_may_be_written_as_its_digest(folder: Path) -> None:
    plain_configuration = configuration(folder)
    sources = folder / "sources.yaml"
    sources.write_text(sources.read_text().replace("demo-live-key", key_digest("demo-live-key")))
    assert configuration(folder).digest == plain_configuration.digest


def test_key_as_text_and_as_digest_is_a_duplicate(folder: Path) -> None:
    sources = folder / "sources.yaml"
    digest = key_digest("demo-live-key")
    sources.write_text(sources.read_text().replace("demo-point-of-sale", digest))
    [error] = [error for error in load(folder, {}) if "key occurs twice" in str(error)]
    assert "demo-live-key" not in str(error)


def test_secret_stays_a_reference_when_applied(folder: Path) -> None:
    append(folder / "channels.yaml", "    secret: ${SHOP_SECRET}\n")
    applied_configuration = configuration(folder, SHOP_SECRET="hunter2-hunter2")
    assert "hunter2" not in applied_configuration.to_json()
    assert applied_configuration.channels["email"].secret == "${SHOP_SECRET}"
    assert expand_variables("${SHOP_SECRET}", {"SHOP_SECRET": "hunter2"}) == "hunter2"
    assert expand_variables("${SHOP_SECRET}", {}) is None


def set_url(folder: Path, url: str) -> None:
    channels = folder / "channels.yaml"
    text = channels.read_text()
    channels.write_text(text.replace("${KAIROS_DEMO_WEBHOOK:-http://127.0.0.1:8790/email}", url))


@pytest.mark.parametrize(
    ("url", "used_url"),
    [
        ("https://hooks.example.com/${TOKEN}", "https://hooks.example.com/hunter2-hunter2"),
        ("'${WHOLE}'", "https://hooks.example.com/in?token=hunter2"),
        ("https://hooks.example.com:${PORT:-8443}/${TOKEN}?t=${TOKEN}",
         "https://hooks.example.com:8443/hunter2-hunter2?t=hunter2-hunter2"),
        ("${BASE:-https://hooks.example.com}/x", "https://hooks.example.com/x"),
    ],
)  # fmt: skip
def test_variables_of_a_url_are_resolved_where_it_is_used(
    folder: Path, url: str, used_url: str
) -> None:
    set_url(folder, url)
    environment = {
        "TOKEN": "hunter2-hunter2",
        "WHOLE": "https://hooks.example.com/in?token=hunter2",
    }
    applied_configuration = configuration(folder, **environment)
    assert "hunter2" not in applied_configuration.to_json()
    url_in_force = applied_configuration.channels["email"].url
    assert url_in_force == url.strip("'")
    assert expand_variables(url_in_force, environment) == used_url
    assert configuration(folder).digest == applied_configuration.digest


@pytest.mark.parametrize("field", ["secret", "url"])
def test_variables_of_content_fields_named_like_settings_are_resolved_at_load(
    folder: Path, field: str
) -> None:
    path = folder / "campaigns" / "cart-recovery.yaml"
    text = path.read_text()
    assert "content: {" in text
    path.write_text(text.replace("content: {", f"content: {{{field}: 'https://${{HOST}}/', ", 1))
    assert "https://shop.example/" in configuration(folder, HOST="shop.example").to_json()


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/$${TOKEN}", "https://x/${TOKEN", "https://x/${A B}"]
)
def test_reference_in_a_url_that_nothing_would_resolve_is_refused(folder: Path, url: str) -> None:
    set_url(folder, url)
    [error] = load(folder, {"TOKEN": "hunter2"})
    assert error.file == "channels.yaml"
    assert "write ${NAME}" in error.message


def test_url_is_checked_as_the_environment_makes_it(folder: Path) -> None:
    set_url(folder, "https://hooks.example.com:${PORT}/x")
    assert not isinstance(load(folder, {}), list)
    assert not isinstance(load(folder, {"PORT": "8443"}), list)
    [error] = load(folder, {"PORT": "99123"})
    assert "port" in error.message
    assert "99123" not in error.message


@pytest.mark.parametrize("form", ["hunter2-hunter2", "x${SHOP}", "12345678", "${A:-hunter2}"])
def test_secret_in_clear_is_refused_and_not_repeated(folder: Path, form: str) -> None:
    append(folder / "channels.yaml", f"    secret: {form}\n")
    [error] = load(folder, {})
    assert error.file == "channels.yaml"
    assert error.line == len((folder / "channels.yaml").read_text().splitlines())
    assert "hunter2" not in error.message
    assert "12345678" not in error.message


def test_errors_do_not_repeat_keys(folder: Path) -> None:
    sources = folder / "sources.yaml"
    text = sources.read_text()
    sources.write_text(text.replace("demo-live-key", "99887766").replace("demo-server-key", "abc"))
    reports = "\n".join(map(str, load(folder, {})))
    assert "write_key" not in reports or "99887766" not in reports
    assert "abc" not in reports


def test_shown_configuration_of_any_version_is_masked(folder: Path) -> None:
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle)
    old_bundle = Bundle(
        sources=type(bundle.sources)(
            (Source("shop", "web", "plain-write-key"),), (ServerKey("office", "plain-server-key"),)
        ),
        identity=bundle.identity,
        channels=type(bundle.channels)(
            (
                Channel(
                    "email",
                    adapter="webhook",
                    url="https://user:pass@hooks.example.com/in?token=abcdef",
                    secret="plain-secret",
                ),
            )
        ),
    )
    masked_json = canonical.to_json(mask_secrets(old_bundle))
    for secret in ("plain", "user", "pass", "abcdef"):
        assert secret not in masked_json
    assert "hooks.example.com/in" in masked_json


def test_keys_of_a_folder_can_be_read_from_it(folder: Path) -> None:
    assert read_write_keys(folder, {})["live"] == "demo-live-key"
