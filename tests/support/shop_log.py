"""Generated logs of a shop, for the demonstration's configuration."""

import random
from typing import Final

from pipeline.model.interaction import Identifier, Interaction, Kind
from pipeline.model.time import MINUTE_MS

START_MS: Final = 1_700_000_000_000
_NAMES: Final = ("home", "catalog", "add_to_cart", "cart", "purchase", "promo_page")


def visit(number: int, name: str, at: int, *keys: str, kind: Kind = "track") -> Interaction:
    """Return one interaction of the web shop."""
    names = tuple(map(Identifier.parse, keys))
    return Interaction(f"e{number}", kind, name, "web", "web-shop", at, at, names)


def shop_log(seed: int = 7, maximum: int = 300) -> list[Interaction]:
    """Return visits on two devices by people who identify themselves when they buy; some visits
    are repeated."""
    chance = random.Random(seed)
    interactions: list[Interaction] = []
    at = START_MS
    for number in range(maximum):
        at += chance.randrange(30 * MINUTE_MS)
        person, name = chance.randrange(1, 26), chance.choice(_NAMES)
        names = [f"cookie:{person}-{chance.randrange(2)}"]
        if name == "purchase":
            names = [f"customer_id:{person}", f"email:p{person}@example.com", *names]
        interactions.append(visit(number, name, at, *names))
        if chance.random() < 0.05:
            interactions.append(interactions[-1])
    return interactions
