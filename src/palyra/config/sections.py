"""The tables that stand once: ``[server]``, ``[auth]``, ``[governance]``, ``[scale]``,
``[retention]``.
"""

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
    LEASE_S,
    SLICE_S,
    SLICE_SHARE,
    AuthSettings,
    GovernanceSettings,
    RetentionSettings,
    ScaleSettings,
    ServerSettings,
    SharedDatabase,
)
from palyra.core.errors import FieldError
from palyra.core.limits import BODY_BYTES_MAX
from palyra.core.secret import Secret
from palyra.registry.registry import AUTO

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")
WORKERS_MAX = 256
MONTHS_MAX = 1_200
_LEASE_LEAST_S = 0.5
_SECONDS_MOST = 3_600.0
_BODY_BYTES_LEAST = 1_024


def read_server(
    section: Section, around: Surroundings, report: Report, default_database: Path
) -> ServerSettings:
    """``[server]``; binding beyond loopback is refused unless it is wanted and protected."""
    server = ServerSettings(
        database=_database(section, around, report) or default_database,
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
        workers=section.integer("workers", 1, least=1, most=WORKERS_MAX),
        public_url=_public_url(section),
    )
    section.finish()
    _check_tls(section)
    if server.workers > 1 and isinstance(server.database, Path):
        section.wrong(
            "workers",
            "needs a database that processes can share; write database = "
            '"postgresql://…", or leave workers at 1',
        )
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


def read_scale(section: Section, around: Surroundings) -> ScaleSettings:
    """``[scale]``."""
    spool = section.optional_text("spool", most=TEXT_CHARS_MAX)
    settings = ScaleSettings(
        name=section.optional_text("name"),
        lease_s=section.optional_seconds("lease_s", most=_SECONDS_MOST) or LEASE_S,
        slices=section.flag("slices", default=True),
        slice_s=section.optional_seconds("slice_s", most=_SECONDS_MOST) or SLICE_S,
        slice_share=section.fraction("slice_share", SLICE_SHARE),
        spool=None if spool is None else around.path(spool),
    )
    section.finish()
    if settings.lease_s < _LEASE_LEAST_S:
        section.wrong("lease_s", f"is {settings.lease_s:g}; write at least {_LEASE_LEAST_S:g} seconds")
    return settings


def read_retention(section: Section, server: ServerSettings) -> RetentionSettings:
    """``[retention]``."""
    settings = RetentionSettings(section.optional_integer("months", least=1, most=MONTHS_MAX))
    section.finish()
    if settings.months is not None and isinstance(server.database, Path):
        section.wrong("months", "needs a PostgreSQL database; a SQLite file keeps everything")
    return settings


def _database(section: Section, around: Surroundings, report: Report) -> Path | SharedDatabase | None:
    url = section.optional_text("database", most=TEXT_CHARS_MAX)
    if url is None:
        return None
    is_referred = url.startswith(("env:", "file:"))
    if is_referred:
        secret = read_secret(section, "database", url, around)
        if secret is None:
            section.wrong("database", f"{url} is not set; it must hold the URL of the database")
            return None
        url = secret.reveal()
    if url.startswith(_POSTGRES):
        is_written = not is_referred and "server.database" not in report.origins
        return _shared(section, url, is_written=is_written)
    path = url.removeprefix(_SQLITE)
    if path == url:
        told = "must begin with sqlite:/// such as sqlite:///palyra.db, or with postgresql://"
        section.wrong("database", told)
    elif not path or path.endswith("/") or path == ":memory:" or "?" in path:
        section.wrong("database", "must name a file such as sqlite:///palyra.db")
    else:
        return around.path(path)
    return None


def _shared(section: Section, url: str, *, is_written: bool) -> SharedDatabase | None:
    """A PostgreSQL URL; ``is_written``: it stands in the file, where no password may."""
    address, _, query = url.partition("://")[2].partition("?")
    authority, _, database = address.partition("/")
    user, _, hosts = authority.rpartition("@")
    password = ":" in user or "password=" in query
    if not database:
        section.wrong("database", "must name a database such as postgresql://user@host:5432/palyra")
    elif password and is_written:
        section.wrong(
            "database",
            "has a password in it; keep the whole URL in a variable and write database = "
            '"env:PALYRA_DATABASE_URL"',
        )
    else:
        return SharedDatabase(Secret(url), f"postgresql://{hosts}/{database}")
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


def _public_url(section: Section) -> str | None:
    """A URL that paths can be put behind."""
    url = section.optional_text("public_url", most=TEXT_CHARS_MAX)
    if url is None:
        return None
    scheme, separator, host = url.partition("://")
    if scheme not in ("http", "https") or not separator or not host or any(each in host for each in "?#@ "):
        section.wrong(
            "public_url", "must be the address that people open, such as https://palyra.example.com"
        )
    return url.rstrip("/")


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
