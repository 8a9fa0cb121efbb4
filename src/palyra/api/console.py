"""The web console: its files as they were built, and one page for every address below ``/console``."""

import gzip
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from palyra.api.access import PUBLIC
from palyra.api.routes import Routes
from palyra.core.errors import NotFound

ASSETS = Path(__file__).resolve().parents[1] / "console_assets"
_ADDRESS = "/console"
_HASHED = "assets/"
"""What is below has a digest of its content in its name."""
_FOREVER = "public, max-age=31536000, immutable"
_FOR_A_DAY = "public, max-age=86400"
_NONCE_CHARS = "%NONCE%"
_NOT_WORTH_PACKING = 1_024
_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>Palyra</title>
<h1>The console is not built</h1>
<p>Wheels of Palyra have it. In a checkout, <code>make setup</code> builds it.
Then start the daemon again.</p>
<p>The API is at <a href="/api/v1/openapi.json">/api/v1</a> all the same.</p>
"""


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent."""

    content: bytes
    packed: bytes | None
    media_type: str
    keep: str


class Console:
    """Handlers of ``/console``. Whoever may open it is decided by the routes it calls."""

    def __init__(self, folder: Path = ASSETS) -> None:
        self._folder = folder

    def install(self, routes: Routes) -> None:
        """Add the routes, and the way to them from the root."""
        for path, handler in (("/", self.open_console), (_ADDRESS, self.open_console)):
            routes.add("GET", path, handler, PUBLIC, prefix="", shown=False)
        routes.add("GET", _ADDRESS + "/{path:path}", self.show_console, PUBLIC, prefix="", shown=False)

    async def open_console(self) -> Response:
        """Lead to the console."""
        return RedirectResponse(f"{_ADDRESS}/", status_code=307)

    async def show_console(self, path: str, request: Request) -> Response:
        """A file of the console, or its page: which view that shows is decided in the browser."""
        found = self._files.get(path)
        if found is None and path.startswith(_HASHED):
            raise NotFound(f"The console has no file {path[:200]!r}; load the page again.")
        if found is None or path == "index.html":
            return self._page()
        headers = {"Cache-Control": found.keep, "Vary": "Accept-Encoding"}
        if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(found.packed, 200, headers, found.media_type)
        return Response(found.content, 200, headers, found.media_type)

    def _page(self) -> Response:
        page = self._files.get("index.html")
        if page is None:
            return HTMLResponse(_NOT_BUILT, 503)
        nonce = secrets.token_urlsafe(18)
        text = page.content.decode().replace(_NONCE_CHARS, nonce)
        return HTMLResponse(text, 200, {"Content-Security-Policy": _policy(nonce)})

    @cached_property
    def _files(self) -> dict[str, _File]:
        """Everything that was built, by its path: read once, as it does not change while a daemon runs."""
        return {
            each.relative_to(self._folder).as_posix(): _read(each, self._folder)
            for each in self._folder.glob("**/*")
            if each.is_file() and not each.name.startswith(".")
        }


def _read(path: Path, folder: Path) -> _File:
    content = path.read_bytes()
    worth = len(content) > _NOT_WORTH_PACKING and path.suffix in _TYPES
    hashed = path.relative_to(folder).as_posix().startswith(_HASHED)
    return _File(
        content,
        gzip.compress(content, 6, mtime=0) if worth else None,
        _TYPES.get(path.suffix, "application/octet-stream"),
        _FOREVER if hashed else _FOR_A_DAY,
    )


def _policy(nonce: str) -> str:
    """What the page may load and do: its own files, its own daemon, and styles that it made itself."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
