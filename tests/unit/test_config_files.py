"""Folders of configuration: valid ones are accepted, and mistakes are named."""

import shutil
from pathlib import Path

import pytest

from pipeline.adapters.config_files import ConfigError, load
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Bundle

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy of the demo's configuration, to be damaged."""
    return Path(shutil.copytree(DEMO, tmp_path / "config"))


def load_errors(folder: Path, **environment: str) -> list[ConfigError]:
    result = load(folder, environment)
    assert isinstance(result, list), "this should not have been accepted"
    return result


def edit(path: Path, old_text: str, new_text: str) -> None:
    text = path.read_text()
    assert old_text in text
    path.write_text(text.replace(old_text, new_text, 1))


def test_demo_is_valid() -> None:
    bundle = load(DEMO, {})
    assert isinstance(bundle, Bundle)
    assert isinstance(compile_bundle(bundle), Configuration)


def test_comments_and_order_of_fields_do_not_change_the_digest(folder: Path) -> None:
    def compute_digest() -> str:
        bundle = load(folder, {})
        assert isinstance(bundle, Bundle)
        config = compile_bundle(bundle)
        assert isinstance(config, Configuration)
        return config.digest

    first_digest = compute_digest()
    (folder / "segments" / "buyers.yaml").write_text(
        "# who bought\n"
        "when: {gte: 1.0, trait: purchases}\n"
        "description: Bought at least once\n"
        "segment: buyers\n"
    )
    edit(folder / "sources.yaml", "channel: mobile,", "channel: mobile, clock: wall,")
    assert compute_digest() == first_digest
    edit(folder / "segments" / "buyers.yaml", "1.0", "2")
    assert compute_digest() != first_digest


CART = "campaigns/cart-recovery.yaml"
LOYALTY = "campaigns/loyalty.yaml"
BUCKET = "rule: bucket\n    of: trait.{}\n    thresholds: {}"
VIEW_RULE = "when: {name: product_view}"
ZONE = "enrichers: {local_time: {zone: nowhere}}\nsession_gap:"


def _currency(first_day: str = "2024-05-01", amount: str = "properties.total") -> str:
    rate = f"{{currency: USD, rate: 0.9, since: {first_day}}}"
    return (
        f"enrichers:\n  currency:\n    to: EUR\n    rates:\n      - {rate}\n"
        f"    amounts:\n      paid: {amount}\nsession_gap:"
    )


@pytest.mark.parametrize(
    ("file", "old_text", "new_text", "named_text", "words"),
    [
        ("segments/buyers.yaml", "when:", "wen:", "wen", "unknown field 'wen': did you mean"),
        ("segments/buyers.yaml", "when:", "wen:", "segment", "'when' is missing here"),
        ("segments/buyers.yaml", "trait:", "trat:", "trat", "did you mean 'trait'?"),
        ("segments/buyers.yaml", "purchases", "purchase", "purchase", "did you mean 'purchases'?"),
        ("segments/buyers.yaml", "gte: 1", "gte: [1]", "gte", "use in"),
        ("segments/buyers.yaml", "segment: buyers", "segment: [a]", "[a]", "expected a text"),
        ("segments/buyers.yaml", "segment: buyers", "segment: my own", "my own", "not a name"),
        ("segments/loyal.yaml", "{segment: buyers}", "{segment: loyal}", "when", "loyal -> loyal"),
        ("segments/loyal.yaml", "{segment: buyers}", "{segment: bying}", "bying", "unknown"),
        ("segments/loyal.yaml", "{segment: buyers}", "{entered: buyers}", "when", "trigger"),
        ("segments/loyal.yaml", "segment: loyal", "segment: buyers", "buyers", "occurs twice"),
        ("profile.yaml", "session_gap: 30m", "session_gap: 30 min", "30 min", "30s, 5m, 12h, 7d"),
        ("profile.yaml", "rule: count", "rule: counts", "counts", "did you mean 'count'?"),
        ("profile.yaml", "of: occurred_at", "of: ocurred_at", "ocurred", "no value at"),
        ("profile.yaml", "name: views", "name: sessions", "name: sessions", "built in"),
        ("profile.yaml", "name: last_cart_at", "name: views", "name: views\n    rule: la", "twice"),
        ("profile.yaml", "{name: product_view}", "{segment: loyal}", "loyal", "only interactions"),
        ("profile.yaml", "session_gap:", ZONE, "nowhere", "no time zone 'nowhere'"),
        ("profile.yaml", "session_gap:", _currency("1 May"), "May", "not a date"),
        ("profile.yaml", "session_gap:", _currency(amount="derived.a"), "derived.a", "no value at"),
        ("profile.yaml", "of: occurred_at", "of: derived.hour", "derived.hour", "none is defined"),
        ("segments/buyers.yaml", "trait: purchases, gte: 1", "derived: bot, is: true", "bot",
         "unknown derived value 'bot'"),
        ("sources.yaml", "clock: log}", "properties: {a: derived.b}}", "derived", "no value at"),
        ("profile.yaml", "rule: count", "rule: bucket", "rule: bucket", "needs `of: trait.NAME`"),
        ("profile.yaml", "rule: count", BUCKET.format("view", "[1]"), "trait.view", "'views'?"),
        ("profile.yaml", "rule: count", BUCKET.format("views", "[1]"), "trait.v", "bucket itself"),
        ("profile.yaml", "rule: count", BUCKET.format("sessions", "[1]"), VIEW_RULE, "has no when"),
        ("profile.yaml", "rule: count", BUCKET.format("sessions", "[2, 1, 3]"), "thr", "descend"),
        ("profile.yaml", "rule: count", BUCKET.format("sessions", "[1, 1d]"), "thr", "not both"),
        ("profile.yaml", "rule: count", "rule: count\n    thresholds: [1]", "thresholds", "only a"),
        ("channels.yaml", "cost: 0.02", "cost: cheap", "cheap", "expected a number, found"),
        ("channels.yaml", "cost: 0.02", "cost: .nan", ".nan", "not finite"),
        ("channels.yaml", "url:", "secret:", "adapter", "a webhook needs `url`"),
        ("sources.yaml", "demo-point-of-sale", "demo-live-key", "name: live", "key occurs twice"),
        ("sources.yaml", "key: demo-server-key", "key: demo-live-key", "back-office", "write key"),
        ("identity.yaml", "user_id: customer_id", "user_id: customer", "user_id", "'customer_id'?"),
        ("policies.yaml", "max: 1", "max: -1", "max: -1", "0 or more"),
        ("policies.yaml", "max: 1", "max: 1.5", "max: 1.5", "expected a whole number"),
        ("policies.yaml", "channel: email", "channel: mail", "channel: mail", "'email'?"),
        (LOYALTY, "2024-02-01", "2024-02-31", "2024-02-31", "not a date"),
        (LOYALTY, "starts: 2024-02-01", "ends: 2023-01-01\nstarts: 2024-01-01", "ends", "swap"),
        (LOYALTY, "home-hero", "home-heros", "home-heros", "did you mean 'home-hero'?"),
        (LOYALTY, "{purchases} orders", "{orders} orders", "{orders}", "unknown trait"),
        (LOYALTY, "        placement: home-hero\n", "", "early-access-hero", "a trigger"),
        (LOYALTY, "channel: web", "channel: wep", "wep", "did you mean 'web'?"),
        (CART, "address: email", "address: mail", "address: mail", "'email'?"),
        (CART, "budget: 500", "budget 500", "budget 500", "`name: value`"),
        (CART, "budget: 500", "budget: '500", "budget", "close the quotation marks"),
        (CART, "budget: 500", "budget: [500", "offers", "close the bracket of line 8"),
        (CART, "budget: 500", "budget: {to: ]}", "budget", "the value that is missing"),
        (CART, "budget: 500", "budget: - 5", "budget", "first item of a list"),
        (CART, "budget: 500", "budget: |x 500", "budget", "check brackets"),
        (CART, "budget: 500", 'budget: "5\\q"', "budget", "for a backslash"),
        (CART, "budget: 500", "\tbudget: 500", "budget", "indent with spaces"),
        (CART, "budget: 500", "owner: me", "owner: me", "'owner' occurs twice"),
        (CART, "budget: 500", "budget: {amount: -5}", "amount: -5", "-5 is too small: 0 or more"),
        (CART, "budget: 500", "budget: {amunt: 5}", "amunt", "did you mean 'amount'?"),
        (CART, "budget: 500", "budget: !!python/name:os.system 5", "budget", "tags"),
        (CART, "budget: 500", "budget: 1" + "0" * 30, "budget", "too large"),
        (CART, "text: It", "text: Note: it", "Note", "quote texts"),
        (CART, "budget: 500", "budget: ${NOWHERE}", "budget", "NOWHERE is not set"),
    ],
)  # fmt: skip
def test_mistake_is_named_with_its_line(
    folder: Path, file: str, old_text: str, new_text: str, named_text: str, words: str
) -> None:
    # `named_text`: a text that first occurs in the line that the error names.
    edit(folder / file, old_text, new_text)
    text = (folder / file).read_text()
    line = text[: text.index(named_text)].count("\n") + 1
    all_errors = load_errors(folder)
    matches = [error for error in all_errors if error.file == file and words in error.message]
    assert line in [error.line for error in matches], "\n".join(map(str, all_errors))


def test_all_mistakes_of_a_folder_are_reported_at_once(folder: Path) -> None:
    edit(folder / "policies.yaml", "max: 1", "max: one")
    edit(folder / "segments" / "buyers.yaml", "when:", "wen:")
    (folder / "identity.yaml").write_bytes(b"namespaces:\n  - {name: caf\xe9}\n")
    reports = {(error.file, error.line) for error in load_errors(folder)}
    assert reports >= {("policies.yaml", 5), ("segments/buyers.yaml", 3), ("identity.yaml", 2)}


def test_wrong_form_hides_no_other_kind_of_error(folder: Path) -> None:
    # One error of each kind, each reported once, and none that follows from another.
    edit(folder / "policies.yaml", "max: 1", "max: one")
    edit(folder / CART, "address: email", "address: mail")
    edit(folder / CART, "budget: 500", "budget: ${NOWHERE}")
    edit(folder / LOYALTY, "channel: web", "channel: wep")
    edit(folder / "segments" / "loyal.yaml", "{segment: buyers}", "{segment: bying}")
    edit(folder / "profile.yaml", "of: occurred_at", "of: ocurred_at")
    with (folder / "profile.yaml").open("a") as profile:
        profile.write("scores:\n  - {name: buys, model: ../model.txt, features: [views]}\n")
    edit(folder / "channels.yaml", "url: ${KAIROS_DEMO_WEBHOOK:-http://127.0.0.1:8790/email}",
         "url: http://[::1/email")  # fmt: skip
    (folder / "segments" / "half.yaml").write_text("segment: [half\n")
    reports = [(error.file, error.message.split()[0]) for error in load_errors(folder)]
    assert reports == [
        (CART, "NOWHERE"),
        (CART, "unknown"),
        (LOYALTY, "unknown"),
        ("channels.yaml", "an"),
        ("policies.yaml", "expected"),
        ("profile.yaml", "no"),
        ("profile.yaml", "../model.txt"),
        ("segments/half.yaml", "YAML:"),
    ]


def test_unknown_name_is_reported_although_a_file_of_another_kind_is_broken(folder: Path) -> None:
    edit(folder / "segments" / "loyal.yaml", "{segment: buyers}", "{segment: bying}")
    (folder / "policies.yaml").write_text("caps: [")
    assert [error.file for error in load_errors(folder)] == ["policies.yaml", "segments/loyal.yaml"]


@pytest.mark.parametrize(
    ("file", "old_text", "new_text"),
    [
        ("segments/buyers.yaml", "segment: buyers", "segment: buyers\nchannels: web"),
        ("segments/buyers.yaml", "when:", "when: ["),
        ("profile.yaml", "rule: count", "rule: counts"),
        ("profile.yaml", "session_gap:", "traits: ["),
        ("identity.yaml", "user_id: customer_id", "user_id: 5"),
        ("channels.yaml", "cost: 0.02", "cost: cheap"),
        ("channels.yaml", "url:", "url: 5 #"),
        ("channels.yaml", "cart-banner]", "cart-banner, 5]"),
        ("channels.yaml", "channels:", "channels: ["),
        ("sources.yaml", "channel: mobile,", "channel: 5,"),
        (LOYALTY, "        placement: home-hero", "        placement: 5"),
        (CART, "trigger:", "trigger: 5\nhypothesis:"),
    ],
)
def test_mistake_causes_no_errors_in_other_files(
    folder: Path, file: str, old_text: str, new_text: str
) -> None:
    # A name that the damaged file may define is not reported as unknown.
    edit(folder / file, old_text, new_text)
    all_errors = load_errors(folder)
    assert {error.file for error in all_errors} == {file}, all_errors
    assert not any(
        "unknown trait" in str(error) or "unknown seg" in str(error) for error in all_errors
    )


def test_several_mistakes_in_one_file_are_all_reported_in_order(folder: Path) -> None:
    path = folder / "sources.yaml"
    edit(path, "channel: mobile,", "channel: '${A}', channel: x,")
    edit(path, "channel: pos,", "channel: !!x pos,")
    edit(path, "name: live", "name: '${B}'")
    all_errors = load_errors(folder)
    assert [(error.file, error.message.split()[0]) for error in all_errors] == [
        ("sources.yaml", word) for word in ("A", "'channel'", "tag:yaml.org,2002:x:", "B")
    ]
    assert all_errors == sorted(all_errors, key=lambda error: error.line)


def test_file_that_is_not_utf8_is_refused_at_its_byte(folder: Path) -> None:
    (folder / "identity.yaml").write_bytes(b"namespaces:\n  - {name: caf\xe9}\n")
    [error] = load_errors(folder)
    assert (error.line, error.column) == (2, 15)
    assert "UTF-8" in error.message


def test_byte_order_mark_is_no_fault(folder: Path) -> None:
    path = folder / "identity.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert isinstance(load(folder, {}), Bundle)


def test_empty_file_lacks_its_required_fields(folder: Path) -> None:
    (folder / "policies.yaml").write_text("# nothing yet\n")
    [error] = load_errors(folder)
    assert "caps" in error.message


def test_list_in_place_of_fields_is_refused(folder: Path) -> None:
    (folder / "policies.yaml").write_text("- caps\n")
    (folder / "learned.yaml").unlink()  # learned values need policies
    [error] = load_errors(folder)
    assert error.message == "expected fields, found a list"


@pytest.mark.parametrize("name", ["profile.yaml", "policies.yaml"])
def test_optional_files_may_be_missing(folder: Path, name: str) -> None:
    shutil.rmtree(folder / "campaigns")
    shutil.rmtree(folder / "segments")
    (folder / "learned.yaml").unlink()
    (folder / "policies.yaml").write_text("caps: []\n")  # the demo's caps read traits and segments
    (folder / name).unlink()
    assert isinstance(load(folder, {}), Bundle)


@pytest.mark.parametrize("name", ["sources.yaml", "identity.yaml", "channels.yaml"])
def test_required_files_may_not_be_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    [error] = load_errors(folder)
    assert error.file == name
    assert "missing" in error.message


def test_missing_folder_is_named(tmp_path: Path) -> None:
    [error] = load_errors(tmp_path / "nowhere")
    assert "no such folder" in error.message


def test_unexpected_yaml_files_are_reported_and_other_files_ignored(folder: Path) -> None:
    (folder / "README.md").write_text("notes")
    (folder / "polices.yaml").write_text("caps: []")
    (folder / "segments" / "more.yml").write_text("segment: more")
    reports = {error.file: error.message for error in load_errors(folder)}
    assert reports.keys() == {"polices.yaml", "segments/more.yml"}
    assert "did you mean 'policies.yaml'?" in reports["polices.yaml"]
    assert ".yaml" in reports["segments/more.yml"]


def test_aliases_are_refused(folder: Path) -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (folder / "policies.yaml").write_text("\n".join(lines))
    [error] = load_errors(folder)
    assert "aliases are not accepted" in error.message
    assert (error.line, error.column) == (2, 10)


def test_deep_nesting_is_refused(folder: Path) -> None:
    (folder / "policies.yaml").write_text("caps: " + "[" * 10_000)
    [error] = load_errors(folder)
    assert "nested deeper" in error.message


def test_values_may_hold_variables_with_defaults(folder: Path) -> None:
    path = folder / "channels.yaml"
    edit(path, "cost: 0.02", "cost: ${COST:-0.5}")
    edit(path, "deadline: 1h", 'deadline: "${HOURS}h"')
    bundle = load(folder, {"HOURS": "2"})
    assert isinstance(bundle, Bundle)
    email = bundle.channels.channels[1]
    assert (email.cost, email.deadline) == (0.5, "2h")


def test_doubled_dollar_is_no_variable(folder: Path) -> None:
    edit(folder / "segments" / "buyers.yaml", "Bought at", "$${X} at")
    bundle = load(folder, {})
    assert isinstance(bundle, Bundle)
    assert "${X} at least once" in [segment.description for segment in bundle.segments]
