"""What is written to a provider before the body."""

import pytest

from palyra.core.secret import Secret
from palyra.upstream.guard import check_provider_url
from palyra.upstream.request_head import ProviderKind, RequestHead


def build(
    *headers: tuple[bytes, bytes],
    url: str = "https://api.openai.com/v1",
    kind: ProviderKind = ProviderKind.openai,
    credential: Secret | None = None,
    method: bytes = b"POST",
    path: bytes = b"/chat/completions",
    length: int = 7,
) -> list[bytes]:
    head = RequestHead(check_provider_url(url), kind, credential).build(method, path, headers, length)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_fixed_lines_and_length() -> None:
    lines = build((b"Content-Type", b"application/json"), credential=Secret("sk-up"))
    assert lines == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: api.openai.com",
        lines[2],
        b"accept-encoding: identity",
        b"authorization: Bearer sk-up",
        b"content-type: application/json",
        b"content-length: 7",
    ]
    assert lines[2].startswith(b"user-agent: palyra/")


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"keep-alive",
        b"TE",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authorization",
        b"proxy-connection",
        b"host",
        b"content-length",
        b"authorization",
        b"X-Api-Key",
        b"cookie",
        b"accept-encoding",
        b"expect",
        b"x-palyra-session",
        b"x-forwarded-for",
    ],
)
def test_hop_by_hop_and_credentials_of_the_client_are_not_forwarded(name: bytes) -> None:
    assert b"leak" not in b"\n".join(build((name, b"leak")))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x-a", b"1\nx-b: 2"),
        (b"x-a", b"1\x00"),
        (b"x-a\r\nx-b", b"1"),
        (b"x a", b"1"),
        (b"x-a:", b"1"),
        (b"", b"1"),
    ],
)
def test_bytes_that_could_forge_a_line_are_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        build((name, value))


@pytest.mark.parametrize(
    ("method", "path"),
    [(b"POST", b"/a b"), (b"POST", b"/a\r\nx: y"), (b"POST", b"a"), (b"PO ST", b"/a"), (b"", b"/a")],
)
def test_request_lines_that_http_does_not_allow_are_refused(method: bytes, path: bytes) -> None:
    with pytest.raises(ValueError, match="request line"):
        build(method=method, path=path)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://api.anthropic.com", b"/v1/messages"),
        ("https://api.anthropic.com/", b"/v1/messages"),
        ("https://api.anthropic.com/v1", b"/v1/messages"),
        ("https://gw.example/anthropic", b"/anthropic/v1/messages"),
        ("https://gw.example/anthropic/v1beta", b"/anthropic/v1beta/messages"),
    ],
)
def test_anthropic_base_url_with_and_without_version(url: str, target: bytes) -> None:
    lines = build(url=url, kind=ProviderKind.anthropic, path=b"/messages")
    assert lines[0] == b"POST %b HTTP/1.1" % target


def test_anthropic_key_header_and_default_version() -> None:
    lines = build(kind=ProviderKind.anthropic, credential=Secret("k"))
    assert b"x-api-key: k" in lines
    assert b"anthropic-version: 2023-06-01" in lines
    assert not any(line.startswith(b"authorization") for line in lines)


def test_anthropic_version_of_the_client_wins() -> None:
    lines = build((b"Anthropic-Version", b"2026-10-21"), kind=ProviderKind.anthropic)
    assert [line for line in lines if line.startswith(b"anthropic-version")] == [
        b"anthropic-version: 2026-10-21"
    ]


def test_without_a_credential_none_is_sent() -> None:
    text = b"\n".join(build(kind=ProviderKind.openai_compatible))
    assert b"authorization" not in text
    assert b"x-api-key" not in text


def test_get_without_a_body_has_no_length() -> None:
    assert not any(b"content-length" in line for line in build(method=b"GET", path=b"/models", length=0))


def test_a_credential_that_could_forge_a_line_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="credential") as caught:
        build(credential=Secret("sk\r\nx: y"))
    assert "sk" not in str(caught.value)
