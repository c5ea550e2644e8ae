"""Bounces and complaints as mail servers write them, and the Maildir that they are read from."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from pipeline.adapters.returned_mail import OtherMail, ReturnedMail, parse_returned_mail
from pipeline.config import model
from pipeline.config.compiled import CompiledChannel
from pipeline.config.model import Email
from pipeline.delivery.channel_adapter import AdapterHost
from pipeline.delivery.email.returned_reader import read_returned_mail
from pipeline.delivery.reporter import OutcomeReport, RejectedOutcome
from pipeline.model.ids import action_id
from pipeline.model.interaction import Identifier
from pipeline.rules.token import Claims
from tests.support.doorway import ADAPTER_KEY, configuration, doorway


async def ignore_unlink(_: Identifier, __: Identifier) -> None:
    return None


ID = action_id("d", "email")
OTHER_ID = action_id("d", "another")

POSTFIX = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: bounces@shop.example
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="B"

--B
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

<ana@example.com>: host mx.example.com said: 550 5.1.1 user unknown

--B
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
X-Postfix-Queue-ID: 3F1

Final-Recipient: rfc822; ana@example.com
Original-Recipient: rfc822;ana@example.com
Action: ACTION
Status: STATUS
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--B
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: Shop <hello@shop.example>
To: ana@example.com
Message-ID: <{ID}@shop.example>
X-Kairos-Token: the-token
Subject: Hola

Text
--B--
"""

POSTFIX_WITH_HEADERS = POSTFIX.replace(
    "Content-Type: message/rfc822", "Content-Type: text/rfc822-headers"
)

EXCHANGE = f"""\
From: postmaster@corp.example
In-Reply-To: <{ID}@shop.example>
Content-Type: multipart/report; report-type=delivery-status; boundary="B"
MIME-Version: 1.0

--B
Content-Type: message/delivery-status

Reporting-MTA: dns;corp.example

Final-Recipient: rfc822;ana@corp.example
Action: failed
Status: 5.7.1
--B--
"""

COMPLAINT = f"""\
From: complaints@provider.example
Subject: complaint about message
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="B"

--B
Content-Type: text/plain

This is an email abuse report.
--B
Content-Type: message/feedback-report

Feedback-Type: KIND
User-Agent: SomeGenerator/1.0
Version: 1

--B
Content-Type: text/rfc822-headers

From: Shop <hello@shop.example>
Message-ID: <{ID}@shop.example>
--B--
"""


def _postfix(action: str, status: str, text: str = POSTFIX) -> bytes:
    return text.replace("ACTION", action).replace("STATUS", status).encode()


@pytest.mark.parametrize("text", [POSTFIX, POSTFIX_WITH_HEADERS])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [("5.1.1", "address"), ("5.2.1", "address"), ("5.7.26", "refused"), ("4.4.7", "soft")],
)
def test_final_failure_is_a_bounce_of_its_kind(
    text: str, line_end: str, status: str, kind: str
) -> None:
    raw = _postfix("failed", status, text).replace(b"\n", line_end.encode())
    properties = {"bounce": kind, "enhanced": status}
    assert parse_returned_mail(raw) == ReturnedMail("bounce", ID, "the-token", properties)


def test_status_that_is_not_final_has_no_outcome() -> None:
    assert isinstance(parse_returned_mail(_postfix("delayed", "4.4.1")), OtherMail)
    assert parse_returned_mail(_postfix("delivered", "2.0.0")) == ReturnedMail(
        "delivered", ID, "the-token"
    )


def test_bounce_that_only_refers_to_the_message_is_matched() -> None:
    properties = {"bounce": "refused", "enhanced": "5.7.1"}
    assert parse_returned_mail(EXCHANGE.encode()) == ReturnedMail("bounce", ID, None, properties)


@pytest.mark.parametrize("kind", ["abuse", "fraud", "Abuse"])
def test_feedback_is_a_complaint(kind: str) -> None:
    result = parse_returned_mail(COMPLAINT.replace("KIND", kind).encode())
    assert result == ReturnedMail("complaint", ID, None, {"feedback": kind.lower()})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00 nonsense",
        COMPLAINT.replace("KIND", "not-spam").encode(),
        COMPLAINT.replace("KIND", "abuse").replace(ID, "somebody-else").encode(),
        b"Subject: out of office\nAuto-Submitted: auto-replied\n\nI am away.\n",
        POSTFIX.replace(ID, "x").replace("X-Kairos-Token", "X-Other").encode(),
    ],
)
def test_other_mail_has_no_outcome(raw: bytes) -> None:
    assert isinstance(parse_returned_mail(raw), OtherMail)


def test_maildir_is_read_once_and_other_mail_is_flagged(tmp_path: Path) -> None:
    for part in ("new", "cur", "tmp"):
        (tmp_path / part).mkdir()
    unmatched_bounce = _postfix("failed", "5.1.1").replace(ID.encode(), OTHER_ID.encode())
    unmatched_bounce = unmatched_bounce.replace(b"X-Kairos-Token: the-token\n", b"")
    (tmp_path / "new" / "1.bounce").write_bytes(_postfix("failed", "5.1.1"))
    (tmp_path / "new" / "2.complaint").write_bytes(COMPLAINT.replace("KIND", "abuse").encode())
    (tmp_path / "new" / "3.spam").write_bytes(b"Subject: buy\n\nnow\n")
    (tmp_path / "new" / "4.unmatched").write_bytes(unmatched_bounce)
    os.utime(tmp_path / "new" / "4.unmatched", (0, 0))
    reports: list[OutcomeReport] = []
    asyncio.run(_read_all(tmp_path, [{ID: "token of the ledger"}], reports))
    assert [(report.outcome, report.token) for report in reports] == [
        ("bounce", "token of the ledger"),
        ("complaint", "token of the ledger"),
    ]
    assert sorted(path.name for path in (tmp_path / "cur").iterdir()) == [
        "1.bounce:2,S",
        "2.complaint:2,S",
        "3.spam:2,FS",
        "4.unmatched:2,FS",
    ]


def test_bounce_is_reported_by_the_instance_that_sent_the_message(tmp_path: Path) -> None:
    for part in ("new", "cur", "tmp"):
        (tmp_path / part).mkdir()
    for name, message_id in (("1", ID), ("2", OTHER_ID)):
        bounce = _postfix("failed", "5.1.1").replace(ID.encode(), message_id.encode())
        path = tmp_path / "new" / name
        path.write_bytes(bounce.replace(b"X-Kairos-Token: the-token\n", b""))
    reports: list[OutcomeReport] = []
    asyncio.run(_read_all(tmp_path, [{}, {OTHER_ID: "second"}, {ID: "first"}], reports))
    assert sorted(report.token for report in reports) == ["first", "second"]
    assert sorted(path.name for path in (tmp_path / "cur").iterdir()) == ["1:2,S", "2:2,S"]


async def _read_all(
    folder: Path, ledgers: list[dict[str, str]], reports: list[OutcomeReport]
) -> None:
    """Read with an instance for each ledger, until the folder has no new message."""
    email = Email(sender="hello@shop.example", returned=str(folder))
    channel = CompiledChannel("email", "email", "smtp://127.0.0.1", None, (), email)

    async def report(outcome: OutcomeReport) -> RejectedOutcome | None:
        reports.append(outcome)
        return None

    async with asyncio.timeout(120), asyncio.TaskGroup() as instances:
        readers = [
            instances.create_task(
                read_returned_mail(
                    AdapterHost(
                        find_channel=lambda _: channel,
                        channels=lambda: (channel,),
                        token_of=ledger.get,
                        report=report,
                        signing_secret="",
                        unlink=ignore_unlink,
                    )
                )
            )
            for ledger in ledgers
        ]
        while list((folder / "new").iterdir()):
            await asyncio.sleep(0.01)
        for task in readers:
            task.cancel()


@pytest.mark.parametrize(
    ("key", "has_token", "status", "outcome"),
    [
        (ADAPTER_KEY, True, 200, "bounce"),
        (ADAPTER_KEY, False, 200, None),
        ("shop-key-1", True, 403, None),
        ("nobody", True, 401, None),
    ],
)
def test_posted_bounce_counts_once_and_with_the_adapters_key_only(
    tmp_path: Path, key: str, has_token: bool, status: int, outcome: str | None
) -> None:
    sources = (
        model.Source("shop", "web", "shop-key-1"),
        model.Source("adapters", "email", "adapters-1"),
    )
    door = doorway(configuration(*sources), tmp_path)
    identifier = Identifier("customer_id", "ana")
    signed_token = door.tokens.sign(Claims(ID, "d", identifier, "email", "c", "o", "t", 1))
    raw = _postfix("failed", "5.1.1").replace(
        b"the-token", signed_token.encode() if has_token else b"x"
    )

    async def post() -> httpx.Response:
        async with door.client(key) as client:
            return await client.post("/v1/providers/email", content=raw)

    for _ in range(2):
        answer = asyncio.run(post())
        assert answer.status_code == status
        assert status != 200 or answer.json()["outcome"] == outcome
    interactions = door.interactions()
    assert {
        (interaction.name, interaction.properties["bounce"]) for interaction in interactions
    } == ({("bounce", "address")} if outcome else set())
    assert len({interaction.event_id for interaction in interactions}) == (1 if outcome else 0)
