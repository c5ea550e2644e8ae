"""Paths as clients join them of a host and a route, with a slash too many."""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_BEGINNING: Final = re.compile("/+v1/+")


class JoinedPaths:
    """Application whose routes for posts are found with doubled slashes before them, and one after.

    A redirect would do for no page: a browser's preflight request follows none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "OPTIONS"):
            path = scope["path"]
            if "//" in path or path.endswith("/"):
                scope = {**scope, "path": _BEGINNING.sub("/v1/", path, count=1).rstrip("/") or "/"}
        await self._app(scope, receive, send)
