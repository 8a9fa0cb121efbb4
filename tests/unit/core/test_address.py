"""How far an address reaches, and which hosts a URL may have."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from palyra.core.address import METADATA_NAMES, Reach, embeds_ipv4, parse_host, reach_of

REACHES = {
    Reach.PUBLIC: ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1", "2a00:1450:4001::8a"],
    Reach.PRIVATE: [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "203.0.113.7",
        "0.0.0.1",
        "fd12:3456::1",
        "fc00::1",
        "2001:db8::1",
    ],
    Reach.LOOPBACK: ["127.0.0.1", "127.255.255.254", "::1"],
    Reach.SPECIAL: [
        "169.254.169.254",
        "169.254.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::",
    ],
}


@pytest.mark.parametrize(("text", "reach"), [(text, reach) for reach in REACHES for text in REACHES[reach]])
def test_how_far_an_address_reaches(text: str, reach: Reach) -> None:
    assert reach_of(ip_address(text)) is reach


@pytest.mark.parametrize(
    "text", ["::ffff:1.2.3.4", "::1.2.3.4", "64:ff9b::1.2.3.4", "2002:102:304::", "2001::1"]
)
def test_an_ipv4_address_in_disguise_is_seen(text: str) -> None:
    assert embeds_ipv4(IPv6Address(text))


@pytest.mark.parametrize("text", ["1.2.3.4", "::1", "::", "2606:4700::1", "fd00::1.2.3.4"])
def test_other_addresses_are_no_disguise(text: str) -> None:
    assert not embeds_ipv4(ip_address(text))


@pytest.mark.parametrize(
    ("host", "parsed"),
    [
        ("hooks.example.com", "hooks.example.com"),
        ("localhost", "localhost"),
        ("a_b-c.example", "a_b-c.example"),
        ("10.0.0.1", IPv4Address("10.0.0.1")),
        ("[::1]", IPv6Address("::1")),
        ("[2606:4700:0::1]", IPv6Address("2606:4700::1")),
    ],
)
def test_a_host_is_a_name_or_an_address(host: str, parsed: object) -> None:
    assert parse_host(host) == parsed


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("[::1", "no IPv6 address"),
        ("[fe80::zz]", "no IPv6 address"),
        ("2130706433", "four decimal numbers"),
        ("0x7f.1", "four decimal numbers"),
        ("127.1", "four decimal numbers"),
        ("0177.0.0.1", "four decimal numbers"),
        ("127.0.0.1.", "four decimal numbers"),
        ("", "no host name"),
        ("-a.example", "no host name"),
        ("a..example", "no host name"),
        ("h\u00f6st", "no host name"),
        ("a b", "no host name"),
        ("a" * 64, "no host name"),
        *((name, "metadata service") for name in sorted(METADATA_NAMES)),
    ],
)
def test_anything_else_is_refused(host: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_host(host)
