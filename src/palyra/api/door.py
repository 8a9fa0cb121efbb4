"""The threshold of the control plane: which host may be named, and what no answer leaves without."""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palyra.api.problem import problem_of
from palyra.core.errors import WrongHost

ANY_HOST = "*"
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Door:
    """ASGI middleware. A web page that resolves its own name to this machine gets 421 (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a foreign host, else pass the request on and mark the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = host_name(Headers(scope=scope).get("host", ""))
        if ANY_HOST not in self._hosts and host not in self._hosts:
            message = f"This daemon does not answer for the host {host[:100]!r}."
            await problem_of(WrongHost(message))(scope, receive, marked)
            return
        await self._app(scope, receive, marked)


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port, brackets or a trailing dot; "" for no host."""
    text = header.strip().lower()
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        return address if not rest or rest.startswith(":") else ""
    return text.partition(":")[0].rstrip(".")
