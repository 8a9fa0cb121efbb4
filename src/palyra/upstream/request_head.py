"""The head of a request to one provider: fixed lines precomputed, forwarded headers filtered and checked."""

import re
from collections.abc import Iterable
from enum import StrEnum

from palyra import __version__
from palyra.core.secret import Secret
from palyra.upstream.guard import ProviderUrl

ANTHROPIC_VERSION = b"2023-06-01"

_NOT_FORWARDED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"host",
        b"content-length",
        b"authorization",
        b"x-api-key",
        b"x-goog-api-key",
        b"cookie",
        b"accept-encoding",
        b"expect",
        b"user-agent",
        b"forwarded",
        b"http2-settings",
    }
)
_NOT_FORWARDED_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-palyra-")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_VALUE = re.compile(rb"[^\r\n\0]*+")
_TARGET = re.compile(rb"/[\x21-\x7e]*+")
_METHOD = re.compile(rb"[A-Z]{1,16}")
_VERSION_SEGMENT = re.compile(r"v[0-9]+[a-z0-9]*")
_CREDENTIAL = re.compile(r"[\x21-\x7e]+")
_TEMPLATES_MAX = 64
_LINES_MAX = 1_024
_LINE_BYTES_MAX = 512


class ProviderKind(StrEnum):
    """Which family of API a provider speaks; decides the credential's header and the base path."""

    openai = "openai"
    anthropic = "anthropic"
    openai_compatible = "openai_compatible"


class _Lines(dict[tuple[bytes, bytes], bytes]):
    """Header lines by what a client sent: clients repeat themselves, so each is checked and written once."""

    __slots__ = ()

    def __missing__(self, header: tuple[bytes, bytes]) -> bytes:
        """Return the line, empty if it is not to be forwarded. Raises ValueError for what could forge one."""
        name, value = header
        lowered = name.lower()
        if lowered in _NOT_FORWARDED or lowered.startswith(_NOT_FORWARDED_PREFIXES):
            # Not kept: it may be a credential.
            return b""
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise ValueError("a header to forward has a name or value that HTTP does not allow")
        line = b"%b: %b\r\n" % (lowered, value)
        if len(line) <= _LINE_BYTES_MAX:
            if len(self) >= _LINES_MAX:
                self.clear()
            self[header] = line
        return line


class RequestHead:
    """Builds request heads for one provider."""

    __slots__ = ("_anthropic", "_base", "_credential", "_line", "_templates", "_url")

    def __init__(self, url: ProviderUrl, kind: ProviderKind, credential: Secret | None) -> None:
        """Raise ValueError, without its text, for a credential that cannot stand in a header."""
        if credential and _CREDENTIAL.fullmatch(credential.reveal()) is None:
            raise ValueError("a credential must be printable ASCII without spaces or line breaks")
        self._url = url
        self._anthropic = kind is ProviderKind.anthropic
        self._credential = credential
        self._base = _base_path(url.base_path, kind)
        self._templates: dict[tuple[bytes, bytes], bytes] = {}
        self._line = _Lines().__getitem__

    def build(
        self, method: bytes, path: bytes, headers: Iterable[tuple[bytes, bytes]], body_length: int
    ) -> bytes:
        """Return the head with its blank line. Raises ValueError for bytes that could forge a line."""
        template = self._templates.get((method, path))
        if template is None:
            template = self._template(method, path)
        lines = b"".join(map(self._line, headers))
        if self._anthropic and not _names_version(lines):
            lines += b"anthropic-version: %b\r\n" % ANTHROPIC_VERSION
        if body_length or method not in (b"GET", b"DELETE"):
            return b"%b%bcontent-length: %d\r\n\r\n" % (template, lines, body_length)
        return b"%b%b\r\n" % (template, lines)

    def _template(self, method: bytes, path: bytes) -> bytes:
        if _METHOD.fullmatch(method) is None or _TARGET.fullmatch(path) is None:
            raise ValueError("a request line that HTTP does not allow")
        template = (
            b"%b %b%b HTTP/1.1\r\nhost: %b\r\nuser-agent: palyra/%b\r\naccept-encoding: identity\r\n%b"
        ) % (
            method,
            self._base,
            path,
            self._url.authority.encode("ascii"),
            __version__.encode("ascii"),
            self._credential_line(),
        )
        if len(self._templates) >= _TEMPLATES_MAX:
            self._templates.clear()
        self._templates[method, path] = template
        return template

    def _credential_line(self) -> bytes:
        if not self._credential:
            return b""
        clear = self._credential.reveal().encode("ascii")
        return b"x-api-key: %b\r\n" % clear if self._anthropic else b"authorization: Bearer %b\r\n" % clear


def _names_version(lines: bytes) -> bool:
    # No value holds a line break, so this finds names only.
    return lines.startswith(b"anthropic-version:") or b"\nanthropic-version:" in lines


def _base_path(path: str, kind: ProviderKind) -> bytes:
    """Anthropic's base URL is written with and without /v1; paths are always relative to the version root."""
    if kind is ProviderKind.anthropic and _VERSION_SEGMENT.fullmatch(path.rpartition("/")[2]) is None:
        path = f"{path}/v1"
    return path.encode("ascii")
