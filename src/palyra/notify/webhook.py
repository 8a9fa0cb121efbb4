"""Signed webhooks over HTTP: no redirect, no proxy, no cookie, and nothing read but the status."""

import ssl
from collections.abc import Sequence

import httpx2

from palyra import __version__
from palyra.alerts.alert import Notice
from palyra.core.address import Reach
from palyra.core.instant import NANOSECONDS, Instant
from palyra.core.secret import Secret
from palyra.notify.message import payload_of
from palyra.notify.sender import ANYWHERE, PUBLIC, WITHIN, Undelivered
from palyra.webhooks import secret_bytes, sign

_GOOD = range(200, 300)
_REDIRECT = range(300, 400)


class WebhookSender:
    """Posts a notice to one URL. ``timeout_s`` bounds each step; the whole is bounded by who sends.

    ``url`` was checked when the configuration was read. Over ``http://`` only private addresses are reached.
    Raises ValueError for a secret that is none.
    """

    def __init__(
        self, url: Secret, secrets: Sequence[Secret], *, allow_private: bool, timeout_s: float
    ) -> None:
        self._url = url
        self._secrets = [secret_bytes(each.reveal()) for each in secrets]
        self._timeout_s = timeout_s
        # Clear text would show a message to everybody on the way: it stays within the network.
        is_clear = url.reveal().lower().startswith("http:")
        self._reaches = (WITHIN if is_clear else ANYWHERE) if allow_private else PUBLIC
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    @property
    def reaches(self) -> frozenset[Reach]:
        """See ``Sender``."""
        return self._reaches

    @property
    def proxies(self) -> frozenset[str]:
        """See ``Sender``: none is ever used."""
        return frozenset()

    def send(self, notice: Notice, now: Instant) -> None:
        """See ``Sender``. Only a 2xx counts as taken."""
        body = payload_of(notice)
        headers = {
            "content-type": "application/json",
            "user-agent": f"Palyra/{__version__}",
            **sign(self._secrets, notice.id, now // NANOSECONDS, body),
        }
        try:
            status = self._post(body, headers)
        except httpx2.TimeoutException:
            raise Undelivered(f"no answer within {self._timeout_s:g} s") from None
        except httpx2.ConnectError as error:
            raise Undelivered(f"no connection: {error}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Undelivered(f"the connection failed ({type(error).__name__})") from None
        if status in _REDIRECT:
            raise Undelivered(f"answered with a redirect (HTTP status {status}); write the final URL")
        if status not in _GOOD:
            raise Undelivered(f"answered with HTTP status {status}")

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        # The transport itself follows nothing, uses no proxy and logs no URL; a client would.
        timeout = httpx2.Timeout(self._timeout_s).as_dict()
        request = httpx2.Request(
            "POST", self._url.reveal(), content=body, headers=headers, extensions={"timeout": timeout}
        )
        with httpx2.HTTPTransport(verify=self._tls) as transport:
            response = transport.handle_request(request)
            # The body of the answer is left unread, so that it needs no bound.
            response.close()
            return response.status_code
