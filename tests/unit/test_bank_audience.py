"""A world played to a stack sends the messages of its files, and its customers react by its
truth."""

from collections import Counter
from math import sqrt

import msgspec
import pytest
from typer.testing import CliRunner

from pipeline.adapters.config_files import load, read_write_keys
from pipeline.cli.main import build_app
from pipeline.config.compile import Configuration, compile_bundle
from pipeline.config.model import Bundle, Source
from pipeline.model.interaction import Interaction
from pipeline.row_files.row import FileRow
from pipeline.row_files.row_ids import RowIds
from pipeline.row_files.row_intake import RowIntake
from pipeline.simulate.customers import customer
from pipeline.simulate.events import SOURCES, line
from pipeline.simulate.live import CONFIGURATION
from pipeline.simulate.offers import CARD, SALES
from pipeline.simulate.reactions import ContactAction, outcomes
from pipeline.simulate.truth import expected_conversion
from pipeline.simulate.world import WorldSize, customer_life

_NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def bank() -> Configuration:
    bundle = load(CONFIGURATION, {})
    assert isinstance(bundle, Bundle), bundle
    config = compile_bundle(bundle)
    assert isinstance(config, Configuration)
    return config


def take_message(config: Configuration, raw: bytes) -> Interaction:
    source = Source("file", "file", "unused-key")
    interaction = RowIntake(config, source, 10_000, _NOW, RowIds("file")).take_in(
        FileRow(1, raw, 0)
    )
    assert isinstance(interaction, Interaction), interaction
    return interaction


def test_message_to_the_gateway_agrees_with_the_line_of_the_file(
    bank: Configuration,
) -> None:
    keys = read_write_keys(CONFIGURATION, {})
    event_names: set[str] = set()
    for index in range(25):
        for event in customer_life(WorldSize(25, 15, 4), index, policy=True).events:
            key = keys[SOURCES[event.channel]]
            message = {**event.message("m"), "writeKey": key}
            gateway_interaction, file_interaction = (
                take_message(bank, msgspec.json.encode(message)),
                take_message(bank, line(event)),
            )
            for field in ("kind", "name", "channel", "source", "identifiers"):
                assert getattr(gateway_interaction, field) == getattr(file_interaction, field), (
                    field
                )
            assert file_interaction.properties.items() <= gateway_interaction.properties.items()
            event_names.add(event.name)
    assert len(event_names) > 12


@pytest.mark.parametrize(
    ("offer", "channel"), [(sale.offer, channel) for sale in SALES for channel in sale.arms]
)
def test_reactions_have_the_stated_probabilities(offer: str, channel: str) -> None:
    [sale] = [sale for sale in SALES if sale.offer == offer]
    arm, n = sale.arms[channel], 3_000
    counts: Counter[str] = Counter()
    for index in range(n):
        contact = ContactAction(f"action-{index}", "token", offer, channel)
        counts.update(outcomes(contact, customer(9, index)))
    added_probability = expected_conversion(sale, channel) - expected_conversion(sale, "nothing")
    for name, probability in (
        ("impression", arm.view),
        ("click", arm.click),
        ("conversion", added_probability),
    ):
        assert abs(counts[name] / n - probability) < 4 * sqrt(
            probability * (1 - probability) / n
        ), name


def test_outcomes_are_a_function_of_the_action() -> None:
    simulated_customer = customer(9, 1)

    def outcomes_of(action: str) -> tuple[str, ...]:
        return tuple(
            outcomes(ContactAction(action, "token", CARD.offer, "call"), simulated_customer)
        )

    assert outcomes_of("a") == outcomes_of("a")
    assert len({outcomes_of(f"action-{n}") for n in range(50)}) > 2


def test_unknown_actions_have_no_reactions() -> None:
    simulated_customer = customer(9, 1)
    assert not list(outcomes(ContactAction("a", "token", "unknown", "web"), simulated_customer))
    assert not list(outcomes(ContactAction("a", "token", CARD.offer, "sms"), simulated_customer))


@pytest.mark.parametrize("options", [[], ["--live", "--out", "folder"]])
def test_command_takes_either_files_or_live(options: list[str]) -> None:
    size = ["--customers", "1", "--days", "1"]
    result = CliRunner().invoke(build_app("simulate"), ["simulate", "bank", *size, *options])
    assert result.exit_code == 2
    assert "either --out DIR or --live" in result.stderr
