"""Profiles have at most as many identifiers as identity.yaml allows."""

from collections.abc import Sequence

from pipeline.config import model
from pipeline.flow import Flow
from pipeline.model.identity import IdentityChange
from pipeline.model.interaction import Identifier, Interaction
from pipeline.model.outcome import Emit
from pipeline.model.profile import Profile
from pipeline.model.stages import Identified
from tests.support.worlds import rules


def flow(max_identifiers: int, max_cookies: int | None = None) -> Flow:
    namespaces = (
        model.Namespace("customer_id"),
        model.Namespace("email", "lower"),
        model.Namespace("cookie", limit=max_cookies),
    )
    return Flow(
        rules(
            model.Bundle(
                sources=model.Sources((model.Source("shop", "web", "write-key-1"),)),
                identity=model.Identity(namespaces, max_identifiers=max_identifiers),
                channels=model.Channels((model.Channel("web"),)),
            )
        )
    )


def view(number: int, *names: str) -> Interaction:
    identifiers = tuple(map(Identifier.parse, names))
    return Interaction(f"e{number}", "track", "View", "web", "shop", number, number, identifiers)


def run_all(stages: Flow, stream: Sequence[Interaction]) -> list[Emit]:
    emits = [emit for interaction in stream for emit in stages.run(interaction)]
    assert not stages.dead_letters
    return emits


def refused_links(emits: Sequence[Emit]) -> list[tuple[str, str | None]]:
    changes = [emit.value for emit in emits if isinstance(emit.value, IdentityChange)]
    return [(change.identifier, change.other) for change in changes if change.kind == "refused"]


def test_links_beyond_the_limit_are_refused_and_reported_and_the_interaction_goes_on() -> None:
    stages = flow(max_identifiers=3)
    emits = run_all(stages, [view(n, "customer_id:A", f"cookie:k{n}") for n in range(1, 6)])
    assert refused_links(emits) == [(f"cookie:k{n}", "customer_id:A") for n in (3, 4, 5)]
    identified = [e.value for e in emits if isinstance(e.value, Identified) and e.value.interaction]
    assert [value.identity.root for value in identified if value.identity] == ["customer_id:A"] * 5
    identifier_keys = [
        [i.key for i in v.interaction.identifiers] for v in identified if v.interaction
    ]
    assert identifier_keys[2:] == [["customer_id:A"]] * 3
    profile = [emit.value for emit in emits if isinstance(emit.value, Profile)][-1]
    assert profile.identifiers == ("cookie:k1", "cookie:k2", "customer_id:A")
    assert profile.traits["interactions"] == 5


def test_linked_identifiers_stay_linked_at_the_limit() -> None:
    stages = flow(max_identifiers=2)
    run_all(stages, [view(n, "customer_id:A", f"cookie:k{n % 2}") for n in range(1, 6)])
    roots = {key: row.root for key, row in stages.rows["identity"].items()}
    assert roots == {"customer_id:A": "customer_id:A", "cookie:k1": "customer_id:A"}


def test_namespace_has_its_own_limit() -> None:
    stages = flow(max_identifiers=100, max_cookies=1)
    stream = [
        view(1, "customer_id:A", "cookie:k1"),
        view(2, "customer_id:A", "cookie:k2", "email:x"),
        view(3, "customer_id:A", "email:y"),
    ]
    assert refused_links(run_all(stages, stream)) == [("cookie:k2", "customer_id:A")]


def test_device_of_too_many_customers_stays_with_the_last_within_the_limit() -> None:
    stages = flow(max_identifiers=2)
    emits = run_all(stages, [view(n, f"customer_id:{n}", "cookie:k") for n in range(1, 5)])
    assert refused_links(emits) == [("cookie:k", "customer_id:3"), ("cookie:k", "customer_id:4")]
    assert stages.rows["identity"]["cookie:k"].root == "customer_id:2"
