"""Paths that clients join from a host and a route with a superfluous slash."""

import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_BEGINNING: Final = re.compile("/+v1/+")


class JoinedPaths:
    """Application that also accepts posts to `//v1//track` and `/v1/track/` as `/v1/track`.

    A redirect would not help pages, since browsers' preflight requests follow none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "OPTIONS"):
            path = scope["path"]
            if "//" in path or path.endswith("/"):
                scope = {**scope, "path": _BEGINNING.sub("/v1/", path, count=1).rstrip("/") or "/"}
        await self._app(scope, receive, send)
