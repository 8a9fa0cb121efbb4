"""Which Apprise URLs a target may have: such that send over the network, and read nothing of this machine."""

import logging
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import cast

REFUSED = frozenset(
    {
        # What shows on this machine, or writes to its log.
        *("blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"),
        # What opens connections in ways whose addresses cannot be checked.
        *("amqp", "amqps", "aprs", "growl", "irc", "ircs", "mqtt", "mqtts", "rsyslog", "smpp", "smpps"),
        *("nostr", "xmpp", "xmpps"),
        # What reads its keys from files.
        "vapid",
    }
)
"""Schemes that no target may have."""

_LOGGER = "apprise"
_MAIL_FILES = ("pgp_key", "pgp_privkey", "use_wkd")


def check_apprise_url(url: str) -> None:
    """Check that Apprise understands ``url`` and that it does nothing but send over the network.

    Loads Apprise, which takes a second. Raises ValueError without the URL in it, as the end of a sentence.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in REFUSED:
        raise ValueError(f"has the scheme {scheme!r}, which is not for a daemon; choose another service")
    with _silently():
        import apprise

        make = cast("Callable[..., object]", apprise.Apprise.instantiate)  # pyright: ignore[reportUnknownMemberType]
        plugin = make(url, asset=apprise.AppriseAsset(http_redirects=False))
    if plugin is None:
        raise ValueError(
            "holds no URL that Apprise understands; see the page of its service for how it is written"
        )
    if not type(plugin).__module__.startswith("apprise.plugins.") or _schemes(plugin) & REFUSED:
        raise ValueError("is for a service that is not for a daemon; choose another")
    if any(isinstance(each, apprise.AppriseAttachment) and len(each) for each in vars(plugin).values()):
        raise ValueError("names a file to read; put in what it holds, or leave it out")
    if any(getattr(plugin, name, None) for name in _MAIL_FILES):
        raise ValueError("asks for PGP, whose keys would be read from files; leave it out")


def _schemes(plugin: object) -> set[str]:
    """All schemes of a service: Apprise has one or several, with and without TLS."""
    found: set[str] = set()
    for name in ("protocol", "secure_protocol"):
        schemes: str | Iterable[str] | None = getattr(plugin, name, None)
        found |= {schemes} if isinstance(schemes, str) else set(schemes or ())
    return found


@contextmanager
def _silently() -> Generator[None]:
    """Apprise writes URLs to its log, credentials and all; and it loads modules that Python will drop."""
    logger = logging.getLogger(_LOGGER)
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.disabled = before
