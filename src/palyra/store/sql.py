"""Every SQL statement of the SQLite adapter, static and named. Parameters are bound, never pasted."""

from typing import Final

from palyra.store.write import ClaimChange

HAS_REVISION: Final = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
REVISION: Final = "SELECT version_num FROM alembic_version"

JOURNAL_HEAD: Final = "SELECT seq, chain FROM journal ORDER BY seq DESC LIMIT 1"
LAST_INSTANT: Final = "SELECT max(at) FROM (SELECT at FROM journal ORDER BY seq DESC LIMIT 1000)"
JOURNAL_COUNT: Final = "SELECT coalesce(max(seq), 0) FROM journal"
JOURNAL_RECORDS: Final = (
    "SELECT seq, at, kind, ref, body, chain FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
)

INSERT_JOURNAL: Final = """
INSERT INTO journal (seq, at, kind, ref, body, chain)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?)
"""

UPSERT_ACCOUNTS: Final = """
INSERT INTO accounts
  (policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET
  posted = posted + excluded.posted, held = held + excluded.held,
  shadow_posted = shadow_posted + excluded.shadow_posted, shadow_held = shadow_held + excluded.shadow_held
"""

INSERT_DECISIONS: Final = """
INSERT INTO decisions
  (request_id, at, state, outcome, principal, agent, session, model, body, reservation)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7,
  value->>8, value->>9
FROM json_each(?)
"""

CLOSE_DECISIONS: Final = """
UPDATE decisions SET state = closed.state, settlement = closed.settlement,
  reservation = CASE closed.state WHEN 'in_doubt' THEN reservation ELSE NULL END
FROM (SELECT value->>0 AS request_id, value->>1 AS state, value->>2 AS settlement FROM json_each(?)) AS closed
WHERE decisions.request_id = closed.request_id
"""

UPSERT_ROLLUPS: Final = """
INSERT INTO rollups
  (hour, principal, agent, model, provider, requests, denied, estimated, unpriced, input_tokens,
   output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, metered_bytes,
   metered_input_tokens)
SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
  value->>9, value->>10, value->>11, value->>12, value->>13, value->>14, value->>15, value->>16
FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET
  requests = requests + excluded.requests, denied = denied + excluded.denied,
  estimated = estimated + excluded.estimated, unpriced = unpriced + excluded.unpriced,
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost = cost + excluded.cost, metered_bytes = metered_bytes + excluded.metered_bytes,
  metered_input_tokens = metered_input_tokens + excluded.metered_input_tokens
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
}

ACCOUNTS: Final = """
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held
FROM accounts
"""
DECISION: Final = "SELECT body, state, settlement FROM decisions WHERE request_id = ?"
POLICIES: Final = """
SELECT body FROM policies
JOIN (SELECT id, max(version) AS version FROM policies GROUP BY id) USING (id, version)
WHERE deleted = 0 ORDER BY id
"""
POLICY_VERSION: Final = "SELECT coalesce(max(version), 0) FROM policies WHERE id = ?"
KEYS: Final = "SELECT body FROM keys ORDER BY id"

LIVE_ACCOUNTS: Final = """
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held
FROM accounts WHERE window_end > ? OR held <> 0
"""
UNRESOLVED: Final = """
SELECT state, reservation FROM decisions
WHERE state IN ('pending', 'in_doubt') AND reservation IS NOT NULL
"""
# The first condition is the one of the partial index, word for word: without it SQLite reads every call.
IN_DOUBT: Final = """
SELECT body, state, settlement FROM decisions
WHERE state IN ('pending', 'in_doubt') AND state = 'in_doubt' AND reservation IS NOT NULL
"""
CLAIMS: Final = """
SELECT principal, key, fingerprint, request_id, finished, expires_at FROM idempotency ORDER BY expires_at
"""
METERED: Final = """
SELECT provider, model, sum(metered_bytes), sum(metered_input_tokens) FROM rollups
WHERE metered_bytes > 0 GROUP BY provider, model
"""


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
