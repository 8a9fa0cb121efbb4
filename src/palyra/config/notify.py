"""``[notifications]`` and ``[[notify]]``: who is told of alerts, and how."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from palyra.alerts.alert import Kind, Severity
from palyra.config.apprise_url import check_apprise_url
from palyra.config.reader import TEXT_CHARS_MAX, Section, kind_of
from palyra.config.references import Surroundings
from palyra.config.settings import AppriseUrl, NotificationSettings, NotifyTarget, Webhook
from palyra.core.address import Reach, parse_host, reach_of
from palyra.core.secret import Secret
from palyra.webhooks import secret_bytes

TARGETS_MAX = 64
SECRETS_MAX = 4
TIMEOUT_MOST_S = 60.0
CONCURRENCY_MOST = 16

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^/?:\[\]]+)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<path>/[!-~]*)?(?P<query>\?[!-~]*)?",
    re.IGNORECASE,
)
_REFERENCES = ("env:", "file:")


def read_notifications(section: Section) -> NotificationSettings:
    """``[notifications]``."""
    default = NotificationSettings()
    settings = NotificationSettings(
        timeout_s=section.optional_seconds("timeout_s", most=TIMEOUT_MOST_S) or default.timeout_s,
        concurrency=section.integer("concurrency", default.concurrency, least=1, most=CONCURRENCY_MOST),
    )
    section.finish()
    return settings


def read_targets(sections: Sequence[Section], around: Surroundings) -> list[NotifyTarget]:
    """``[[notify]]``, in order. What is wrong with a target is reported, and the target left out."""
    found: list[NotifyTarget] = []
    seen: dict[str, str] = {}
    for section in sections:
        target = _target(section, around)
        target_id = section.data.get("id")
        if isinstance(target_id, str) and seen.setdefault(target_id, section.path) != section.path:
            section.wrong("id", f"{target_id!r} is used by {seen[target_id]} already; choose another")
        if target is not None:
            found.append(target)
    for section in sections[TARGETS_MAX:]:
        section.wrong("id", f"is one too many; write at most {TARGETS_MAX} targets")
    return found


def check_webhook_url(url: str, *, allow_private: bool) -> None:
    """Check what is known of a webhook's URL before it is used.

    https, or http within the own network; no credentials; no address that ``allow_private`` does not allow. A
    name is looked up when a message is sent. Raises ValueError, as the end of a sentence about the URL.
    """
    match = _URL.fullmatch(url)
    if match is None or "@" in match["host"] or "#" in url or int(match["port"] or 1) > 65_535:
        raise ValueError(
            "is no URL without user and fragment; write for example https://hooks.example.com/palyra"
        )
    scheme = match["scheme"].lower()
    if scheme not in {"http", "https"}:
        raise ValueError(f"has the scheme {scheme!r}; write https://")
    reach = _reach(parse_host(match["host"].lower()))
    if reach is Reach.SPECIAL:
        raise ValueError("leads to a special address, where no receiver can be")
    if reach in {Reach.PRIVATE, Reach.LOOPBACK} and not allow_private:
        raise ValueError("leads into a private network; write allow_private = true if that is wanted")
    if scheme == "http" and (reach is Reach.PUBLIC or not allow_private):
        raise ValueError(
            "would send in clear text; write https://, or allow_private = true within your own network"
        )


def _reach(host: str | IPv4Address | IPv6Address) -> Reach | None:
    """How far an address reaches; None for a name, which may lead anywhere."""
    if isinstance(host, str):
        return Reach.LOOPBACK if host == "localhost" or host.endswith(".localhost") else None
    return reach_of(host)


def _target(section: Section, around: Surroundings) -> NotifyTarget | None:
    target_id = section.text("id", required=True)
    if target_id and _ID.fullmatch(target_id) is None:
        section.wrong("id", f"{target_id!r} is not an id; use 1 to 64 of A-Z a-z 0-9 . _ -")
    allow_private = section.flag("allow_private", default=False)
    way = _way(section, around, allow_private=allow_private)
    kinds = section.choices("kinds", Kind)
    if section.data.get("kinds") == []:
        section.wrong("kinds", "is empty; leave it out for all kinds")
    severity = section.choice("min_severity", Severity, Severity.INFO)
    resolved = section.flag("resolved", default=True)
    section.finish()
    if way is None:
        return None
    return NotifyTarget(target_id, way, kinds or frozenset(Kind), severity, resolved, allow_private)


def _way(section: Section, around: Surroundings, *, allow_private: bool) -> AppriseUrl | Webhook | None:
    """How the target is reached; None after a mistake."""
    url = section.optional_text("url", most=TEXT_CHARS_MAX)
    webhook = section.optional_text("webhook", most=TEXT_CHARS_MAX)
    secrets = _secrets(section, around, required=webhook is not None)
    if "url" in section.data and "webhook" in section.data:
        section.wrong("webhook", "stands beside url; write a target for each of them")
    elif url is not None:
        return _apprise(section, around, url)
    elif webhook is not None:
        address = _webhook_url(section, around, webhook, allow_private=allow_private)
        return None if address is None or not secrets else Webhook(address, secrets)
    elif "url" not in section.data and "webhook" not in section.data:
        section.wrong(
            "url", "is required; write url for an Apprise URL, or webhook for an address of your own"
        )
    return None


def _apprise(section: Section, around: Surroundings, reference: str) -> AppriseUrl | None:
    if "secret" in section.data:
        section.wrong("secret", "signs webhooks only; leave it out with url")
    url = _referred(section, "url", reference, around, "an Apprise URL")
    if url is None:
        return None
    try:
        check_apprise_url(url.reveal())
    except ValueError as error:
        section.wrong("url", str(error))
        return None
    return AppriseUrl(url)


def _webhook_url(section: Section, around: Surroundings, text: str, *, allow_private: bool) -> Secret | None:
    is_reference = text.startswith(_REFERENCES)
    url = _referred(section, "webhook", text, around, "a URL") if is_reference else Secret(text)
    if url is None:
        return None
    try:
        check_webhook_url(url.reveal(), allow_private=allow_private)
    except ValueError as error:
        section.wrong("webhook", str(error))
        return None
    return url


def _secrets(section: Section, around: Surroundings, *, required: bool) -> tuple[Secret, ...]:
    """The secrets of a webhook, newest first; empty after a mistake, or where there are none."""
    value = section.raw("secret")
    if value is None:
        if required:
            section.wrong("secret", "is required with webhook; write env:NAME (or file:/path)")
        return ()
    references = cast("list[object]", value) if isinstance(value, list) else [value]
    if not references or len(references) > SECRETS_MAX:
        section.wrong("secret", f"has {len(references)} references; write 1 to {SECRETS_MAX}")
        return ()
    found: list[Secret] = []
    for place, reference in enumerate(references):
        name = f"secret[{place}]" if isinstance(value, list) else "secret"
        if not isinstance(reference, str):
            section.wrong(name, f"must be a string, not {kind_of(reference)}")
            continue
        if not reference:
            section.wrong(name, "is empty, and would sign nothing; write env:NAME (or file:/path)")
            continue
        secret = _referred(section, name, reference, around, "the secret")
        if secret is not None and _is_key(section, name, reference, secret):
            found.append(secret)
    return tuple(found) if len(found) == len(references) else ()


def _is_key(section: Section, name: str, reference: str, secret: Secret) -> bool:
    try:
        secret_bytes(secret.reveal())
    except ValueError as error:
        section.wrong(name, f"{reference} {error}")
        return False
    return True


def _referred(section: Section, name: str, reference: str, around: Surroundings, what: str) -> Secret | None:
    """What a reference points to, which must be there."""
    try:
        secret = around.secret(reference)
    except ValueError as error:
        section.wrong(name, str(error))
        return None
    if secret is None:
        section.wrong(name, f"{reference} is not set; it must hold {what}")
    return secret
