"""Which provider URLs an operator may configure: no credential ever leaves over clear text or to metadata."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from palyra.core.errors import FieldError

_FIELD = "base_url"
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^/?#@:\[\]]+)(?::(?P<port>[^/?#@]*))?(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH = re.compile(r"(/[A-Za-z0-9_~.-]+)*/?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254"})


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
    if host.startswith("["):
        try:
            return _check_address(IPv6Address(host[1:-1]))
        except ValueError as error:
            if isinstance(error, FieldError):
                raise
            raise FieldError(_FIELD, f"has the host {host!r}, which is no IPv6 address") from None
    if _NUMERIC_LABEL.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        # Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses; only the plain spelling is accepted.
        try:
            return _check_address(IPv4Address(host))
        except ValueError as error:
            if isinstance(error, FieldError):
                raise
            raise FieldError(_FIELD, f"has the host {host!r}; write IPv4 as four decimal numbers") from None
    if _NAME.fullmatch(host) is None:
        raise FieldError(_FIELD, f"has the host {host!r}, which is no host name (write IDN as xn--)")
    if host in _METADATA_NAMES:
        raise FieldError(_FIELD, f"points to the metadata service {host!r}")
    return host, host == "localhost"


def _check_address(address: IPv4Address | IPv6Address) -> tuple[str, bool]:
    text = str(address)
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo):
        raise FieldError(_FIELD, f"embeds an IPv4 address in {text!r}; write the IPv4 address itself")
    embedded = isinstance(address, IPv6Address) and _embeds_special_ipv4(address)
    special = address.is_link_local or address.is_multicast or address.is_unspecified
    reserved = address.is_reserved and not address.is_loopback
    if special or reserved or embedded or text in _METADATA_ADDRESSES:
        raise FieldError(_FIELD, f"points to the special address {text!r}")
    return text, address.is_loopback


def _embeds_special_ipv4(address: IPv6Address) -> bool:
    """Whether this is a NAT64 (64:ff9b::/96) or IPv4-compatible (::/96) spelling of an IPv4 address."""
    prefix = int(address) >> 32
    if prefix not in {0, 0x0064_FF9B << 64}:
        return False
    return prefix != 0 or not address.is_loopback
