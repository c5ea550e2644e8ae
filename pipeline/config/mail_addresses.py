"""E-mail addresses of configurations and customers."""

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr

import idna


def parse_mailbox(text: str) -> Address | None:
    """Return the mailbox in `address` or `Name <address>`; None for any other text.

    The domain of the result is ASCII, as in DNS; the part before the @ must be ASCII, because few
    servers accept anything else (RFC 6531).
    """
    if not text.isprintable():
        return None
    name, address = parseaddr(text)
    local, _, domain = address.rpartition("@")
    if not (local and domain) or " " in address:
        return None
    try:
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
        return Address(name, addr_spec=f"{local}@{ascii_domain}")
    except (HeaderParseError, IndexError, ValueError, idna.IDNAError):
        return None
