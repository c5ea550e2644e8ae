"""One customer by every way in and out: a page, the shop's API, a file, an e-mail, a call.

One profile, one timeline, each thing once.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from pipeline.adapters.broker.ports import find_free_port
from pipeline.intake.trust import proof
from pipeline.model import topics
from pipeline.model.decision import Action
from pipeline.model.interaction import Interaction
from pipeline.model.stages import Segmented
from tests.support.ingest import copy_configuration_for_server
from tests.support.mail_server import MailServer, serve_mail
from tests.support.shop_pages import ShopPages
from tests.support.sshd import SSHD, running_sshd
from tests.support.stack import Stack, eventually, running_stack

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(SSHD is None, reason="there is no OpenSSH server here"),
    pytest.mark.timeout(900),
]

_FOLDER = Path(__file__).parent
_SECRET = "a secret of the shop and Kairos"
_PAGE = "/other.html"
_ANA = "ana-1"
_EMAIL, _PHONE = "ana@example.com", "+34600111222"
_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36"
)
"""User agent of a person's browser: a headless one counts as a bot, whose clicks do not count."""

_SCANNER_S = 5.0
"""Time after the sending of an e-mail within which a click counts as a scanner's."""


@dataclass(frozen=True)
class _Surroundings:
    """Surroundings of the customer; `inbox`: folder of the SFTP server."""

    stack: Stack
    shop: ShopPages
    mail: MailServer
    inbox: Path

    def timeline(self) -> list[Interaction]:
        """Return the customer's interactions that went through all stages, under any of her profile
        ids."""
        self.stack.kairos("status", "--until-idle", "60")
        records = self.stack.records.read_all(topics.SEGMENTED, Segmented)
        interactions = [
            segmented.interaction for _, segmented in records if segmented.interaction is not None
        ]
        names_of_ana = {
            name
            for interaction in interactions
            for name in _names(interaction)
            if _ANA in _names(interaction)
        }
        return [event for event in interactions if names_of_ana & set(_names(event))]


def _names(interaction: Interaction) -> list[str]:
    return [identifier.value for identifier in interaction.identifiers]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[_Surroundings]:
    inbox, port = tmp_path / "inbox", find_free_port()
    inbox.mkdir()
    with (
        running_sshd(tmp_path / "ssh") as server,
        serve_mail() as (mail, smtp_port),
        ShopPages.serve(_FOLDER) as shop,
    ):
        variables = {
            "KAIROS_GATEWAY_PORT": str(port),
            "KAIROS_PARTITIONS": "2",
            "CUSTOMER_SECRET": _SECRET,
            "SFTP_KEY": str(server.private_key),
            "SHOP_PORT": str(shop.port),
            "TEST_GATEWAY": f"http://127.0.0.1:{port}",
            "TEST_SMTP_PORT": str(smtp_port),
        }
        configuration = copy_configuration_for_server(
            _FOLDER / "customer", tmp_path / "configuration", server, server.port, inbox
        )
        with running_stack(Stack(tmp_path / "home", configuration, variables)) as stack:
            shop.gateway = stack.url
            yield _Surroundings(stack, shop, mail, inbox)


def test_one_customer_has_one_profile_and_each_thing_once(
    world: _Surroundings, browser: Browser
) -> None:
    page = browser.new_page(user_agent=_AGENT)
    cookie = _sign_up(world, page)
    _pay(world)
    _arrive_in_file(world)
    _click_in_mail(world, page)
    _be_called(world)
    timeline = world.timeline()
    page.close()
    assert Counter(event.name for event in timeline if event.kind != "page") == {
        "identify": 1,
        "Signed Up": 1,
        "Order Completed": 1,
        "Tier Reached": 1,
        "sent": 2,
        "click": 1,
        "conversion": 1,
    }
    assert Counter(event.context.url for event in timeline if event.kind == "page") == {
        world.shop.url(_PAGE): 2
    }
    assert len({event.event_id for event in timeline}) == len(timeline)
    profile = world.stack.json("profile", "show", f"cookie:{cookie}")
    assert {link["identifier"] for link in profile["tree"]} == {
        f"customer_id:{_ANA}",
        f"email:{_EMAIL}",
        f"phone:{_PHONE}",
        f"cookie:{cookie}",
    }
    assert (
        profile["traits"].items()
        >= {
            "interactions": len(timeline),
            "pages": 2,
            "orders": 1,
            "files": 1,
            "clicks": 1,
            "tier": "gold",
            "plan": "new",
        }.items()
    )
    assert profile["root"] == f"customer_id:{_ANA}"


def _sign_up(world: _Surroundings, page: Page) -> str:
    """Sign up on a page with the server's proof of the user id; return the browser's cookie."""
    page.goto(world.shop.url(_PAGE))
    page.wait_for_function("window.kairos && kairos.version")
    page.evaluate(
        """async ([id, proof]) => {
          kairos.identify(id, {plan: "new"}, {proof});
          await new Promise((done) => kairos.track("Signed Up", {}, {}, done));
        }""",
        [_ANA, proof(_SECRET, _ANA)],
    )
    cookie = page.evaluate("kairos.user().anonymousId()")
    assert isinstance(cookie, str)
    return cookie


def _pay(world: _Surroundings) -> None:
    """Pay in the shop, whose server sends the order twice, as after a lost answer."""
    message = {
        "event": "Order Completed",
        "messageId": "order-1",
        "userId": _ANA,
        "context": {"traits": {"email": _EMAIL, "phone": _PHONE}},
        "properties": {"total": 30},
    }
    with world.stack.client("customer-shop-key") as client:
        for _ in range(2):
            assert client.post("/v1/track", json=message).status_code == 200


def _arrive_in_file(world: _Surroundings) -> None:
    """Put the customer into the nightly file, which is sent twice."""
    for name in ("night.csv", "night-again.csv"):
        part = world.inbox / f"{name}.part"
        part.write_text(f"customer,tier\n{_ANA},gold\nsomebody-else,silver\n")
        part.rename(world.inbox / name)
        eventually((world.inbox / "done" / name).exists)


def _click_in_mail(world: _Surroundings, page: Page) -> None:
    [received_mail] = eventually(lambda: world.mail.mails)
    sent_at = time.time()
    assert (received_mail.recipient, received_mail.message["Subject"]) == (
        _EMAIL,
        "Welcome to gold",
    )
    html = received_mail.message.get_body(("html",))
    assert html is not None
    page.wait_for_timeout(max(0.0, sent_at + _SCANNER_S + 0.5 - time.time()) * 1_000)
    page.set_content(html.get_content())
    page.get_by_text("See what is yours").click()
    page.wait_for_url(world.shop.url(_PAGE))
    page.wait_for_function("window.kairos && kairos.version")


def _be_called(world: _Surroundings) -> None:
    eventually(lambda: list(world.stack.records.read_all(topics.actions("call"), Action)))
    [task] = world.stack.json("desk", "list")
    assert (task["to"], task["script"]) == (_PHONE, "Ask what she liked.")
    world.stack.kairos("desk", "take", task["id"], "--by", "eva")
    assert world.stack.json("desk", "done", task["id"], "--result", "accepted")["state"] == "done"
    assert len(world.mail.mails) == 1
