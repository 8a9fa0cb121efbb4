"""The command line as a client of the control plane: where it is, with which key, what errors mean."""

import ipaddress
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, cast
from urllib.parse import quote, urlsplit

import httpx2
import typer

from palyra.cli.output import CommandError, ExitCode, exit_code_of_status

DEFAULT_URL = "http://127.0.0.1:8484"
TIMEOUT_S = 30.0
PREFIX = "/api/v1"
_UNAUTHORIZED = 401


UrlOption = Annotated[
    str, typer.Option("--url", envvar="PALYRA_URL", help="Where the daemon listens.", metavar="URL")
]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        envvar=["PALYRA_KEY", "PALYRA_OWNER_KEY"],
        help="Key to present; better in the environment than on the command line.",
        metavar="KEY",
        show_default=False,
    ),
]


class Connector:
    """Opens the HTTP client. Tests put one of their own into the command's context."""

    def open(self, url: str) -> httpx2.Client:
        """A client for the daemon at ``url``; a loopback daemon is never reached through a proxy."""
        return httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=not _is_loopback(url))


@dataclass(frozen=True, slots=True)
class Answer:
    """A document and the version that its ``ETag`` names."""

    document: dict[str, Any]
    version: str | None


@dataclass(frozen=True, slots=True)
class Client:
    """The control plane at ``url``. Every failure is a CommandError with its exit code."""

    connector: Connector
    url: str
    key: str

    def get(self, path: str, **params: str | None) -> dict[str, Any]:
        """A document; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.call("GET", path, params=given).document

    def items(self, path: str, **params: str | None) -> list[dict[str, Any]]:
        """The items of all pages of a list."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, **params, cursor=cursor)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request below ``/api/v1``. Raises CommandError."""
        with self._told(), self.connector.open(self.url) as http:
            response = http.request(
                method, PREFIX + path, json=body, params=params, headers=self._headers(headers)
            )
        return self._read(response)

    def download(self, path: str, params: Mapping[str, str], write: Callable[[bytes], object]) -> None:
        """Hand a file to ``write`` as it comes. Raises CommandError, also where the file broke off."""
        begun = False
        try:
            with (
                self._told(),
                self.connector.open(self.url) as http,
                http.stream("GET", PREFIX + path, params=params, headers=self._headers()) as response,
            ):
                if not response.is_success:
                    response.read()
                    self._read(response)
                for chunk in response.iter_bytes():
                    begun = True
                    write(chunk)
        except CommandError as error:
            if begun and error.exit_code is ExitCode.CONNECTIVITY:
                told = f"the file broke off: {error.message}"
                raise CommandError(told, ExitCode.CONNECTIVITY, hint="try again") from None
            raise

    def _headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        sent = dict(more or {})
        if self.key:
            sent["authorization"] = f"Bearer {self.key}"
        return sent

    @contextmanager
    def _told(self) -> Generator[None]:
        """What goes wrong on the way to the daemon, as a CommandError."""
        try:
            yield
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise CommandError(f"--url: {self.url!r} is no address: {error}", ExitCode.USAGE) from None
        except UnicodeEncodeError:
            raise CommandError("--key: holds characters that no key has", ExitCode.AUTH) from None
        except httpx2.TransportError as error:
            hint = "is `palyra serve` running? Say where with --url or PALYRA_URL"
            message = f"no daemon answers at {self.url} ({error})"
            raise CommandError(message, ExitCode.CONNECTIVITY, hint=hint) from None

    def _read(self, response: httpx2.Response) -> Answer:
        document = _document(response)
        if document is None:
            message = f"{self.url} answered {response.status_code} without a JSON document."
            raise CommandError(message, ExitCode.CONNECTIVITY, hint="does --url point to Palyra?")
        if response.is_success:
            return Answer(document, response.headers.get("etag"))
        told = str(document.get("detail") or f"the daemon answered {response.status_code}")
        field = document.get("field")
        raise CommandError(
            f"{field}: {told}" if field else told,
            exit_code_of_status(response.status_code),
            hint="give a key with --key or PALYRA_KEY" if response.status_code == _UNAUTHORIZED else None,
            code=document.get("code"),
        )


def connect(context: typer.Context, url: str, key: str) -> Client:
    """The client of one command."""
    return Client(context.find_object(Connector) or Connector(), url.rstrip("/"), key)


def segment(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def _document(response: httpx2.Response) -> dict[str, Any] | None:
    if not response.content:
        return {} if response.is_success else None
    try:
        document = response.json()
    except ValueError:
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
