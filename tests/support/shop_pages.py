"""The web server of a shop: files of tests/browser/shop, with the snippet of the SDK's README."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, quote, urlsplit

_README = Path(__file__).parents[2] / "pipeline" / "gateway" / "sdk" / "README.md"
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
KEY = "browser-web-key"


def snippet() -> str:
    """Return the snippet that the SDK's README shows for a page's head."""
    [code] = re.findall(r"```html\n(<style>.*?)```", _README.read_text(), re.DOTALL)
    return str(code)


@dataclass
class ShopPages:
    """Shop's web server; its pages send to `gateway`."""

    folder: Path
    port: int
    gateway: str = ""
    csp: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def serve(cls, folder: Path) -> Iterator["ShopPages"]:
        """Serve the pages of a folder for the duration of the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        pages = cls(folder, server.server_address[1])
        server.RequestHandlerClass = pages.handler()
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield pages
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def url(self, path: str = "/", site: str = "127.0.0.1", **options: object) -> str:
        """Return a page's URL; `options` are those of `kairos.load` in it."""
        query = f"?options={quote(json.dumps(options))}" if options else ""
        return f"http://{site}:{self.port}{path}{query}"

    @cached_property
    def analytics(self) -> bytes:
        """Script of a page with Segment's browser client in it, as esbuild makes it."""
        esbuild = self.folder / "node_modules" / ".bin" / "esbuild"
        command = [str(esbuild), "segment-page.js", "--bundle", "--format=iife"]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, check=True)
        return result.stdout

    def handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self

        class ShopPageHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                kind = _TYPES.get(Path(url.path).suffix or ".html")
                if kind is None:
                    self.send_error(404)
                    return
                file = pages.folder / "shop" / url.path.lstrip("/")
                if not file.is_file():
                    file = pages.folder / "shop" / "index.html"
                if url.path == "/analytics.js":
                    body = pages.analytics
                else:
                    body = pages.text(file, parse_qs(url.query)).encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if url.path in pages.csp:
                    self.send_header("Content-Security-Policy", pages.csp[url.path])
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return ShopPageHandler

    def text(self, file: Path, query: dict[str, list[str]]) -> str:
        """Return a page as it is sent."""
        options = query.get("options", ["{}"])[0]
        code = snippet().replace('"WRITE_KEY"', f'"{KEY}", {options}')
        text = file.read_text().replace("<!-- SNIPPET -->", code)
        return text.replace("https://k.shop.example", self.gateway).replace("GATEWAY", self.gateway)
