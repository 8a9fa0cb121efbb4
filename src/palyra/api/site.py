"""Which pages are ours: what a browser says of the page that asks, and the addresses of this daemon."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from palyra.core.errors import CrossSite

if TYPE_CHECKING:  # the daemon makes a Site before it loads the framework
    from starlette.requests import Request

_OWN = frozenset({"same-origin", "none"})
"""``none``: no page asks, but the person at the browser."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where people open the daemon. ``behind_proxy``: TLS may end in front of it."""

    public_url: str | None = None
    behind_proxy: bool = False

    def check(self, request: "Request") -> None:
        """Raises CrossSite for a request of a page that is not ours. Programs send neither header."""
        fetched = request.headers.get("sec-fetch-site", "none")
        origin = request.headers.get("origin")
        if fetched not in _OWN or (origin is not None and origin not in self.origins(request)):
            told = origin or f"a page that is {fetched}"
            raise CrossSite(
                f"This request comes from {told[:200]!r}, which is not the console of this daemon. Open it "
                "at its own address, or send a key; behind a proxy, server.public_url must be that address."
            )

    def is_secure(self, request: "Request") -> bool:
        """Whether the browser speaks TLS, with the daemon or with a proxy in front of it."""
        said = (self.public_url or "", request.headers.get("origin", ""), str(request.base_url))
        return any(each.startswith("https://") for each in said)

    def address_of(self, request: "Request") -> str:
        """Where a request comes from: of IPv6 the network, for one host has as many addresses as it likes.

        Behind a proxy it is the last that ``X-Forwarded-For`` names: those before it anybody may write.
        """
        peer = "" if request.client is None else request.client.host
        told = ",".join(request.headers.getlist("x-forwarded-for")) if self.behind_proxy else ""
        return _network(told.rpartition(",")[2].strip()) or _network(peer) or peer

    def origins(self, request: "Request") -> set[str]:
        """The origins under which a browser may know this daemon, by the Host that the request names."""
        host, found = request.headers.get("host", "").lower(), set[str]()
        schemes = {request.url.scheme, "https"} if self.behind_proxy else {request.url.scheme}
        if self.public_url is not None:
            scheme, _, rest = self.public_url.lower().partition("://")
            public = _without_port(scheme, rest.partition("/")[0])
            found.add(f"{scheme}://{public}")
            if _without_port(scheme, host) == public:
                schemes = {scheme}
        return found | {f"{scheme}://{_without_port(scheme, host)}" for scheme in schemes if host}


def _network(address: str) -> str | None:
    """An IPv4 address, or the /64 of an IPv6 address; None for what is neither."""
    try:
        found = ip_address(address)
    except ValueError:
        return None
    known = found if isinstance(found, IPv4Address) else found.ipv4_mapped
    return str(known or IPv6Network((int(found), 64), strict=False))


def _without_port(scheme: str, host: str) -> str:
    """The host as an origin names it: browsers leave the usual port out."""
    return host.removesuffix(_DEFAULT_PORTS.get(scheme, ""))
