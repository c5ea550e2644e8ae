"""Form of an e-mail: headers, text, HTML with inlined styles, signed links, DKIM signature."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial
from html import escape, unescape
from typing import Final
from urllib.parse import urlencode

import css_inline
import dkim

from pipeline.adapters.returned_mail import TOKEN_HEADER
from pipeline.adapters.signed_links import (
    CLICK_PATH,
    OPEN_PATH,
    PREFERENCES_PATH,
    MessageLinks,
    PreferenceLink,
    TrackedLink,
)
from pipeline.model.decision import Action

_INLINER: Final = css_inline.CSSInliner(load_remote_stylesheets=False)
_MAX_SENDER_ID_LENGTH: Final = 15
"""Maximum of characters of the sender id in a Feedback-ID, by Gmail's rules."""

_SIGNED_HEADERS: Final = (
    b"from", b"to", b"subject", b"date", b"message-id", b"reply-to", b"mime-version",
    b"content-type", b"list-unsubscribe", b"list-unsubscribe-post", b"feedback-id",
)  # fmt: skip
_POLICY: Final = SMTP.clone(max_line_length=998)
"""Lines as long as SMTP allows: shorter ones would break links in headers."""

_LINK: Final = re.compile(r'(<a\b[^>]*?\bhref=")(https?://[^"]*)"', re.IGNORECASE)
_UNSUBSCRIBE: Final = "Unsubscribe"


@dataclass(frozen=True, slots=True)
class DkimKey:
    """Private RSA key in PEM, and the name of its public key in DNS."""

    selector: str
    domain: str
    pem: bytes


@dataclass(frozen=True, slots=True)
class Sender:
    """Sender of a channel's messages; `links` is the gateway's URL for customers."""

    mailbox: Address
    reply_to: str | None
    links: str | None
    tracks_opens: bool
    tracks_clicks: bool
    dkim: DkimKey | None


class LinkMaker:
    """Maker of the links in messages, which the gateway verifies."""

    def __init__(self, secret: str) -> None:
        self._links = MessageLinks(secret)

    def preferences_link(self, base: str, action: Action) -> str:
        """Return the link to the page of preferences for this kind of message."""
        link = PreferenceLink(
            action.identifier, action.channel, action.purpose, action.campaign, action.action_id
        )
        return f"{base}{PREFERENCES_PATH}?{urlencode({'t': self._links.preferences.sign(link)})}"

    def tracked_link(self, base: str, path: str, link: TrackedLink) -> str:
        return f"{base}{path}?{urlencode({'t': self._links.tracking.sign(link)})}"


def message_id(action_id: str, domain: str) -> str:
    """Return the Message-ID of an action."""
    return f"<{action_id}@{domain}>"


def compose(
    action: Action, recipient: Address, sender: Sender, links: LinkMaker, now: datetime
) -> bytes:
    """Return the bytes of an action's message for SMTP; `now` is timezone-aware."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender.mailbox
    message["To"] = recipient
    message["Subject"] = action.content.get("subject", "")
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = message_id(action.action_id, sender.mailbox.domain)
    if sender.reply_to is not None:
        message["Reply-To"] = sender.reply_to
    message["Feedback-ID"] = _feedback_id(action, sender.mailbox.domain)
    message[TOKEN_HEADER] = action.token
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    unsubscribe_link = None
    if sender.links is not None and action.purpose != "transactional":
        unsubscribe_link = links.preferences_link(sender.links, action)
        message["List-Unsubscribe"] = f"<{unsubscribe_link}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(_text(action, unsubscribe_link), cte="quoted-printable")
    if "html" in action.content:
        tracking = _Tracking(action, sender, links, round(now.timestamp() * 1000))
        html = _html(action, unsubscribe_link, tracking)
        message.add_alternative(html, subtype="html", cte="quoted-printable")
    return _sign(message.as_bytes(), sender.dkim)


@dataclass(frozen=True, slots=True)
class _Tracking:
    """Signed links of one message, sent at `sent_at` (epoch ms), that report opens and clicks."""

    action: Action
    sender: Sender
    links: LinkMaker
    sent_at: int

    def click_link(self, url: str) -> str:
        return self._link_to(CLICK_PATH, url)

    def picture(self) -> str:
        return f'<img src="{escape(self._link_to(OPEN_PATH, ""))}" width="1" height="1" alt="">'

    def _link_to(self, path: str, url: str) -> str:
        link = TrackedLink(self.action.token, url, self.sent_at)
        return self.links.tracked_link(self.sender.links or "", path, link)


def _feedback_id(action: Action, domain: str) -> str:
    """Return the Feedback-ID: campaign, channel, purpose and sender.

    Mailbox providers report complaints by its parts.
    """
    sender = domain.replace(".", "-")[:_MAX_SENDER_ID_LENGTH]
    return ":".join((action.campaign, action.channel, action.purpose, sender))


def _text(action: Action, unsubscribe_link: str | None) -> str:
    text = action.content.get("text", "")
    if unsubscribe_link is None:
        return text
    label = action.content.get("unsubscribe", _UNSUBSCRIBE)
    return f"{text}\n\n-- \n{label}: {unsubscribe_link}\n"


def _html(action: Action, unsubscribe_link: str | None, tracking: _Tracking) -> str:
    html = _INLINER.inline(action.content["html"])
    if tracking.sender.tracks_clicks:
        html = _LINK.sub(partial(_track_link, tracking), html)
    end = ""
    if unsubscribe_link is not None:
        label = escape(action.content.get("unsubscribe", _UNSUBSCRIBE))
        end = f'<p style="font-size: small;"><a href="{escape(unsubscribe_link)}">{label}</a></p>'
    if tracking.sender.tracks_opens:
        end += tracking.picture()
    body, closing_tag, remainder = html.rpartition("</body>")
    return f"{body}{end}{closing_tag}{remainder}"


def _track_link(tracking: _Tracking, match: re.Match[str]) -> str:
    tag_start, url = match.groups()
    return f'{tag_start}{escape(tracking.click_link(unescape(url)))}"'


def _sign(message: bytes, key: DkimKey | None) -> bytes:
    if key is None:
        return message
    headers, _, _ = message.partition(b"\r\n\r\n")
    header_names = {line.partition(b":")[0].lower() for line in headers.split(b"\r\n")}
    header: bytes = dkim.sign(
        message,
        key.selector.encode(),
        key.domain.encode(),
        key.pem,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=[name for name in _SIGNED_HEADERS if name in header_names],
    )
    return header + message
