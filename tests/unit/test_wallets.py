"""Purses of a partition, beside the table's other rows and at a redelivery."""

import msgspec

from agents.heartbeat import Heartbeat
from agents.idempotence import Position
from agents.wallets import Wallets
from pipeline.flow import stage
from pipeline.model.budget import Purse
from tests.support.deciding import campaign, offer, world
from tests.support.shells import ONLY_PARTITION, InMemoryPorts


def test_heartbeat_leaves_the_purses_of_its_partition() -> None:
    rows, rules = InMemoryPorts(), world(campaigns=[campaign("mail", offer("mail", 2), budget=10)])
    purse = Purse("campaign", 0, None, 1, 5)
    wallets = Wallets(rows)
    wallets.equip(rules, Position("in", ONLY_PARTITION, 1, None))
    wallets.write(Position("in", ONLY_PARTITION, 1, None), {"mail": purse})
    Heartbeat(stage("decisioning"), rows, 1_000).beat(1_900_000_000_000)
    rows.put_in(ONLY_PARTITION, b"beat", b"1900000000000")
    equipped_rules = Wallets(rows).equip(rules, Position("in", ONLY_PARTITION, 2, None))
    assert equipped_rules.wallet == {"mail": purse}


def test_redelivered_input_finds_the_purses_of_its_first_delivery() -> None:
    rows, rules = InMemoryPorts(), world(campaigns=[campaign("mail", offer("mail", 2), budget=10)])
    purse, position = Purse("campaign", 0, None, 1, 5), Position("in", ONLY_PARTITION, 1, None)
    wallets = Wallets(rows)
    wallets.equip(rules, position)
    wallets.write(position, {"mail": purse})
    spent_purse, later_position = (
        msgspec.structs.replace(purse, spent=2),
        Position("in", ONLY_PARTITION, 2, None),
    )
    wallets.equip(rules, later_position)
    wallets.write(later_position, {"mail": spent_purse})
    assert Wallets(rows).equip(rules, later_position).wallet == {"mail": purse}
    assert Wallets(rows).equip(rules, Position("in", ONLY_PARTITION, 3, None)).wallet == {
        "mail": purse
    }
