"""`/sdk.js` and related files: the web SDK, as a script and as a module, with its debug overlay."""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER: Final = Path(__file__).parent / "sdk"
_SCRIPT: Final = "sdk.js"
_MEDIA: Final = "text/javascript; charset=utf-8"
_ENDLESS_CACHE: Final = "public, max-age=31536000, immutable"
_HOUR_CACHE: Final = "public, max-age=3600, stale-while-revalidate=86400"
_DIGIT_COUNT: Final = 16
"""Number of hexadecimal digits of a digest in a path."""

_MODULE: Final = (
    "window.kairos = window.kairos || [];\n"
    'window.kairos._host = new URL(".", import.meta.url).href;\n'
    "{script}\nexport const kairos = window.kairos;\nexport default kairos;\n"
)


@dataclass(frozen=True, slots=True)
class ScriptFile:
    """Served file, plain and compressed."""

    body: bytes
    gzip_body: bytes
    digest: str

    @classmethod
    def of(cls, body: bytes) -> "ScriptFile":
        """Compress a file; equal bodies give equal compressed bytes."""
        gzip_body = gzip.compress(body, 9, mtime=0)
        return cls(body, gzip_body, sha256(body).hexdigest()[:_DIGIT_COUNT])

    def answer(self, request: Request, cache: str) -> Response:
        """Answer with the file, or 304 where the browser has it."""
        etag = f'"{self.digest}"'
        headers = {
            "ETag": etag,
            "Cache-Control": cache,
            "Vary": "Accept-Encoding",
            "Access-Control-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        }
        etags = request.headers.get("if-none-match", "")
        if etag in (tag.strip().removeprefix("W/") for tag in etags.split(",")):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(self.gzip_body, headers=headers, media_type=_MEDIA)
        return Response(self.body, headers=headers, media_type=_MEDIA)


def script_files() -> dict[str, ScriptFile]:
    """Return the files by name."""
    script = (_FOLDER / _SCRIPT).read_text()
    texts = {
        _SCRIPT: script,
        "sdk.mjs": _MODULE.format(script=script),
        "sdk-debug.js": (_FOLDER / "sdk-debug.js").read_text(),
    }
    return {name: ScriptFile.of(text.encode()) for name, text in texts.items()}


def script_routes() -> Iterable[Route]:
    """Make the routes: by name, cached for an hour; by digest (`/sdk-DIGEST.js`), cached for ever;
    and by the path of Segment's own snippet."""
    files = script_files()
    for name, file in files.items():
        yield _route(f"/{name}", file, _HOUR_CACHE)
    script = files[_SCRIPT]
    yield _route(f"/sdk-{script.digest}.js", script, _ENDLESS_CACHE)
    yield _route("/analytics.js/v1/{key}/analytics.min.js", script, _HOUR_CACHE)


def _route(path: str, file: ScriptFile, cache: str) -> Route:
    async def answer(request: Request) -> Response:
        return file.answer(request, cache)

    return Route(path, answer)
