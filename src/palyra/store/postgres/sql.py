"""Every SQL statement of the PostgreSQL adapter, static and named. Parameters are bound, never pasted.

The functions that they call are made by revisions 0003, 0004 and 0010.
"""

from collections.abc import Mapping
from typing import Final, LiteralString

COMMIT: Final = """
SELECT n, short, posted, shadow_posted, claimed, folded, shadow_folded, given FROM palyra_commit(
  $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
  $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28,
  $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42,
  $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56,
  $57, $58, $59, $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70,
  $71, $72, $73, $74, $75, $76, $77, $78, $79
)
"""
VIEW: Final = "SELECT n, posted, shadow_posted, claimed, free FROM palyra_view($1, $2, $3, $4, $5)"
RECALL: Final = "SELECT palyra_recall($1, $2, $3, $4, $5)"

HAS_REVISION: Final = "SELECT to_regclass('alembic_version') IS NOT NULL"
REVISION: Final = "SELECT version_num FROM alembic_version"
SYNCHRONOUS: Final = "SHOW synchronous_commit"

JOIN: Final = """
INSERT INTO nodes (name, holder, is_open, term, next_seq, next_page, last_at, lease_until, joined_at)
VALUES ($1, $2, true, 1, 1, 1, 0, clock_timestamp() + make_interval(secs => $3), clock_timestamp())
RETURNING id, term, next_seq, next_page
"""
# A gateway whose clock was ahead must not hold up the clocks of all others.
LAST_INSTANT: Final = """
SELECT least(coalesce(max(last_at), 0), now)::bigint, now
FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint AS now) AS clock
LEFT JOIN nodes ON true
GROUP BY now
"""
# A new term: a commit that an older connection still has under way comes too late.
REATTACH: Final = """
UPDATE nodes SET term = term + 1, lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND holder = $2 AND is_open
RETURNING id, term, next_seq, next_page
"""
TAKE_OVER: Final = """
UPDATE nodes SET term = term + 1, holder = $2, is_open = true,
  lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = $1 AND (NOT is_open OR lease_until < clock_timestamp() OR holder = $2)
RETURNING id, term, next_seq, next_page
"""
LEAVE: Final = """
UPDATE nodes SET is_open = false
WHERE id = $1 AND holder = $2 AND NOT EXISTS (
  SELECT 1 FROM slices WHERE node = $1 AND (granted <> 0 OR posted <> 0 OR held <> 0)
)
RETURNING id
"""
ABANDON: Final = "UPDATE nodes SET lease_until = clock_timestamp() WHERE id = $1 AND holder = $2"
DROP_EMPTY_SLICES: Final = "DELETE FROM slices WHERE node = $1 AND granted = 0 AND posted = 0 AND held = 0"
COUNT_IN_DOUBT: Final = "SELECT count(*) FROM decisions WHERE reservation IS NOT NULL"
DEAD: Final = "SELECT id FROM nodes WHERE is_open AND lease_until < clock_timestamp() ORDER BY id"
NODES: Final = """
SELECT id, name, is_open, lease_until < clock_timestamp() AS is_late FROM nodes
WHERE is_open ORDER BY id
"""

OWN_SLICES: Final = """
SELECT policy_id, metric, entity, window_start, window_end, granted, posted, held, shadow_posted, shadow_held
FROM slices WHERE node = $1
"""
RECALLED: Final = """
SELECT a.policy_id, a.metric, a.entity, a.window_start,
  extract(epoch FROM a.tight_until - clock_timestamp())::double precision AS seconds
FROM slices s JOIN accounts a USING (policy_id, metric, entity, window_start)
WHERE s.node = $1 AND s.granted > s.posted + s.held AND a.tight_until > now()
"""

LAST_PAGE: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal
WHERE node = $1 ORDER BY seq DESC LIMIT 1
"""
PAGES: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal
WHERE node = $1 AND seq >= $2 ORDER BY seq
"""
SOME_PAGES: Final = """
SELECT seq, records, at, open_from, documents, body, chain FROM journal
WHERE node = $1 AND seq >= $2 ORDER BY seq LIMIT $3
"""
DOCUMENTS: Final = "SELECT body FROM documents WHERE node = $1 AND page = $2"
DECISION: Final = """
SELECT state, place, d.body, end_place, e.body FROM decisions
JOIN documents AS d ON d.node = decisions.node AND d.page = decisions.page
LEFT JOIN documents AS e ON e.node = decisions.node AND e.page = end_page
WHERE request_id = $1
"""
IN_DOUBT: Final = """
SELECT request_id, page, place, end_page, end_place, reservation FROM decisions
WHERE node = $1 AND reservation IS NOT NULL ORDER BY page
"""
SOME_DOCUMENTS: Final = """
SELECT page, body FROM documents WHERE node = $1 AND page = ANY($2::bigint[])
"""
CALLS_KEPT: Final = "SELECT count(*), min(at) FROM decisions"
EVERY_CALL: Final = """
SELECT state, node, page, place, end_page, end_place FROM decisions ORDER BY request_id
"""
LOCK_SUMS: Final = """
LOCK TABLE nodes, rollups, half_days, latencies, half_day_latencies, tag_rollups, half_day_tags, sessions,
  session_parts
IN EXCLUSIVE MODE
"""
FORGET_SUMS: Final = (
    "DELETE FROM rollups WHERE hour >= $1",
    "DELETE FROM latencies WHERE hour >= $1",
    "DELETE FROM tag_rollups WHERE hour >= $1",
    """
DELETE FROM session_parts p USING sessions s
WHERE (p.principal, p.session) = (s.principal, s.session) AND s.first_at >= $1
""",
    "DELETE FROM sessions WHERE first_at >= $1",
)
SESSIONS_KEPT: Final = "SELECT principal, session FROM sessions"
FORGET_HALF_DAYS: Final = (
    "DELETE FROM half_days",
    "DELETE FROM half_day_latencies",
    "DELETE FROM half_day_tags",
)
FILL_HALF_DAYS: Final = (
    """
INSERT INTO half_days (half_day, principal, agent, model, provider, node, last_hour, requests, denied,
  estimated, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
  cost, metered_bytes, metered_input_tokens, asked, clamped, failed, timed, latency_ms, saved)
SELECT hour - hour % 43200000000000, principal, agent, model, provider, 0, max(hour), sum(requests),
  sum(denied), sum(estimated), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
  sum(cache_write_tokens), sum(reasoning_tokens), sum(cost), sum(metered_bytes), sum(metered_input_tokens),
  sum(asked), sum(clamped), sum(failed), sum(timed), sum(latency_ms), sum(saved)
FROM rollups GROUP BY 1, principal, agent, model, provider
""",
    """
INSERT INTO half_day_latencies (half_day, provider, model, bucket, node, calls)
SELECT hour - hour % 43200000000000, provider, model, bucket, 0, sum(calls)
FROM latencies GROUP BY 1, provider, model, bucket
""",
    """
INSERT INTO half_day_tags (half_day, tag, value, node, requests, input_tokens, output_tokens, cost)
SELECT hour - hour % 43200000000000, tag, value, 0, sum(requests), sum(input_tokens), sum(output_tokens),
  sum(cost)
FROM tag_rollups GROUP BY 1, tag, value
""",
)
"""As rows of node 0."""
ADD_SUMS: Final = (
    """
INSERT INTO rollups AS r (hour, principal, agent, model, provider, node, requests, denied, estimated,
  unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
  metered_bytes, metered_input_tokens, asked, clamped, failed, timed, latency_ms, saved)
VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
  $22, $23)
ON CONFLICT (hour, principal, agent, model, provider, node) DO UPDATE SET
  requests = r.requests + excluded.requests, denied = r.denied + excluded.denied,
  estimated = r.estimated + excluded.estimated, unpriced = r.unpriced + excluded.unpriced,
  input_tokens = r.input_tokens + excluded.input_tokens,
  output_tokens = r.output_tokens + excluded.output_tokens,
  cache_read_tokens = r.cache_read_tokens + excluded.cache_read_tokens,
  cache_write_tokens = r.cache_write_tokens + excluded.cache_write_tokens,
  reasoning_tokens = r.reasoning_tokens + excluded.reasoning_tokens, cost = r.cost + excluded.cost,
  metered_bytes = r.metered_bytes + excluded.metered_bytes,
  metered_input_tokens = r.metered_input_tokens + excluded.metered_input_tokens,
  asked = r.asked + excluded.asked, clamped = r.clamped + excluded.clamped,
  failed = r.failed + excluded.failed, timed = r.timed + excluded.timed,
  latency_ms = r.latency_ms + excluded.latency_ms, saved = r.saved + excluded.saved
""",
    """
INSERT INTO latencies AS l (hour, provider, model, bucket, calls, node) VALUES ($1, $2, $3, $4, $5, 0)
ON CONFLICT (hour, provider, model, bucket, node) DO UPDATE SET calls = l.calls + excluded.calls
""",
    """
INSERT INTO tag_rollups AS t (hour, tag, value, requests, input_tokens, output_tokens, cost, node)
VALUES ($1, $2, $3, $4, $5, $6, $7, 0)
ON CONFLICT (hour, tag, value, node) DO UPDATE SET
  requests = t.requests + excluded.requests, input_tokens = t.input_tokens + excluded.input_tokens,
  output_tokens = t.output_tokens + excluded.output_tokens, cost = t.cost + excluded.cost
""",
    # Calls come in the order of their ids, so that each row has the newest one.
    """
INSERT INTO sessions AS s (principal, session, first_at, last_at, first_call, last_call, agent, model,
  requests, denied, failed, input_tokens, output_tokens, cost)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (principal, session) DO UPDATE SET
  last_at = excluded.last_at, last_call = excluded.last_call, agent = excluded.agent, model = excluded.model,
  requests = s.requests + excluded.requests, denied = s.denied + excluded.denied,
  failed = s.failed + excluded.failed, input_tokens = s.input_tokens + excluded.input_tokens,
  output_tokens = s.output_tokens + excluded.output_tokens, cost = s.cost + excluded.cost
""",
    """
INSERT INTO session_parts (principal, session, agent, model, provider) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
""",
)
"""For calls that are counted anew: in the order of ``Derived``, but for half-days, which are filled."""
HISTORY: Final[Mapping[str, LiteralString]] = {
    "history_ends": """
SELECT coalesce((SELECT max(seq) FROM journal WHERE node = $1), 0),
  coalesce((SELECT max(page) FROM documents WHERE node = $1), 0)
""",
    "history_from": "SELECT seq, at FROM journal WHERE node = $1 AND seq >= $2 ORDER BY seq LIMIT 1",
    "history_before": """
SELECT documents FROM journal WHERE node = $1 AND seq < $2 AND documents > 0 ORDER BY seq DESC LIMIT 1
""",
    "history_journal": """
SELECT seq, records, documents, body FROM journal WHERE node = $1 AND seq >= $2 AND seq <= $3
ORDER BY seq LIMIT $4
""",
    "history_documents": """
SELECT page, body FROM documents WHERE node = $1 AND page > $2 AND page <= $3 ORDER BY page LIMIT $4
""",
}
"""What ``history`` goes through, a few pages of one gateway at a time."""
HISTORY_NODES: Final = "SELECT id FROM nodes ORDER BY id"
ENDED: Final = "SELECT request_id FROM decisions WHERE request_id = ANY($1::text[])"
CLAIM: Final = """
SELECT request_id, fingerprint, finished, expires_at FROM idempotency WHERE principal = $1 AND key = $2
"""
OPEN_CLAIMS: Final = """
SELECT principal, key, fingerprint, request_id, finished, expires_at FROM idempotency
WHERE finished = 0 AND request_id = ANY($1::text[])
"""
DROP_OLD_CLAIMS: Final = "DELETE FROM idempotency WHERE finished = 1 AND expires_at <= $1"
METERED: Final = """
SELECT provider, model, sum(metered_bytes)::bigint, sum(metered_input_tokens)::bigint FROM half_days
WHERE metered_bytes > 0 GROUP BY provider, model
"""

COUNT_ACCOUNTS: Final = "SELECT count(*) FROM accounts"
COUNT_RECORDS: Final = "SELECT coalesce(sum(records), 0)::bigint FROM journal"
ALL_PAGES: Final = """
SELECT node, seq, records, at, open_from, documents, body, chain FROM journal ORDER BY node, seq
"""
# Where in each journal begins what was recorded from an instant on, and where ends what was before another.
COVERED: Final = """
SELECT ends.node, before.follows AS first, before.chain AS after, newest.follows, newest.chain AS head
FROM (
  SELECT node, min(seq) FILTER (WHERE records > 0 AND at >= $1) AS first,
    max(seq) FILTER (WHERE at < $2) AS last
  FROM journal GROUP BY node
) AS ends
LEFT JOIN LATERAL (
  SELECT seq + records AS follows, chain FROM journal WHERE node = ends.node AND seq = ends.last LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
  SELECT seq + records AS follows, chain FROM journal
  WHERE node = ends.node AND (ends.first IS NULL OR seq < ends.first) ORDER BY seq DESC LIMIT 1
) AS before ON true
"""
ALL_BALANCES: Final = """
SELECT policy_id, metric, entity, window_start, b.posted, b.held, b.shadow_posted, b.shadow_held, b.sliced,
  a.claimed
FROM balances b JOIN accounts a USING (policy_id, metric, entity, window_start)
"""

CLAIM_SLOTS: Final = "SELECT granted, sharers, short FROM palyra_claim_slots($1, $2, $3, $4)"
# Rows of gateways that are gone say nothing.
DROP_DEAD_SLOTS: Final = """
DELETE FROM slots WHERE node NOT IN (
  SELECT id FROM nodes WHERE is_open AND lease_until > clock_timestamp() - interval '1 hour'
)
"""
SESSION_MODEL: Final = "SELECT model, at FROM session_models WHERE principal = $1 AND session = $2"
# The first gateway that chose for a session wins, until a move is wanted ($5) or it was idle too long ($6).
KEEP_SESSION_MODEL: Final = """
INSERT INTO session_models AS known (principal, session, model, at) VALUES ($1, $2, $3, $4)
ON CONFLICT (principal, session) DO UPDATE SET at = greatest(known.at, excluded.at),
  model = CASE WHEN $5 OR known.at < $6 THEN excluded.model ELSE known.model END
RETURNING model
"""
DROP_OLD_SESSION_MODELS: Final = "DELETE FROM session_models WHERE at < $1"

LEDGER: Final = "SELECT ledger::text FROM rules"
RULES_VERSION: Final = "SELECT version FROM rules"
VERSIONS: Final = "SELECT version, approvals FROM rules"
RULES_CHANGED: Final = """
UPDATE rules SET version = version + 1 WHERE version = coalesce($1, version) RETURNING version
"""
TELL_RULES: Final = "SELECT pg_notify('palyra', 'rules')"
APPROVALS_CHANGED: Final = "UPDATE rules SET approvals = approvals + 1"
TELL_APPROVALS: Final = "SELECT pg_notify('palyra', 'approvals')"
POLICIES: Final = """
SELECT body FROM policies
JOIN (SELECT id, max(version) AS version FROM policies GROUP BY id) AS newest USING (id, version)
WHERE deleted = 0 ORDER BY id
"""
POLICY_VERSION: Final = "SELECT coalesce(max(version), 0) FROM policies WHERE id = $1"
KEYS: Final = "SELECT body FROM keys ORDER BY id"
NAMED: Final[Mapping[str, LiteralString]] = {
    "save_policy": "INSERT INTO policies (id, version, deleted, body) VALUES ($1, $2, 0, $3)",
    "delete_policy": "UPDATE policies SET deleted = 1 WHERE id = $1",
    "save_key": "INSERT INTO keys (id, sha256, body) VALUES ($1, $2, $3) "
    "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    "insert_approval": """
INSERT INTO approvals (id, version, state, cause, policy_id, requester, open_until, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
""",
    "update_approval": """
UPDATE approvals SET version = $2, state = $3, cause = $4, policy_id = $5, requester = $6, open_until = $7,
  body = $8
WHERE id = $1 AND version = $2 - 1
""",
    "insert_alert": """
INSERT INTO alerts (id, version, state, cause, kind, policy_id, principal, over_at, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
""",
    "update_alert": """
UPDATE alerts SET version = $2, state = $3, cause = $4, kind = $5, policy_id = $6, principal = $7,
  over_at = $8, body = $9
WHERE id = $1 AND version = $2 - 1
""",
    "drop_alerts": "DELETE FROM alerts WHERE over_at < $1",
    "insert_notice": """
INSERT INTO notices (id, version, state, target, due_at, over_at, body)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
""",
    "update_notice": """
UPDATE notices SET version = $2, state = $3, target = $4, due_at = $5, over_at = $6, body = $7
WHERE id = $1 AND version = $2 - 1
""",
    "drop_notices": "DELETE FROM notices WHERE over_at < $1",
    "insert_configured": "INSERT INTO configured (name, body) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    "update_configured": "UPDATE configured SET body = $3 WHERE name = $1 AND body = $2",
    "delete_configured": "DELETE FROM configured WHERE name = $1 AND body = $2",
    "insert_sign_in": """
INSERT INTO sign_ins (token_sha256, key_id, seal, signed_in_at, expires_at) VALUES ($1, $2, $3, $4, $5)
""",
    "trim_sign_ins": """
DELETE FROM sign_ins WHERE key_id = $1 AND token_sha256 NOT IN (
  SELECT token_sha256 FROM sign_ins WHERE key_id = $1 ORDER BY signed_in_at DESC, token_sha256 LIMIT $2
)
""",
    "drop_sign_in": "DELETE FROM sign_ins WHERE token_sha256 = $1",
    "drop_old_sign_ins": "DELETE FROM sign_ins WHERE expires_at <= $1",
}
SAVE_CHANGE: Final = """
INSERT INTO changes (node, at, record, page, what, kind, ref, actor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
OF_THE_RULES: Final = frozenset({"save_policy", "delete_policy", "save_key"})
OF_APPROVALS: Final = frozenset({"insert_approval", "update_approval"})
READ: Final[Mapping[str, LiteralString]] = {
    "open_approvals": "SELECT body FROM approvals WHERE open_until > $1 ORDER BY id",
    "approval": "SELECT body FROM approvals WHERE id = $1",
    "open_alerts": "SELECT body FROM alerts WHERE state = 'firing' ORDER BY id",
    "alert": "SELECT body FROM alerts WHERE id = $1",
    "due_notices": """
SELECT body FROM notices
WHERE state = 'waiting' AND due_at <= $1 AND target NOT IN (SELECT jsonb_array_elements_text($2::text::jsonb))
ORDER BY due_at, id LIMIT $3
""",
    "notice": "SELECT body FROM notices WHERE id = $1",
    "configured": "SELECT name, body FROM configured ORDER BY name",
    # Page by page: each is found by its key, whatever the planner thinks of the table.
    "journal_pages": """
SELECT node, seq, body FROM (
  SELECT (value ->> 0)::bigint AS node, (value ->> 1)::bigint AS seq
  FROM jsonb_array_elements($1::text::jsonb)
) AS wanted CROSS JOIN LATERAL (
  SELECT body FROM journal WHERE journal.node = wanted.node AND journal.seq = wanted.seq LIMIT 1
) AS page
""",
    # Every commit of every gateway moves the number of its next page of documents.
    "figures": """
SELECT n.calls, r.approvals, o.open_approvals, o.versions, a.last_alert, f.firing, f.versions, a.over_at,
  w.waiting, w.due_at, s.sent_at
FROM (SELECT coalesce(sum(next_page), 0)::bigint AS calls FROM nodes) AS n,
  (SELECT approvals FROM rules) AS r,
  (SELECT count(*) AS open_approvals, sum(version) AS versions FROM approvals WHERE open_until > $1) AS o,
  (SELECT max(id) AS last_alert, max(over_at) AS over_at FROM alerts) AS a,
  (SELECT count(*) AS firing, sum(version) AS versions FROM alerts WHERE state = 'firing') AS f,
  (SELECT count(*) AS waiting, max(due_at) AS due_at FROM notices WHERE state = 'waiting') AS w,
  (SELECT max(over_at) AS sent_at FROM notices) AS s
""",
    "sign_in": """
SELECT token_sha256, key_id, seal, signed_in_at, expires_at FROM sign_ins WHERE token_sha256 = $1
""",
}
"""What ``StoredRecords`` reads."""
MONTHS: Final = """
SELECT substr(c.relname, 9) AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'journal'::regclass AND c.relname ~ '^journal_[0-9]{4}_[0-9]{2}$' ORDER BY month
"""
PAGES_BEFORE: Final = """
SELECT node, seq, records, at, open_from, documents, body, chain FROM journal WHERE at < $1 ORDER BY node, seq
"""
CARRIED: Final = "SELECT node, next_seq, at, chain, book FROM carried"
CARRIED_OF: Final = "SELECT node, next_seq, at, chain, book FROM carried WHERE node = $1"
CARRY: Final = """
INSERT INTO carried (node, next_seq, at, chain, book) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (node) DO UPDATE SET next_seq = excluded.next_seq, at = excluded.at, chain = excluded.chain,
  book = excluded.book
"""
# A node that has held something since then and was not ended yet: its calls are in the pages to be dropped.
HELD_BEFORE: Final = """
SELECT EXISTS (SELECT 1 FROM nodes n JOIN slices s ON s.node = n.id WHERE s.held <> 0 AND n.last_at < $1)
"""
DROP_MONTH: Final = "SELECT palyra_drop_month($1)"
DROP_OLD_CHANGES: Final = """
DELETE FROM changes AS c
WHERE at < $1 AND NOT EXISTS (SELECT FROM journal WHERE journal.node = c.node AND journal.seq = c.page)
"""
DROP_OLD_SESSIONS: Final = """
WITH gone AS (DELETE FROM sessions WHERE last_at < $1 RETURNING principal, session)
DELETE FROM session_parts p USING gone WHERE (p.principal, p.session) = (gone.principal, gone.session)
"""
ONE_AT_A_TIME: Final = "SELECT pg_try_advisory_xact_lock(7207190014)"
# Partitions are made and dropped under locks for which commits would wait as long as we do.
LOCK_BRIEFLY: Final = "SET lock_timeout = '500ms'"
PARTITION: Final = "SELECT palyra_partition($1, $2, $3)"
