"""Where an internet address leads: out, within the network, to this machine, or where nothing ever goes."""

import re
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254"})

METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
"""Names under which clouds give out credentials."""


class Reach(StrEnum):
    """How far away what answers at an address can be.

    ``special`` is what no URL may lead to: link-local, multicast, reserved, metadata services, and IPv6
    spellings of IPv4 addresses.
    """

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    SPECIAL = "special"


def reach_of(address: IPv4Address | IPv6Address) -> Reach:
    """Return how far ``address`` reaches. What is not for the whole internet counts as private."""
    if embeds_ipv4(address) or str(address) in _METADATA_ADDRESSES:
        return Reach.SPECIAL
    if address.is_loopback:
        return Reach.LOOPBACK
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        return Reach.SPECIAL
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def embeds_ipv4(address: IPv4Address | IPv6Address) -> bool:
    """Whether this is an IPv6 spelling of an IPv4 address: mapped, 6to4, Teredo, NAT64 or compatible."""
    if isinstance(address, IPv4Address):
        return False
    if address.ipv4_mapped is not None or address.sixtofour is not None or address.teredo is not None:
        return True
    prefix = int(address) >> 32
    if prefix == 0:
        return not address.is_loopback and not address.is_unspecified
    return prefix == 0x0064_FF9B << 64


def parse_host(host: str) -> str | IPv4Address | IPv6Address:
    """Read the lower-case host of a URL: an address (IPv6 in brackets), or a name.

    Raises ValueError that says what is wrong with it, as the end of a sentence about the URL.
    """
    if host.startswith("["):
        try:
            return IPv6Address(host.removeprefix("[").removesuffix("]") if host.endswith("]") else host)
        except ValueError:
            raise ValueError(f"has the host {host!r}, which is no IPv6 address") from None
    if _NUMERIC_LABEL.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        # Resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as addresses; only the plain spelling is accepted.
        try:
            return IPv4Address(host)
        except ValueError:
            raise ValueError(f"has the host {host!r}; write IPv4 as four decimal numbers") from None
    if _NAME.fullmatch(host) is None:
        raise ValueError(f"has the host {host!r}, which is no host name (write IDN as xn--)")
    if host in METADATA_NAMES:
        raise ValueError(f"points to the metadata service {host!r}")
    return host
