"""E-mail addresses as configurations and customers write them."""

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr

import idna


def parse_mailbox(text: str) -> Address | None:
    """Return the mailbox in `address` or `Name <address>`; None where it is none.

    The domain of the result is ASCII, as DNS has it; what is before the @ must be, because few
    servers take anything else (RFC 6531).
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
