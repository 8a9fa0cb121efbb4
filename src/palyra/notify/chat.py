"""Chat, mail and other services that Apprise speaks to."""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from palyra.alerts.alert import Notice, Severity
from palyra.alerts.notices import Event
from palyra.core.address import Reach
from palyra.core.instant import Instant
from palyra.core.secret import Secret
from palyra.notify.message import text_of, title_of
from palyra.notify.sender import ANYWHERE, PUBLIC, Undelivered

_STATUS = re.compile(r"\berror=(\d{3})\b")
_LOOKS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}


class AppriseSender:
    """Sends through one Apprise URL, which was checked when the configuration was read.

    ``timeout_s`` bounds each step; the whole is bounded by who sends. Without ``allow_private`` only public
    addresses are reached, and none of ``proxies`` (hosts, see ``guard.proxy_hosts``) is gone through.
    """

    def __init__(
        self, url: Secret, *, allow_private: bool, timeout_s: float, proxies: frozenset[str] = frozenset()
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._reaches = ANYWHERE if allow_private else PUBLIC
        self._proxies = frozenset[str]() if allow_private else proxies
        # Its log names accounts and addresses; what people need of it is in the errors of the notices.
        logging.getLogger("apprise").propagate = False
        self._make = _loaded()

    @property
    def reaches(self) -> frozenset[Reach]:
        """See ``Sender``."""
        return self._reaches

    @property
    def proxies(self) -> frozenset[str]:
        """See ``Sender``."""
        return self._proxies

    def send(self, notice: Notice, now: Instant) -> None:  # noqa: ARG002 (see Sender)
        """See ``Sender``."""
        look = "success" if notice.event == Event.RESOLVED else _LOOKS[notice.alert.severity]
        with _overheard() as statuses:
            # A fresh one each time: they remember what they sent, and wait between two messages.
            plugin = self._make(self._url.reveal())
            if plugin is None:
                raise Undelivered("Apprise does not understand the URL")
            plugin.redirects = False
            plugin.socket_connect_timeout = plugin.socket_read_timeout = self._timeout_s
            is_sent = plugin.notify(
                title=title_of(notice), body=text_of(notice), notify_type=look, body_format="text"
            )
        if not is_sent:
            status = f" (HTTP status {statuses[-1]})" if statuses else ""
            raise Undelivered(f"the service did not take it, or cannot be reached{status}")


def _loaded() -> Callable[[str], Any]:
    """Load Apprise, which takes a second, and return what makes a plug-in of a URL (None: of no such)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        asset = apprise.AppriseAsset(
            app_id="Palyra", app_desc="Palyra", http_redirects=False, pgp_autogen=False, pem_autogen=False
        )
        make = cast("Callable[..., Any]", apprise.Apprise.instantiate)  # pyright: ignore[reportUnknownMemberType]
        # The plug-ins themselves are loaded when the first one is asked for.
        make("json://localhost", asset=asset)
    return lambda url: make(url, asset=asset)


@contextmanager
def _overheard() -> Generator[list[str]]:
    """The HTTP statuses that Apprise writes to its log from this thread: it returns only yes or no."""
    statuses: list[str] = []
    handler = _Statuses(statuses, threading.get_ident())
    logger = logging.getLogger("apprise")
    logger.addHandler(handler)
    try:
        yield statuses
    finally:
        logger.removeHandler(handler)


class _Statuses(logging.Handler):
    """Keeps three digits of a line and nothing else: the rest may hold what nobody should read."""

    def __init__(self, statuses: list[str], thread: int) -> None:
        super().__init__()
        self._statuses = statuses
        self._thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        if record.thread == self._thread:
            self._statuses += _STATUS.findall(record.getMessage())
