"""Every SQL statement of the SQLite adapter, static and named. Parameters are bound, never pasted."""

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, LiteralString, Protocol

from palyra.store.write import ClaimChange

HAS_REVISION: Final = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
REVISION: Final = "SELECT version_num FROM alembic_version"

INSERT_PAGE: Final = """
INSERT INTO journal (seq, records, at, open_from, documents, body, chain) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
PAGES: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal WHERE seq >= ? ORDER BY seq
"""
LAST_PAGE: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal ORDER BY seq DESC LIMIT 1
"""
# Behind it begins what was recorded from an instant on.
PAGE_BEFORE: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal
WHERE seq < coalesce((SELECT min(seq) FROM journal WHERE records > 0 AND at >= ?), 9223372036854775807)
ORDER BY seq DESC LIMIT 1
"""
# The newest page of what was recorded before an instant: times do not fall along the journal.
LAST_PAGE_BEFORE: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal
WHERE records > 0 AND at < ? ORDER BY seq DESC LIMIT 1
"""
LAST_INSTANT: Final = "SELECT max(at) FROM (SELECT at FROM journal ORDER BY seq DESC LIMIT 1000)"

INSERT_DOCUMENTS: Final = "INSERT INTO documents (page, body) VALUES (?, ?)"
LAST_DOCUMENTS: Final = "SELECT coalesce(max(page), 0) FROM documents"
DOCUMENTS: Final = "SELECT body FROM documents WHERE page = ?"

ROWS_AT_ONCE: Final = (64, 16, 4, 1)
"""How many rows one statement stores: one call of SQLite per row would give the interpreter up each time."""

Many = Mapping[int, str]
"""The same statement for each number of rows in ROWS_AT_ONCE."""


def _many(insert: str, columns: int, *otherwise: str) -> Many:
    row = ", ".join(["?"] * columns).join("()")
    return {
        count: " ".join((insert, "VALUES", ", ".join([row] * count), *otherwise)) for count in ROWS_AT_ONCE
    }


_INSERT_ACCOUNTS: Final = """
INSERT INTO accounts
  (policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held)
"""
SET_ACCOUNTS: Final = _many(
    _INSERT_ACCOUNTS,
    9,
    """
ON CONFLICT DO UPDATE SET posted = excluded.posted, held = excluded.held,
  shadow_posted = excluded.shadow_posted, shadow_held = excluded.shadow_held
""",
)
ADD_TO_ACCOUNTS: Final = _many(
    _INSERT_ACCOUNTS,
    9,
    """
ON CONFLICT DO UPDATE SET
  posted = posted + excluded.posted, held = held + excluded.held,
  shadow_posted = shadow_posted + excluded.shadow_posted, shadow_held = shadow_held + excluded.shadow_held
""",
)

# A conflict is the late end of a call in doubt: its decision stays where it is.
SAVE_CALLS: Final = _many(
    """
INSERT INTO decisions
  (request_id, at, state, outcome, principal, agent, session, model, page, place, end_page, end_place,
   reservation)
""",
    13,
    """
ON CONFLICT DO UPDATE SET state = excluded.state, end_page = excluded.end_page,
  end_place = excluded.end_place, reservation = excluded.reservation
""",
)

_ADD_FIGURES: Final = """
  requests = requests + excluded.requests, denied = denied + excluded.denied,
  estimated = estimated + excluded.estimated, unpriced = unpriced + excluded.unpriced,
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost = cost + excluded.cost, metered_bytes = metered_bytes + excluded.metered_bytes,
  metered_input_tokens = metered_input_tokens + excluded.metered_input_tokens,
  asked = asked + excluded.asked, clamped = clamped + excluded.clamped, failed = failed + excluded.failed,
  timed = timed + excluded.timed, latency_ms = latency_ms + excluded.latency_ms,
  saved = saved + excluded.saved
"""
UPSERT_ROLLUPS: Final = _many(
    """INSERT INTO rollups (hour, principal, agent, model, provider,
requests, denied, estimated, unpriced, input_tokens, output_tokens, cache_read_tokens,
   cache_write_tokens, reasoning_tokens, cost, metered_bytes, metered_input_tokens, asked, clamped, failed,
   timed, latency_ms, saved)""",
    23,
    "ON CONFLICT DO UPDATE SET",
    _ADD_FIGURES,
)
UPSERT_HALF_DAYS: Final = _many(
    """INSERT INTO half_days (half_day, principal, agent, model, provider, last_hour,
requests, denied, estimated, unpriced, input_tokens, output_tokens, cache_read_tokens,
   cache_write_tokens, reasoning_tokens, cost, metered_bytes, metered_input_tokens, asked, clamped, failed,
   timed, latency_ms, saved)""",
    24,
    "ON CONFLICT DO UPDATE SET last_hour = max(last_hour, excluded.last_hour),",
    _ADD_FIGURES,
)
UPSERT_LATENCIES: Final = _many(
    "INSERT INTO latencies (hour, provider, model, bucket, calls)",
    5,
    "ON CONFLICT DO UPDATE SET calls = calls + excluded.calls",
)
UPSERT_TAGS: Final = _many(
    "INSERT INTO tag_rollups (hour, tag, value, requests, input_tokens, output_tokens, cost)",
    7,
    """
ON CONFLICT DO UPDATE SET
  requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost
""",
)
UPSERT_HALF_DAY_LATENCIES: Final = _many(
    "INSERT INTO half_day_latencies (half_day, provider, model, bucket, calls)",
    5,
    "ON CONFLICT DO UPDATE SET calls = calls + excluded.calls",
)
UPSERT_HALF_DAY_TAGS: Final = _many(
    "INSERT INTO half_day_tags (half_day, tag, value, requests, input_tokens, output_tokens, cost)",
    7,
    """
ON CONFLICT DO UPDATE SET
  requests = requests + excluded.requests, input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost
""",
)
# Request ids sort by time: the greatest is the last call, also where commits come in another order.
UPSERT_SESSIONS: Final = _many(
    """
INSERT INTO sessions
  (principal, session, first_at, last_at, first_call, last_call, agent, model, requests, denied, failed,
   input_tokens, output_tokens, cost)
""",
    14,
    """
ON CONFLICT DO UPDATE SET
  first_at = iif(excluded.first_call < first_call, excluded.first_at, first_at),
  last_at = iif(excluded.last_call > last_call, excluded.last_at, last_at),
  agent = iif(excluded.last_call > last_call, excluded.agent, agent),
  model = iif(excluded.last_call > last_call, excluded.model, model),
  first_call = min(first_call, excluded.first_call), last_call = max(last_call, excluded.last_call),
  requests = requests + excluded.requests, denied = denied + excluded.denied,
  failed = failed + excluded.failed, input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens, cost = cost + excluded.cost
""",
)
ADD_SESSION_PARTS: Final = _many(
    "INSERT INTO session_parts (principal, session, agent, model, provider)", 5, "ON CONFLICT DO NOTHING"
)
DERIVED: Final = (
    UPSERT_ROLLUPS,
    UPSERT_HALF_DAYS,
    UPSERT_LATENCIES,
    UPSERT_HALF_DAY_LATENCIES,
    UPSERT_TAGS,
    UPSERT_HALF_DAY_TAGS,
    UPSERT_SESSIONS,
    ADD_SESSION_PARTS,
)
"""In the order of ``Derived``."""

SAVE_CHANGE: Final = """
INSERT INTO changes (at, node, record, page, what, kind, ref, actor) VALUES (?, 0, ?, ?, ?, ?, ?, ?)
"""

SAVE_CLAIM: Final = """
INSERT INTO idempotency (principal, key, fingerprint, request_id, finished, expires_at)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint, request_id = excluded.request_id,
  finished = excluded.finished, expires_at = excluded.expires_at
"""
DROP_CLAIM: Final = "DELETE FROM idempotency WHERE principal = ? AND key = ? AND request_id = ?"
DROP_OLD_CLAIMS: Final = "DELETE FROM idempotency WHERE finished = 1 AND expires_at <= ?"

NAMED: Final = {
    "save_policy": "INSERT INTO policies (id, version, deleted, body) VALUES (?, ?, 0, ?)",
    "delete_policy": "UPDATE policies SET deleted = 1 WHERE id = ?",
    "save_key": "INSERT INTO keys (id, sha256, body) VALUES (?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    "insert_approval": """
INSERT INTO approvals (id, version, state, cause, policy_id, requester, open_until, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING
""",
    "update_approval": """
UPDATE OR IGNORE approvals SET version = ?2, state = ?3, cause = ?4, policy_id = ?5, requester = ?6,
  open_until = ?7, body = ?8
WHERE id = ?1 AND version = ?2 - 1
""",
    "insert_alert": """
INSERT INTO alerts (id, version, state, cause, kind, policy_id, principal, over_at, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING
""",
    "update_alert": """
UPDATE OR IGNORE alerts SET version = ?2, state = ?3, cause = ?4, kind = ?5, policy_id = ?6, principal = ?7,
  over_at = ?8, body = ?9
WHERE id = ?1 AND version = ?2 - 1
""",
    "drop_alerts": "DELETE FROM alerts WHERE over_at < ?",
    "insert_notice": """
INSERT INTO notices (id, version, state, target, due_at, over_at, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING
""",
    "update_notice": """
UPDATE notices SET version = ?2, state = ?3, target = ?4, due_at = ?5, over_at = ?6, body = ?7
WHERE id = ?1 AND version = ?2 - 1
""",
    "drop_notices": "DELETE FROM notices WHERE over_at < ?",
    "insert_configured": "INSERT INTO configured (name, body) VALUES (?, ?) ON CONFLICT DO NOTHING",
    "update_configured": "UPDATE configured SET body = ?3 WHERE name = ?1 AND body = ?2",
    "delete_configured": "DELETE FROM configured WHERE name = ? AND body = ?",
    "insert_sign_in": """
INSERT INTO sign_ins (token_sha256, key_id, seal, signed_in_at, expires_at) VALUES (?, ?, ?, ?, ?)
""",
    "trim_sign_ins": """
DELETE FROM sign_ins WHERE key_id = ?1 AND token_sha256 NOT IN (
  SELECT token_sha256 FROM sign_ins WHERE key_id = ?1 ORDER BY signed_in_at DESC, token_sha256 LIMIT ?2
)
""",
    "drop_sign_in": "DELETE FROM sign_ins WHERE token_sha256 = ?",
    "drop_old_sign_ins": "DELETE FROM sign_ins WHERE expires_at <= ?",
}

ACCOUNTS: Final = """
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held
FROM accounts
"""
COUNT_ACCOUNTS: Final = "SELECT count(*) FROM accounts"
LIVE_ACCOUNTS: Final = """
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held
FROM accounts WHERE window_end > ? OR held <> 0
"""
POLICIES: Final = """
SELECT body FROM policies
JOIN (SELECT id, max(version) AS version FROM policies GROUP BY id) USING (id, version)
WHERE deleted = 0 ORDER BY id
"""
POLICY_VERSION: Final = "SELECT coalesce(max(version), 0) FROM policies WHERE id = ?"
KEYS: Final = "SELECT body FROM keys ORDER BY id"

READ: Final[Mapping[str, LiteralString]] = {
    # SQLite would rather read all rows in the wanted order than find the few that are open, and sort them.
    "open_approvals": """
SELECT body FROM approvals INDEXED BY approvals_open WHERE open_until > ? ORDER BY id
""",
    "approval": "SELECT body FROM approvals WHERE id = ?",
    "open_alerts": "SELECT body FROM alerts INDEXED BY alerts_firing WHERE state = 'firing' ORDER BY id",
    "alert": "SELECT body FROM alerts WHERE id = ?",
    "due_notices": """
SELECT body FROM notices
WHERE state = 'waiting' AND due_at <= ? AND target NOT IN (SELECT value FROM json_each(?))
ORDER BY due_at, id LIMIT ?
""",
    "notice": "SELECT body FROM notices WHERE id = ?",
    "configured": "SELECT name, body FROM configured ORDER BY name",
    "journal_pages": """
SELECT 0, seq, body FROM journal WHERE seq IN (SELECT json_extract(value, '$[1]') FROM json_each(?))
""",
    # Through indexes only: closed approvals and alerts that are over may be many.
    "figures": """
SELECT calls, last_approval, open_approvals, approval_versions, last_alert, firing, alert_versions, over_at,
  waiting, due_at, sent_at
FROM (SELECT coalesce(max(page), 0) AS calls FROM documents),
  (SELECT max(id) AS last_approval FROM approvals),
  (SELECT count(*) AS open_approvals, sum(version) AS approval_versions
   FROM approvals INDEXED BY approvals_open WHERE open_until > ?),
  (SELECT max(id) AS last_alert FROM alerts),
  (SELECT count(*) AS firing, sum(version) AS alert_versions
   FROM alerts INDEXED BY alerts_firing WHERE state = 'firing'),
  (SELECT max(over_at) AS over_at FROM alerts INDEXED BY alerts_over),
  (SELECT count(*) AS waiting, max(due_at) AS due_at
   FROM notices INDEXED BY notices_due WHERE state = 'waiting'),
  (SELECT max(over_at) AS sent_at FROM notices INDEXED BY notices_over)
""",
    "sign_in": """
SELECT token_sha256, key_id, seal, signed_in_at, expires_at FROM sign_ins WHERE token_sha256 = ?
""",
}
"""What ``StoredRecords`` reads."""

CALLS_KEPT: Final = "SELECT count(*), min(at) FROM decisions"
EVERY_CALL: Final = "SELECT state, page, place, end_page, end_place FROM decisions ORDER BY request_id"
FORGET_SUMS: Final = (
    "DELETE FROM rollups WHERE hour >= ?",
    "DELETE FROM latencies WHERE hour >= ?",
    "DELETE FROM tag_rollups WHERE hour >= ?",
    """
DELETE FROM session_parts
WHERE (principal, session) IN (SELECT principal, session FROM sessions WHERE first_at >= ?)
""",
    "DELETE FROM sessions WHERE first_at >= ?",
)
SESSIONS_KEPT: Final = "SELECT principal, session FROM sessions"
FORGET_HALF_DAYS: Final = (
    "DELETE FROM half_days",
    "DELETE FROM half_day_latencies",
    "DELETE FROM half_day_tags",
)
FILL_HALF_DAYS: Final = (
    """
INSERT INTO half_days
SELECT hour - hour % 43200000000000, principal, agent, model, provider, max(hour), sum(requests), sum(denied),
  sum(estimated), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
  sum(cache_write_tokens), sum(reasoning_tokens), sum(cost), sum(metered_bytes), sum(metered_input_tokens),
  sum(asked), sum(clamped), sum(failed), sum(timed), sum(latency_ms), sum(saved)
FROM rollups GROUP BY 1, principal, agent, model, provider
""",
    """
INSERT INTO half_day_latencies
SELECT hour - hour % 43200000000000, provider, model, bucket, sum(calls)
FROM latencies GROUP BY 1, provider, model, bucket
""",
    """
INSERT INTO half_day_tags
SELECT hour - hour % 43200000000000, tag, value, sum(requests), sum(input_tokens), sum(output_tokens),
  sum(cost)
FROM tag_rollups GROUP BY 1, tag, value
""",
)
HISTORY: Final[Mapping[str, LiteralString]] = {
    "history_ends": """
SELECT coalesce((SELECT max(seq) FROM journal), 0), coalesce((SELECT max(page) FROM documents), 0)
""",
    "history_from": "SELECT seq, at FROM journal WHERE seq >= ? ORDER BY seq LIMIT 1",
    "history_before": """
SELECT documents FROM journal WHERE seq < ? AND documents > 0 ORDER BY seq DESC LIMIT 1
""",
    "history_journal": """
SELECT seq, records, documents, body FROM journal WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT ?
""",
    "history_documents": """
SELECT page, body FROM documents WHERE page > ? AND page <= ? ORDER BY page LIMIT ?
""",
}
"""What ``history`` goes through, a few pages at a time."""

DECISION: Final = """
SELECT state, place, d.body, end_place, e.body FROM decisions
JOIN documents AS d ON d.page = decisions.page
LEFT JOIN documents AS e ON e.page = end_page
WHERE request_id = ?
"""
# The condition is the one of the partial index, word for word: without it SQLite reads every call.
IN_DOUBT: Final = """
SELECT request_id, page, place, end_page, end_place, reservation FROM decisions
WHERE reservation IS NOT NULL ORDER BY page
"""
CLAIMS: Final = """
SELECT principal, key, fingerprint, request_id, finished, expires_at FROM idempotency ORDER BY expires_at
"""
METERED: Final = """
SELECT provider, model, sum(metered_bytes), sum(metered_input_tokens) FROM half_days
WHERE metered_bytes > 0 GROUP BY provider, model
"""


class Execute(Protocol):
    """Runs one statement."""

    def __call__(self, sql: str, parameters: Any, /) -> object:
        """As ``sqlite3.Connection.execute``."""
        ...


def store(execute: Execute, statements: Many, rows: list[tuple[object, ...]]) -> None:
    """Run a statement for all of these rows, in their order."""
    done, left = 0, len(rows)
    for count in ROWS_AT_ONCE:
        while left >= count:
            execute(statements[count], list(chain.from_iterable(rows[done : done + count])))
            done += count
            left -= count


def claim(change: ClaimChange) -> tuple[str, tuple[str | int, ...]]:
    """The statement and parameters that store or drop an idempotency claim."""
    if change.finished is None:
        return DROP_CLAIM, (change.principal, change.key, change.request_id)
    return SAVE_CLAIM, (
        change.principal,
        change.key,
        change.fingerprint,
        change.request_id,
        change.finished,
        change.expires_at,
    )
