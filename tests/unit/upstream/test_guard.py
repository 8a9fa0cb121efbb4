"""Only provider URLs that keep the credential safe are accepted."""

import pytest

from palyra.core.errors import FieldError
from palyra.upstream.guard import ProviderUrl, check_provider_url


@pytest.mark.parametrize(
    ("url", "expected", "authority"),
    [
        (
            "https://api.openai.com/v1",
            ProviderUrl("https", "api.openai.com", 443, "/v1"),
            "api.openai.com",
        ),
        (
            "HTTPS://API.Anthropic.com",
            ProviderUrl("https", "api.anthropic.com", 443, ""),
            "api.anthropic.com",
        ),
        (
            "https://host:8443/a/b-c/v1/",
            ProviderUrl("https", "host", 8443, "/a/b-c/v1"),
            "host:8443",
        ),
        ("http://localhost:8080/v1", ProviderUrl("http", "localhost", 8080, "/v1"), "localhost:8080"),
        ("http://127.0.0.1", ProviderUrl("http", "127.0.0.1", 80, ""), "127.0.0.1"),
        ("http://127.8.9.1:1", ProviderUrl("http", "127.8.9.1", 1, ""), "127.8.9.1:1"),
        ("http://[::1]:9/v1", ProviderUrl("http", "::1", 9, "/v1"), "[::1]:9"),
        ("http://[0:0:0:0:0:0:0:1]", ProviderUrl("http", "::1", 80, ""), "[::1]"),
        ("https://[2606:4700::1]/v1", ProviderUrl("https", "2606:4700::1", 443, "/v1"), "[2606:4700::1]"),
        ("https://10.0.0.5:8000/v1", ProviderUrl("https", "10.0.0.5", 8000, "/v1"), "10.0.0.5:8000"),
    ],
)
def test_accepts_https_and_loopback_http(url: str, expected: ProviderUrl, authority: str) -> None:
    checked = check_provider_url(url)
    assert checked == expected
    assert checked.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "//api.openai.com",
        "https://",
        "https:///v1",
        "ftp://host/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://api.openai.com/v1",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://localhost.",
        "https://user@host/v1",
        "https://user:pass@host/v1",
        "https://host@evil.example/v1",
        "https://host/v1?x=1",
        "https://host/v1#f",
        "https://host:0/",
        "https://host:65536/",
        "https://host:port/",
        "https://host:/",
        "https://host:-1/",
        "https://host: 80/",
        "https://ho st/",
        "https://host\\evil/",
        "https://host\r\nx: y/",
        "https://host\n",
        "https://h\u00f6st/",
        "https://-host/",
        "https://host..com/",
        "https://host/../admin",
        "https://host/./v1",
        "https://host//v1",
        "https://host/%2e%2e/v1",
        "https://host/v1\n",
        "https://169.254.169.254/latest",
        "http://169.254.169.254/latest",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "https://[::169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[fd00:ec2::254]/",
        "https://[::]/",
        "https://[::1",
        "https://[zz]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://2852039166/",
        "http://2130706433/",
        "https://0xa9fea9fe/",
        "https://0xa9.0xfe.0xa9.0xfe/",
        "https://0251.0376.0251.0376/",
        "https://169.254.43518/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://100.100.100.200/",
        "https://metadata.google.internal/",
    ],
)
def test_refuses_everything_else_naming_the_field(url: str) -> None:
    with pytest.raises(FieldError) as caught:
        check_provider_url(url)
    assert caught.value.field == "base_url"
    assert caught.value.message


def test_localhost_never_goes_to_a_resolver() -> None:
    assert check_provider_url("http://localhost:1").connect_hosts == ("127.0.0.1", "::1")
    assert check_provider_url("https://api.openai.com").connect_hosts == ("api.openai.com",)
