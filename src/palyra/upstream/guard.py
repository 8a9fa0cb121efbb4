"""Which provider URLs an operator may configure: no credential ever leaves over clear text or to metadata."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from palyra.core.address import Reach, embeds_ipv4, parse_host, reach_of
from palyra.core.errors import FieldError

_FIELD = "base_url"
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^/?#@:\[\]]+)(?::(?P<port>[^/?#@]*))?(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)
_PATH = re.compile(r"(/[A-Za-z0-9_~.-]+)*/?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class ProviderUrl:
    """A checked base URL. ``host`` is lower-case and without brackets, ``base_path`` has no final slash."""

    scheme: str
    host: str
    port: int
    base_path: str

    @property
    def authority(self) -> str:
        """Return the value of the Host header: brackets for IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def connect_hosts(self) -> tuple[str, ...]:
        """Return the hosts to try in order; ``localhost`` never goes to a resolver."""
        return ("127.0.0.1", "::1") if self.host == "localhost" else (self.host,)


def check_provider_url(url: str) -> ProviderUrl:
    """Parse and check a provider's base URL.

    https is accepted everywhere except link-local, metadata and other special addresses; http only for
    127.0.0.0/8, ::1 and localhost. Raises FieldError("base_url", ...) saying what to write instead.
    """
    if "@" in url:
        raise FieldError(_FIELD, "must carry no user name or password; use the provider's `credential`")
    if "?" in url or "#" in url:
        raise FieldError(_FIELD, "must have no query and no fragment")
    match = _URL.fullmatch(url)
    if match is None:
        raise FieldError(_FIELD, "is not a URL; write for example https://api.openai.com/v1")
    scheme = match["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        raise FieldError(_FIELD, f"has the scheme {scheme!r}; write https:// (http:// for loopback only)")
    host, loopback = _check_host(match["host"].lower())
    if scheme == "http" and not loopback:
        raise FieldError(_FIELD, f"would send the credential to {host!r} in clear text; write https://")
    port = _DEFAULT_PORTS[scheme] if match["port"] is None else _check_port(match["port"])
    return ProviderUrl(scheme, host, port, _check_path(match["path"] or ""))


def _check_port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 65_535:
        raise FieldError(_FIELD, f"has the port {text!r}; write a number from 1 to 65535")
    return int(text)


def _check_path(path: str) -> str:
    if _PATH.fullmatch(path) is None or any(part in {".", ".."} for part in path.split("/")):
        raise FieldError(_FIELD, f"has the path {path!r}; write plain segments such as /v1")
    return path.rstrip("/")


def _check_host(host: str) -> tuple[str, bool]:
    """Return the host in canonical form and whether it is loopback."""
    try:
        parsed = parse_host(host)
    except ValueError as error:
        raise FieldError(_FIELD, str(error)) from None
    return (parsed, parsed == "localhost") if isinstance(parsed, str) else _check_address(parsed)


def _check_address(address: IPv4Address | IPv6Address) -> tuple[str, bool]:
    text = str(address)
    if embeds_ipv4(address):
        raise FieldError(_FIELD, f"embeds an IPv4 address in {text!r}; write the IPv4 address itself")
    reach = reach_of(address)
    if reach is Reach.SPECIAL:
        raise FieldError(_FIELD, f"points to the special address {text!r}")
    return text, reach is Reach.LOOPBACK
