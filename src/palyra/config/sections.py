"""The tables that stand once: ``[server]``, ``[auth]``, ``[governance]``."""

from ipaddress import ip_address
from pathlib import Path

from palyra.budgets.fields import read_zone
from palyra.budgets.terms import Mode, UnknownPrice
from palyra.config.problems import Report
from palyra.config.reader import TEXT_CHARS_MAX, Section
from palyra.config.references import Surroundings
from palyra.config.settings import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    AuthSettings,
    GovernanceSettings,
    ServerSettings,
)
from palyra.core.errors import FieldError
from palyra.core.limits import BODY_BYTES_MAX
from palyra.core.secret import Secret
from palyra.registry.registry import AUTO

_SQLITE = "sqlite:///"
_BODY_BYTES_LEAST = 1_024


def read_server(section: Section, around: Surroundings, default_database: Path) -> ServerSettings:
    """``[server]``; binding beyond loopback is refused unless it is wanted and protected."""
    server = ServerSettings(
        database=_database(section, around) or default_database,
        host=section.text("host", DEFAULT_HOST),
        port=section.integer("port", DEFAULT_PORT, least=0, most=65_535),
        max_body_bytes=section.integer(
            "max_body_bytes", BODY_BYTES_MAX, least=_BODY_BYTES_LEAST, most=BODY_BYTES_MAX
        ),
        allow_remote=section.flag("allow_remote", default=False),
        tls_cert=read_file_path(section, "tls_cert", around),
        tls_key=read_file_path(section, "tls_key", around),
        behind_proxy=section.flag("behind_proxy", default=False),
        allowed_hosts=section.strings("allowed_hosts"),
    )
    section.finish()
    _check_tls(section)
    _check_binding(section, server)
    return server


def read_auth(section: Section, around: Surroundings, report: Report) -> AuthSettings:
    """``[auth]``. The variable PALYRA_AUTH_OWNER_KEY may hold the key itself: it is an ``env:`` already."""
    reference = section.optional_text("owner_key", most=TEXT_CHARS_MAX)
    section.finish()
    if reference is None:
        return AuthSettings()
    variable = report.origins.get("auth.owner_key")
    if variable is not None and not reference.startswith(("env:", "file:")):
        return AuthSettings(Secret(reference), f"env:{variable}")
    return AuthSettings(read_secret(section, "owner_key", reference, around), reference)


def read_governance(section: Section) -> GovernanceSettings:
    """``[governance]``."""
    settings = GovernanceSettings(
        mode=section.choice("mode", Mode, Mode.ENFORCED),
        timezone=_timezone(section),
        unknown_price=section.choice("unknown_price", UnknownPrice, UnknownPrice.DENY),
        default_model=section.optional_text("default_model"),
    )
    section.finish()
    if settings.default_model == AUTO:
        section.wrong("default_model", "'auto' is the alias for this setting; name a model")
    return settings


def read_secret(section: Section, name: str, reference: str, around: Surroundings) -> Secret | None:
    """What a reference points to; a mistake is reported under ``name``."""
    try:
        return around.secret(reference)
    except ValueError as error:
        section.wrong(name, str(error))
        return None


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a listener on ``host``."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _database(section: Section, around: Surroundings) -> Path | None:
    url = section.optional_text("database", most=TEXT_CHARS_MAX)
    if url is None:
        return None
    scheme = url.partition("://")[0]
    path = url.removeprefix(_SQLITE)
    if scheme in ("postgresql", "postgres") or scheme.startswith("postgresql+"):
        section.wrong("database", "PostgreSQL is not available in this version; write sqlite:///palyra.db")
    elif path == url:
        section.wrong("database", "must begin with sqlite:/// such as sqlite:///palyra.db")
    elif not path or path.endswith("/") or path == ":memory:" or "?" in path:
        section.wrong("database", "must name a file such as sqlite:///palyra.db")
    else:
        return around.path(path)
    return None


def read_file_path(section: Section, name: str, around: Surroundings) -> Path | None:
    """The path of a file that must exist; None where the key is absent."""
    text = section.optional_text(name, most=TEXT_CHARS_MAX)
    if text is None:
        return None
    path = around.path(text)
    if not path.is_file():
        section.wrong(name, f"{path} is not a file")
    return path


def _timezone(section: Section) -> str:
    section.raw("timezone")
    try:
        return read_zone(section.data, "timezone", "UTC").key
    except FieldError as error:
        section.wrong(error.field, error.message.rstrip("."))
        return "UTC"


def _check_tls(section: Section) -> None:
    for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if section.data.get(one) is not None and section.data.get(other) is None:
            section.wrong(other, f"is required with {one}")


def _check_binding(section: Section, server: ServerSettings) -> None:
    if is_loopback(server.host):
        return
    if not server.allow_remote:
        section.wrong(
            "host",
            f"{server.host!r} can be reached from other machines; write 127.0.0.1, "
            "or allow_remote = true with TLS or a proxy",
        )
    elif server.tls_cert is None and not server.behind_proxy:
        section.wrong(
            "allow_remote",
            "would send keys and prompts in clear text; write tls_cert and tls_key, "
            "or behind_proxy = true if a proxy ends TLS",
        )
