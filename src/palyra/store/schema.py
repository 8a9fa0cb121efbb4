"""Tables of the store, as SQLAlchemy Core metadata; Alembic revisions in ``migrations`` create them.

Revision 0003 gives PostgreSQL tables of its own shape, with more columns and in partitions; what is read
here is there on both. Amounts are 64-bit integers in the unit of their metric (nano-USD for money); instants
are nanoseconds since the epoch, UTC. Bodies are JSON text, or pages of it (``page.py``).
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    column,
    literal,
    table,
)

from palyra.core.hours import DAY_NS

metadata = MetaData()

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("records", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("open_from", BigInteger, nullable=False),
    Column("documents", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("page", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("node", BigInteger, nullable=False, server_default="0"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("policy_id", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("entity", Text, primary_key=True),
    Column("window_start", BigInteger, primary_key=True),
    Column("window_end", BigInteger, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("shadow_posted", BigInteger, nullable=False),
    Column("shadow_held", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

decisions = Table(
    "decisions",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("agent", Text),
    Column("session", Text),
    Column("model", Text, nullable=False),
    Column("page", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("end_page", BigInteger),
    Column("end_place", Integer),
    Column("reservation", LargeBinary),
    Column("node", BigInteger, nullable=False, server_default="0"),
    Index("decisions_in_doubt", "page", sqlite_where=Column("reservation").is_not(None)),
    Index("decisions_by_principal", "principal", "request_id"),
    sqlite_with_rowid=False,
)

balances = table(
    "balances",
    *(column(name, Text) for name in ("policy_id", "metric", "entity")),
    *(
        column(name, BigInteger)
        for name in (
            "window_start",
            "window_end",
            "posted",
            "held",
            "shadow_posted",
            "shadow_held",
            "sliced",
        )
    ),
)
"""A view: accounts as they stand over all gateways. ``sliced`` is claimed by some and not used yet."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("finished", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

_FIGURES = (
    "requests",
    "denied",
    "estimated",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost",
    "metered_bytes",
    "metered_input_tokens",
)
_LATER_FIGURES = (
    "asked",
    "clamped",
    "failed",
    "timed",
    "latency_ms",
    "saved",
)
"""Rows of revisions before they came have none of them."""

rollups = Table(
    "rollups",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("agent", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in _FIGURES),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in _LATER_FIGURES),
    sqlite_with_rowid=False,
)

half_days = Table(
    "half_days",
    metadata,
    Column("half_day", BigInteger, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("agent", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("last_hour", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in (*_FIGURES, *_LATER_FIGURES)),
    sqlite_with_rowid=False,
)
"""The same sums per half-day of UTC. ``last_hour`` is the last one with anything in it."""

latencies = Table(
    "latencies",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""``bucket`` is a class of latencies: ``core.latency``."""

half_day_latencies = Table(
    "half_day_latencies",
    metadata,
    Column("half_day", BigInteger, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

tag_rollups = Table(
    "tag_rollups",
    metadata,
    Column("hour", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

half_day_tags = Table(
    "half_day_tags",
    metadata,
    Column("half_day", BigInteger, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

sessions = Table(
    "sessions",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("first_call", Text, nullable=False),
    Column("last_call", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("denied", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Index("sessions_by_last", "principal", "last_at", "session"),
    Index("sessions_by_cost", "principal", "cost", "session"),
    sqlite_with_rowid=False,
)
IS_LONG = sessions.c.last_at - sessions.c.first_at > literal(DAY_NS, literal_execute=True)
"""Of a session: whether it took more than a day. As a constant, as SQLite wants it to use the index."""
Index("sessions_long", sessions.c.principal, sessions.c.last_at, sessions.c.session, sqlite_where=IS_LONG)

session_parts = Table(
    "session_parts",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("agent", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""The agents, models and providers that a session had calls of: what it is found by."""
"""``agent`` and ``model`` are those of its last call."""

changes = Table(
    "changes",
    metadata,
    Column("at", BigInteger, primary_key=True),
    Column("node", BigInteger, primary_key=True),
    Column("record", BigInteger, primary_key=True),
    Column("page", BigInteger, nullable=False),
    Column("what", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("ref", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Index("changes_by_what", "what", "at", "node", "record"),
    Index("changes_by_ref", "ref", "at", "node", "record"),
    Index("changes_by_actor", "actor", "at", "node", "record"),
    sqlite_with_rowid=False,
)
"""Where changes of rules stand: record ``record`` of a node's journal, on the page that begins with ``page``.

``what`` is the first word of the ``kind``.
"""

policies = Table(
    "policies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("deleted", Integer, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("policy_id", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("open_until", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""``open_until``: for ever while pending, the end of the grant while there is one, else 0."""
Index("approvals_pending", approvals.c.cause, unique=True, sqlite_where=approvals.c.state == "pending")
Index("approvals_open", approvals.c.open_until)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("policy_id", Text),
    Column("principal", Text),
    Column("over_at", BigInteger),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""``over_at``: the last change of one that is resolved."""
Index("alerts_firing", alerts.c.cause, unique=True, sqlite_where=alerts.c.state == "firing")
Index("alerts_over", alerts.c.over_at)

notices = Table(
    "notices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("over_at", BigInteger),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""``over_at``: when it was sent."""
Index("notices_due", notices.c.due_at, sqlite_where=notices.c.state == "waiting")
Index("notices_over", notices.c.over_at)

sign_ins = Table(
    "sign_ins",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("seal", Text, nullable=False),
    Column("signed_in_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("sign_ins_by_key", "key_id", "signed_in_at"),
    Index("sign_ins_over", "expires_at"),
    sqlite_with_rowid=False,
)
"""Of the console: ``seal`` binds the token to the key of that moment. Neither of them is here."""

configured = Table(
    "configured",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
