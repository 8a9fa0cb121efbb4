"""Every SQL statement of a copy from SQLite to PostgreSQL, static and named.

What is read on both sides to be compared is the same statement on both.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

# The source.

FIRST_PAGE: Final = "SELECT chain FROM journal ORDER BY seq LIMIT 1"
FIRST_INSTANT: Final = "SELECT at FROM journal WHERE records > 0 ORDER BY seq LIMIT 1"
CHAIN_AT: Final = "SELECT chain FROM journal WHERE seq = ?"
FILED: Final = "SELECT documents, at FROM journal WHERE documents > ? ORDER BY seq"
MONTHS: Final = """
SELECT DISTINCT CAST(strftime('%Y', at / 1000000000, 'unixepoch') AS INTEGER),
  CAST(strftime('%m', at / 1000000000, 'unixepoch') AS INTEGER)
FROM (SELECT at FROM journal UNION ALL SELECT at FROM decisions) WHERE at > 0 ORDER BY 1, 2
"""


class Table(NamedTuple):
    """A large table: ``rows`` of the source after a key, at most so many; ``last`` is the last key there is.

    The first ``keys`` of the ``columns`` are the key; ``first`` comes before every key. ``total`` counts.
    """

    name: str
    columns: tuple[str, ...]
    first: tuple[int | str, ...]
    total: str
    rows: str
    last: str

    @property
    def keys(self) -> int:
        """How many columns the key has."""
        return len(self.first)


JOURNAL: Final = Table(
    "journal",
    ("seq", "records", "at", "open_from", "documents", "body", "chain"),
    (-1,),
    "SELECT count(*) FROM journal",
    """
SELECT seq, records, at, open_from, documents, body, chain FROM journal WHERE seq > ? ORDER BY seq LIMIT ?
""",
    "SELECT seq FROM journal WHERE node = 0 ORDER BY seq DESC LIMIT 1",
)
DOCUMENTS: Final = Table(
    "documents",
    ("page", "body", "at"),
    (-1,),
    "SELECT count(*) FROM documents",
    "SELECT page, body FROM documents WHERE page > ? ORDER BY page LIMIT ?",
    "SELECT page FROM documents WHERE node = 0 ORDER BY page DESC LIMIT 1",
)
DECISIONS: Final = Table(
    "decisions",
    (
        "request_id",
        "at",
        "state",
        "outcome",
        "principal",
        "agent",
        "session",
        "model",
        "page",
        "place",
        "end_page",
        "end_place",
        "reservation",
    ),
    ("",),
    "SELECT count(*) FROM decisions",
    """
SELECT request_id, at, state, outcome, principal, agent, session, model, page, place, end_page, end_place,
  reservation
FROM decisions WHERE request_id > ? ORDER BY request_id LIMIT ?
""",
    "SELECT request_id FROM decisions ORDER BY request_id DESC LIMIT 1",
)
ROLLUPS: Final = Table(
    "rollups",
    (
        "hour",
        "principal",
        "agent",
        "model",
        "provider",
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
        "asked",
        "clamped",
        "failed",
        "timed",
        "latency_ms",
        "saved",
    ),
    (-1, "", "", "", ""),
    "SELECT count(*) FROM rollups",
    """
SELECT hour, principal, agent, model, provider, requests, denied, estimated, unpriced, input_tokens,
  output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, metered_bytes,
  metered_input_tokens, asked, clamped, failed, timed, latency_ms, saved
FROM rollups WHERE (hour, principal, agent, model, provider) > (?, ?, ?, ?, ?)
ORDER BY hour, principal, agent, model, provider LIMIT ?
""",
    """
SELECT hour, principal, agent, model, provider FROM rollups
ORDER BY hour DESC, principal DESC, agent DESC, model DESC, provider DESC LIMIT 1
""",
)
LATENCIES: Final = Table(
    "latencies",
    ("hour", "provider", "model", "bucket", "calls"),
    (-1, "", "", 0),
    "SELECT count(*) FROM latencies",
    """
SELECT hour, provider, model, bucket, calls FROM latencies
WHERE (hour, provider, model, bucket) > (?, ?, ?, ?) ORDER BY hour, provider, model, bucket LIMIT ?
""",
    """
SELECT hour, provider, model, bucket FROM latencies
ORDER BY hour DESC, provider DESC, model DESC, bucket DESC LIMIT 1
""",
)
TAGS: Final = Table(
    "tag_rollups",
    ("hour", "tag", "value", "requests", "input_tokens", "output_tokens", "cost"),
    (-1, "", ""),
    "SELECT count(*) FROM tag_rollups",
    """
SELECT hour, tag, value, requests, input_tokens, output_tokens, cost FROM tag_rollups
WHERE (hour, tag, value) > (?, ?, ?) ORDER BY hour, tag, value LIMIT ?
""",
    "SELECT hour, tag, value FROM tag_rollups ORDER BY hour DESC, tag DESC, value DESC LIMIT 1",
)


class Rest(NamedTuple):
    """A table that is copied whole, with the switch."""

    name: str
    columns: tuple[str, ...]
    rows: str


_ACCOUNT: Final = ("policy_id", "metric", "entity", "window_start", "window_end")
REST: Final = (
    Rest(
        "accounts",
        (*_ACCOUNT, "posted", "shadow_posted", "claimed"),
        """
SELECT policy_id, metric, entity, window_start, window_end, posted, shadow_posted, posted + held
FROM accounts
""",
    ),
    # What pending calls hold is the slice of the gateway that they ran on.
    Rest(
        "slices",
        ("node", *_ACCOUNT, "granted", "posted", "held", "shadow_posted", "shadow_held"),
        """
SELECT 0, policy_id, metric, entity, window_start, window_end, held, 0, held, 0, shadow_held
FROM accounts WHERE held <> 0 OR shadow_held <> 0
""",
    ),
    Rest(
        "idempotency",
        ("principal", "key", "fingerprint", "request_id", "finished", "expires_at"),
        "SELECT principal, key, fingerprint, request_id, finished, expires_at FROM idempotency",
    ),
    Rest(
        "sessions",
        (
            "principal",
            "session",
            "first_at",
            "last_at",
            "first_call",
            "last_call",
            "agent",
            "model",
            "requests",
            "denied",
            "failed",
            "input_tokens",
            "output_tokens",
            "cost",
        ),
        """
SELECT principal, session, first_at, last_at, first_call, last_call, agent, model, requests, denied, failed,
  input_tokens, output_tokens, cost
FROM sessions
""",
    ),
    Rest(
        "session_parts",
        ("principal", "session", "agent", "model", "provider"),
        "SELECT principal, session, agent, model, provider FROM session_parts",
    ),
    Rest(
        "changes",
        ("at", "node", "record", "page", "what", "kind", "ref", "actor"),
        "SELECT at, node, record, page, what, kind, ref, actor FROM changes",
    ),
    Rest(
        "policies",
        ("id", "version", "deleted", "body"),
        "SELECT id, version, deleted, body FROM policies",
    ),
    Rest("keys", ("id", "sha256", "body"), "SELECT id, sha256, body FROM keys"),
    Rest(
        "approvals",
        ("id", "version", "state", "cause", "policy_id", "requester", "open_until", "body"),
        "SELECT id, version, state, cause, policy_id, requester, open_until, body FROM approvals",
    ),
    Rest(
        "alerts",
        ("id", "version", "state", "cause", "kind", "policy_id", "principal", "over_at", "body"),
        "SELECT id, version, state, cause, kind, policy_id, principal, over_at, body FROM alerts",
    ),
    Rest(
        "notices",
        ("id", "version", "state", "target", "due_at", "over_at", "body"),
        "SELECT id, version, state, target, due_at, over_at, body FROM notices",
    ),
    Rest("configured", ("name", "body"), "SELECT name, body FROM configured"),
)
"""Sign-ins are left out: whoever used the old daemon signs in at the new one."""

# Both sides.

JOURNAL_FIGURES: Final = """
SELECT count(*), coalesce(sum(records), 0), coalesce(sum(length(body)), 0) FROM journal
"""
HEAD_OF_CHAIN: Final = "the head of the chain"
HEAD: Final = "SELECT seq + records, chain FROM journal ORDER BY seq DESC LIMIT 1"
ROLLUP_FIGURES: Final = """
SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(denied), 0), coalesce(sum(estimated), 0),
  coalesce(sum(unpriced), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
  coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0),
  coalesce(sum(reasoning_tokens), 0), coalesce(sum(cost), 0), coalesce(sum(metered_bytes), 0),
  coalesce(sum(metered_input_tokens), 0), coalesce(sum(asked), 0), coalesce(sum(clamped), 0),
  coalesce(sum(failed), 0), coalesce(sum(timed), 0), coalesce(sum(latency_ms), 0), coalesce(sum(saved), 0)
FROM rollups
"""
# Milliseconds: sums of nanoseconds have no room in 64 bits.
HALF_DAY_FIGURES: Final = """
SELECT count(*), coalesce(sum(last_hour / 1000000), 0), coalesce(sum(requests), 0), coalesce(sum(denied), 0),
  coalesce(sum(estimated), 0), coalesce(sum(unpriced), 0), coalesce(sum(input_tokens), 0),
  coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0),
  coalesce(sum(reasoning_tokens), 0), coalesce(sum(cost), 0), coalesce(sum(metered_bytes), 0),
  coalesce(sum(metered_input_tokens), 0), coalesce(sum(asked), 0), coalesce(sum(clamped), 0),
  coalesce(sum(failed), 0), coalesce(sum(timed), 0), coalesce(sum(latency_ms), 0), coalesce(sum(saved), 0)
FROM half_days
"""
TOTALS: Final = "SELECT coalesce(sum(requests), 0), coalesce(sum(cost), 0) FROM rollups"
ACCOUNT_FIGURES: Final = """
SELECT metric, count(*), sum(posted), sum(held), sum(shadow_posted), sum(shadow_held)
FROM balances GROUP BY metric
"""
FIGURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "journal": JOURNAL_FIGURES,
        HEAD_OF_CHAIN: HEAD,
        "documents": """
SELECT count(*), coalesce(max(page), 0), coalesce(sum(length(body)), 0) FROM documents
""",
        "decisions": """
SELECT state, count(*), sum(page), count(end_page), count(reservation) FROM decisions GROUP BY state
""",
        "rollups": ROLLUP_FIGURES,
        "half_days": HALF_DAY_FIGURES,
        "latencies": """
SELECT count(*), coalesce(sum(calls), 0), coalesce(sum(calls * bucket), 0) FROM latencies
""",
        "half_day_latencies": """
SELECT count(*), coalesce(sum(calls), 0), coalesce(sum(calls * bucket), 0),
  coalesce(sum(half_day / 43200000000000 % 9 * calls), 0)
FROM half_day_latencies
""",
        "half_day_tags": """
SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
  coalesce(sum(cost), 0)
FROM half_day_tags
""",
        "tag_rollups": """
SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
  coalesce(sum(cost), 0)
FROM tag_rollups
""",
        "sessions": """
SELECT count(*), coalesce(sum(requests), 0), coalesce(sum(denied), 0), coalesce(sum(failed), 0),
  coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cost), 0),
  coalesce(sum(first_at / 1000000), 0), coalesce(sum(last_at / 1000000), 0), min(first_call), max(last_call)
FROM sessions
""",
        "session_parts": """
SELECT count(*), coalesce(sum(length(agent)), 0), coalesce(sum(length(model)), 0),
  coalesce(sum(length(provider)), 0)
FROM session_parts
""",
        "accounts": ACCOUNT_FIGURES,
        "idempotency": "SELECT count(*), coalesce(sum(finished), 0) FROM idempotency",
        "changes": """
SELECT count(*), coalesce(sum(record), 0), coalesce(sum(page), 0), coalesce(sum(length(ref)), 0) FROM changes
""",
        "policies": "SELECT count(*), coalesce(sum(version), 0), coalesce(sum(deleted), 0) FROM policies",
        "keys": "SELECT count(*) FROM keys",
        # Milliseconds: sums of nanoseconds have no room in 64 bits.
        "approvals": """
SELECT state, count(*), sum(version), sum(open_until / 1000000), sum(length(cause)), sum(length(body))
FROM approvals GROUP BY state
""",
        "alerts": """
SELECT state, count(*), sum(version), coalesce(sum(over_at / 1000000), 0), sum(length(cause)),
  sum(length(body))
FROM alerts GROUP BY state
""",
        "notices": """
SELECT state, count(*), sum(version), sum(due_at / 1000000), coalesce(sum(over_at / 1000000), 0),
  sum(length(body))
FROM notices GROUP BY state
""",
        "configured": """
SELECT count(*), coalesce(sum(length(name)), 0), coalesce(sum(length(body)), 0) FROM configured
""",
    }
)
"""What must be the same on both sides, figure by figure."""
GROUPED: Final = ("decisions", "accounts", "approvals", "alerts", "notices")
"""Those with a row for each group; the number of rows in it is its second figure, else it is the first."""
COUNTED: Final = tuple(name for name in FIGURES if name != HEAD_OF_CHAIN)
BALANCES: Final = """
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held
FROM balances ORDER BY policy_id, metric, entity, window_start
"""

# The target.

LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(7207190012)"
"""The same lock as when a gateway makes or upgrades the schema."""
LOCK_NODES: Final = "LOCK TABLE nodes IN EXCLUSIVE MODE"
SET_REVISION: Final = "UPDATE alembic_version SET version_num = :revision"
BEGIN: Final = """
INSERT INTO nodes (id, name, holder, is_open, term, next_seq, next_page, last_at, lease_until, joined_at)
OVERRIDING SYSTEM VALUE VALUES (0, :name, '', false, 0, 1, 1, 0, clock_timestamp(), clock_timestamp())
"""
IS_USED: Final = """
SELECT EXISTS (SELECT FROM nodes) OR EXISTS (SELECT FROM journal) OR EXISTS (SELECT FROM documents)
  OR EXISTS (SELECT FROM decisions) OR EXISTS (SELECT FROM accounts) OR EXISTS (SELECT FROM slices)
  OR EXISTS (SELECT FROM idempotency) OR EXISTS (SELECT FROM rollups) OR EXISTS (SELECT FROM policies)
  OR EXISTS (SELECT FROM keys) OR EXISTS (SELECT FROM approvals) OR EXISTS (SELECT FROM alerts)
  OR EXISTS (SELECT FROM notices) OR EXISTS (SELECT FROM configured) OR EXISTS (SELECT FROM latencies)
  OR EXISTS (SELECT FROM tag_rollups) OR EXISTS (SELECT FROM sessions) OR EXISTS (SELECT FROM half_days)
  OR EXISTS (SELECT FROM changes) OR EXISTS (SELECT FROM session_parts)
"""
COPY_NODE: Final = "SELECT name, holder FROM nodes WHERE id = 0"
OTHER_NODES: Final = "SELECT name FROM nodes WHERE id <> 0 ORDER BY id LIMIT 1"
LAST_PAGE: Final = "SELECT seq, chain FROM journal WHERE node = 0 ORDER BY seq DESC LIMIT 1"
FORGET: Final = "TRUNCATE decisions, rollups, latencies, tag_rollups"
NOTE: Final = "UPDATE nodes SET holder = $1 WHERE id = 0"
SWITCH_NODE: Final = """
UPDATE nodes SET name = $1, holder = 'palyra db copy', is_open = $2, term = 1, next_seq = $3, next_page = $4,
  last_at = $5, lease_until = clock_timestamp() - make_interval(secs => 1), joined_at = clock_timestamp()
WHERE id = 0
"""
SWITCH_RULES: Final = "UPDATE rules SET version = version + 1"
SWITCH_REVISION: Final = "UPDATE alembic_version SET version_num = $1"
ANALYZE: Final = """
ANALYZE journal, documents, decisions, rollups, half_days, latencies, half_day_latencies, tag_rollups,
  half_day_tags, sessions, session_parts, accounts, slices, idempotency,
  approvals, alerts, notices, changes
"""
