"""Which agents, models and providers a session had calls of, so that it is found by any of them.

A revision is frozen once released: it spells out tables and functions. History is not summed up here, which
would keep a large ledger from starting for minutes: ``palyra db rebuild-rollups`` does it from the calls.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_NAMES = ("principal", "session", "agent", "model", "provider")


def upgrade() -> None:
    """Add a table, whose rows gateways share as those of sessions, and an index of sessions of over a day."""
    op.create_table(
        "session_parts",
        *map(_text, _NAMES),
        sa.PrimaryKeyConstraint(*_NAMES),
        sqlite_with_rowid=False,
    )
    long = sa.text("last_at - first_at > 86400000000000")
    op.create_index(
        "sessions_long",
        "sessions",
        ["principal", "last_at", "session"],
        sqlite_where=long,
        postgresql_where=long,
    )
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION palyra_commit")
        op.execute(_COMMIT)


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0010 cannot be undone; restore the backup")


def _text(name: str) -> sa.Column[str]:
    """Text that is compared byte by byte, as SQLite does."""
    return sa.Column(name, sa.Text(collation="C").with_variant(sa.Text(), "sqlite"), nullable=False)


# As in revision 0008, and with the parts of sessions that this one adds.
_COMMIT = """
CREATE FUNCTION palyra_commit(
  _node bigint, _term bigint, _lease double precision, _seq bigint, _records integer, _at bigint,
  _open_from bigint, _page bigint, _body bytea, _chain bytea, _documents bytea,
  _policy text[], _metric text[], _entity text[], _start bigint[], _end bigint[],
  _posted bigint[], _held bigint[], _shadow_posted bigint[], _shadow_held bigint[],
  _delta bigint[], _wish bigint[], _limit bigint[], _share double precision,
  _call text[], _call_at bigint[], _state text[], _outcome text[], _principal text[], _agent text[],
  _session text[], _model text[], _call_page bigint[], _place integer[], _end_page bigint[],
  _end_place integer[], _reservation bytea[],
  _hour bigint[], _r_principal text[], _r_agent text[], _r_model text[], _r_provider text[],
  _figures bigint[],
  _i_principal text[], _i_key text[], _i_fingerprint text[], _i_request text[], _i_finished integer[],
  _i_expires bigint[],
  _l_hour bigint[], _l_provider text[], _l_model text[], _l_bucket integer[], _l_calls bigint[],
  _t_hour bigint[], _t_tag text[], _t_value text[], _t_figures bigint[],
  _s_principal text[], _s_session text[], _s_first_at bigint[], _s_last_at bigint[], _s_first_call text[],
  _s_last_call text[], _s_agent text[], _s_model text[], _s_figures bigint[],
  _h_half_day bigint[], _h_principal text[], _h_agent text[], _h_model text[], _h_provider text[],
  _h_last_hour bigint[], _h_figures bigint[],
  _p_principal text[], _p_session text[], _p_agent text[], _p_model text[], _p_provider text[]
) RETURNS TABLE (
  n bigint, short boolean, posted bigint, shadow_posted bigint, claimed bigint, folded bigint,
  shadow_folded bigint, given bigint
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM nodes WHERE id = _node AND term = _term AND is_open AND next_seq = _seq FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'gateway % does not own its journal any more', _node USING ERRCODE = 'PY001';
  END IF;

  IF cardinality(array_remove(_delta, NULL)) > 0 THEN
    INSERT INTO accounts (policy_id, metric, entity, window_start, window_end, posted, shadow_posted, claimed)
    SELECT c.policy_id, c.metric, c.entity, c.window_start, c.window_end, 0, 0, 0
    FROM unnest(_policy, _metric, _entity, _start, _end, _delta)
      AS c (policy_id, metric, entity, window_start, window_end, delta)
    WHERE c.delta IS NOT NULL
    ON CONFLICT DO NOTHING;
    PERFORM (
      SELECT 1 FROM accounts a
      WHERE (a.policy_id, a.metric, a.entity, a.window_start)
        = (c.policy_id, c.metric, c.entity, c.window_start)
      FOR UPDATE
    )
    FROM unnest(_policy, _metric, _entity, _start, _delta)
      AS c (policy_id, metric, entity, window_start, delta)
    WHERE c.delta IS NOT NULL;
    RETURN QUERY
    SELECT c.n, true, a.posted, a.shadow_posted, a.claimed, 0::bigint, 0::bigint, 0::bigint
    FROM unnest(_policy, _metric, _entity, _start, _delta, _limit) WITH ORDINALITY
      AS c (policy_id, metric, entity, window_start, delta, most, n)
    CROSS JOIN LATERAL (
      SELECT * FROM accounts b
      WHERE (b.policy_id, b.metric, b.entity, b.window_start)
        = (c.policy_id, c.metric, c.entity, c.window_start)
      OFFSET 0
    ) a
    WHERE c.delta > 0 AND a.claimed + c.delta > c.most;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;

  IF cardinality(_i_key) > 0 THEN
    RETURN QUERY
    SELECT -c.n, true, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint
    FROM unnest(_i_principal, _i_key, _i_request, _i_finished) WITH ORDINALITY
      AS c (principal, key, request_id, finished, n)
    JOIN idempotency i USING (principal, key)
    WHERE c.finished = 0 AND i.request_id <> c.request_id AND NOT (i.finished = 1 AND i.expires_at <= _at);
    IF FOUND THEN
      RETURN;
    END IF;
    DELETE FROM idempotency i
    USING unnest(_i_principal, _i_key, _i_request, _i_finished) AS c (principal, key, request_id, finished)
    WHERE (i.principal, i.key) = (c.principal, c.key)
      AND (c.finished IS NULL AND i.request_id = c.request_id
        OR c.finished = 0 AND i.finished = 1 AND i.expires_at <= _at);
    INSERT INTO idempotency AS i (principal, key, fingerprint, request_id, finished, expires_at)
    SELECT c.principal, c.key, c.fingerprint, c.request_id, c.finished, c.expires_at
    FROM unnest(_i_principal, _i_key, _i_fingerprint, _i_request, _i_finished, _i_expires)
      AS c (principal, key, fingerprint, request_id, finished, expires_at)
    WHERE c.finished IS NOT NULL
    ORDER BY c.principal, c.key
    ON CONFLICT (principal, key) DO UPDATE SET finished = CASE
      WHEN i.request_id = excluded.request_id THEN excluded.finished
      ELSE NULL -- taken by another call while this one waited: refused, and seen when it is tried again
    END;
  END IF;

  UPDATE nodes SET next_seq = _seq + _records, next_page = greatest(next_page, _page + 1),
    last_at = greatest(last_at, _at), lease_until = clock_timestamp() + make_interval(secs => _lease)
  WHERE id = _node;
  IF _records > 0 THEN
    INSERT INTO journal (node, seq, records, at, open_from, documents, body, chain)
    VALUES (_node, _seq, _records, _at, _open_from, _page, _body, _chain);
  END IF;
  IF _documents IS NOT NULL THEN
    INSERT INTO documents (node, page, at, body) VALUES (_node, _page, _at, _documents);
  END IF;

  IF cardinality(_call) > 0 THEN
    INSERT INTO decisions AS d (request_id, at, state, outcome, principal, agent, session, model, node, page,
      place, end_page, end_place, reservation)
    SELECT c.request_id, c.at, c.state, c.outcome, c.principal, c.agent, c.session, c.model, _node, c.page,
      c.place, c.end_page, c.end_place, c.reservation
    FROM unnest(_call, _call_at, _state, _outcome, _principal, _agent, _session, _model, _call_page, _place,
        _end_page, _end_place, _reservation)
      AS c (request_id, at, state, outcome, principal, agent, session, model, page, place, end_page,
        end_place, reservation)
    ON CONFLICT (request_id, at) DO UPDATE SET state = excluded.state, end_page = excluded.end_page,
      end_place = excluded.end_place, reservation = excluded.reservation;
  END IF;

  IF cardinality(_hour) > 0 THEN
    INSERT INTO rollups AS r (
      hour, principal, agent, model, provider, node, requests, denied, estimated, unpriced, input_tokens,
      output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost, metered_bytes,
      metered_input_tokens, asked, clamped, failed, timed, latency_ms, saved
    )
    SELECT c.hour, c.principal, c.agent, c.model, c.provider, _node,
      _figures[c.n * 18 - 17], _figures[c.n * 18 - 16], _figures[c.n * 18 - 15], _figures[c.n * 18 - 14],
      _figures[c.n * 18 - 13], _figures[c.n * 18 - 12], _figures[c.n * 18 - 11], _figures[c.n * 18 - 10],
      _figures[c.n * 18 - 9], _figures[c.n * 18 - 8], _figures[c.n * 18 - 7], _figures[c.n * 18 - 6],
      _figures[c.n * 18 - 5], _figures[c.n * 18 - 4], _figures[c.n * 18 - 3], _figures[c.n * 18 - 2],
      _figures[c.n * 18 - 1], _figures[c.n * 18]
    FROM unnest(_hour, _r_principal, _r_agent, _r_model, _r_provider) WITH ORDINALITY
      AS c (hour, principal, agent, model, provider, n)
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
      latency_ms = r.latency_ms + excluded.latency_ms, saved = r.saved + excluded.saved;
  END IF;
  IF cardinality(_h_half_day) > 0 THEN
    INSERT INTO half_days AS h (
      half_day, principal, agent, model, provider, node, last_hour, requests, denied, estimated, unpriced,
      input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
      metered_bytes, metered_input_tokens, asked, clamped, failed, timed, latency_ms, saved
    )
    SELECT c.half_day, c.principal, c.agent, c.model, c.provider, _node, c.last_hour,
      _h_figures[c.n * 18 - 17], _h_figures[c.n * 18 - 16], _h_figures[c.n * 18 - 15],
      _h_figures[c.n * 18 - 14], _h_figures[c.n * 18 - 13], _h_figures[c.n * 18 - 12],
      _h_figures[c.n * 18 - 11], _h_figures[c.n * 18 - 10], _h_figures[c.n * 18 - 9],
      _h_figures[c.n * 18 - 8], _h_figures[c.n * 18 - 7], _h_figures[c.n * 18 - 6],
      _h_figures[c.n * 18 - 5], _h_figures[c.n * 18 - 4], _h_figures[c.n * 18 - 3],
      _h_figures[c.n * 18 - 2], _h_figures[c.n * 18 - 1], _h_figures[c.n * 18]
    FROM unnest(_h_half_day, _h_principal, _h_agent, _h_model, _h_provider, _h_last_hour) WITH ORDINALITY
      AS c (half_day, principal, agent, model, provider, last_hour, n)
    ON CONFLICT (half_day, principal, agent, model, provider, node) DO UPDATE SET
      last_hour = greatest(h.last_hour, excluded.last_hour),
      requests = h.requests + excluded.requests, denied = h.denied + excluded.denied,
      estimated = h.estimated + excluded.estimated, unpriced = h.unpriced + excluded.unpriced,
      input_tokens = h.input_tokens + excluded.input_tokens,
      output_tokens = h.output_tokens + excluded.output_tokens,
      cache_read_tokens = h.cache_read_tokens + excluded.cache_read_tokens,
      cache_write_tokens = h.cache_write_tokens + excluded.cache_write_tokens,
      reasoning_tokens = h.reasoning_tokens + excluded.reasoning_tokens, cost = h.cost + excluded.cost,
      metered_bytes = h.metered_bytes + excluded.metered_bytes,
      metered_input_tokens = h.metered_input_tokens + excluded.metered_input_tokens,
      asked = h.asked + excluded.asked, clamped = h.clamped + excluded.clamped,
      failed = h.failed + excluded.failed, timed = h.timed + excluded.timed,
      latency_ms = h.latency_ms + excluded.latency_ms, saved = h.saved + excluded.saved;
  END IF;
  IF cardinality(_l_hour) > 0 THEN
    INSERT INTO latencies AS l (hour, provider, model, bucket, node, calls)
    SELECT c.hour, c.provider, c.model, c.bucket, _node, c.calls
    FROM unnest(_l_hour, _l_provider, _l_model, _l_bucket, _l_calls)
      AS c (hour, provider, model, bucket, calls)
    ON CONFLICT (hour, provider, model, bucket, node) DO UPDATE SET calls = l.calls + excluded.calls;
    INSERT INTO half_day_latencies AS l (half_day, provider, model, bucket, node, calls)
    SELECT c.hour - c.hour % 43200000000000, c.provider, c.model, c.bucket, _node, sum(c.calls)
    FROM unnest(_l_hour, _l_provider, _l_model, _l_bucket, _l_calls)
      AS c (hour, provider, model, bucket, calls)
    GROUP BY 1, c.provider, c.model, c.bucket
    ON CONFLICT (half_day, provider, model, bucket, node) DO UPDATE SET calls = l.calls + excluded.calls;
  END IF;
  IF cardinality(_t_hour) > 0 THEN
    INSERT INTO tag_rollups AS t (hour, tag, value, node, requests, input_tokens, output_tokens, cost)
    SELECT c.hour, c.tag, c.value, _node, _t_figures[c.n * 4 - 3], _t_figures[c.n * 4 - 2],
      _t_figures[c.n * 4 - 1], _t_figures[c.n * 4]
    FROM unnest(_t_hour, _t_tag, _t_value) WITH ORDINALITY AS c (hour, tag, value, n)
    ON CONFLICT (hour, tag, value, node) DO UPDATE SET
      requests = t.requests + excluded.requests, input_tokens = t.input_tokens + excluded.input_tokens,
      output_tokens = t.output_tokens + excluded.output_tokens, cost = t.cost + excluded.cost;
    INSERT INTO half_day_tags AS t (half_day, tag, value, node, requests, input_tokens, output_tokens, cost)
    SELECT c.hour - c.hour % 43200000000000, c.tag, c.value, _node, sum(_t_figures[c.n * 4 - 3]),
      sum(_t_figures[c.n * 4 - 2]), sum(_t_figures[c.n * 4 - 1]), sum(_t_figures[c.n * 4])
    FROM unnest(_t_hour, _t_tag, _t_value) WITH ORDINALITY AS c (hour, tag, value, n)
    GROUP BY 1, c.tag, c.value
    ON CONFLICT (half_day, tag, value, node) DO UPDATE SET
      requests = t.requests + excluded.requests, input_tokens = t.input_tokens + excluded.input_tokens,
      output_tokens = t.output_tokens + excluded.output_tokens, cost = t.cost + excluded.cost;
  END IF;
  -- The rows come in the order of their keys: whoever else writes to the same sessions waits, and never
  -- crosswise. Rows of accounts and keys are locked before them.
  IF cardinality(_s_session) > 0 THEN
    INSERT INTO sessions AS s (principal, session, first_at, last_at, first_call, last_call, agent, model,
      requests, denied, failed, input_tokens, output_tokens, cost)
    SELECT c.principal, c.session, c.first_at, c.last_at, c.first_call, c.last_call, c.agent, c.model,
      _s_figures[c.n * 6 - 5], _s_figures[c.n * 6 - 4], _s_figures[c.n * 6 - 3], _s_figures[c.n * 6 - 2],
      _s_figures[c.n * 6 - 1], _s_figures[c.n * 6]
    FROM unnest(_s_principal, _s_session, _s_first_at, _s_last_at, _s_first_call, _s_last_call, _s_agent,
        _s_model) WITH ORDINALITY
      AS c (principal, session, first_at, last_at, first_call, last_call, agent, model, n)
    ORDER BY c.n
    ON CONFLICT (principal, session) DO UPDATE SET
      first_at = CASE WHEN excluded.first_call < s.first_call THEN excluded.first_at ELSE s.first_at END,
      last_at = CASE WHEN excluded.last_call > s.last_call THEN excluded.last_at ELSE s.last_at END,
      agent = CASE WHEN excluded.last_call > s.last_call THEN excluded.agent ELSE s.agent END,
      model = CASE WHEN excluded.last_call > s.last_call THEN excluded.model ELSE s.model END,
      first_call = least(s.first_call, excluded.first_call),
      last_call = greatest(s.last_call, excluded.last_call),
      requests = s.requests + excluded.requests, denied = s.denied + excluded.denied,
      failed = s.failed + excluded.failed, input_tokens = s.input_tokens + excluded.input_tokens,
      output_tokens = s.output_tokens + excluded.output_tokens, cost = s.cost + excluded.cost;
    INSERT INTO session_parts (principal, session, agent, model, provider)
    SELECT c.principal, c.session, c.agent, c.model, c.provider
    FROM unnest(_p_principal, _p_session, _p_agent, _p_model, _p_provider)
      AS c (principal, session, agent, model, provider)
    ON CONFLICT DO NOTHING;
  END IF;

  INSERT INTO slices AS s (node, policy_id, metric, entity, window_start, window_end, granted, posted, held,
    shadow_posted, shadow_held)
  SELECT _node, c.policy_id, c.metric, c.entity, c.window_start, c.window_end, 0, c.posted, c.held,
    c.shadow_posted, c.shadow_held
  FROM unnest(_policy, _metric, _entity, _start, _end, _posted, _held, _shadow_posted, _shadow_held)
    AS c (policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held)
  ON CONFLICT (node, policy_id, metric, entity, window_start) DO UPDATE SET
    posted = s.posted + excluded.posted, held = s.held + excluded.held,
    shadow_posted = s.shadow_posted + excluded.shadow_posted,
    shadow_held = s.shadow_held + excluded.shadow_held;

  RETURN QUERY
  WITH changed AS (
    UPDATE accounts a SET
      posted = a.posted + c.posted,
      shadow_posted = a.shadow_posted + c.shadow_posted,
      claimed = a.claimed + c.delta + c.more
    FROM (
      SELECT t.n, t.delta, b.ctid AS account, s.ctid AS slice, s.posted, s.shadow_posted,
        CASE
          WHEN t.wish <= 0 OR b.tight_until > clock_timestamp() THEN 0
          WHEN t.most IS NULL THEN t.wish
          ELSE greatest(0, least(t.wish, ((t.most - b.claimed - t.delta) * _share)::bigint))
        END AS more
      FROM unnest(_policy, _metric, _entity, _start, _delta, _wish, _limit) WITH ORDINALITY
        AS t (policy_id, metric, entity, window_start, delta, wish, most, n)
      CROSS JOIN LATERAL (
        SELECT ctid, claimed, tight_until FROM accounts
        WHERE (policy_id, metric, entity, window_start) = (t.policy_id, t.metric, t.entity, t.window_start)
        OFFSET 0
      ) b
      CROSS JOIN LATERAL (
        SELECT ctid, posted, shadow_posted FROM slices
        WHERE (node, policy_id, metric, entity, window_start)
          = (_node, t.policy_id, t.metric, t.entity, t.window_start)
        OFFSET 0
      ) s
      WHERE t.delta IS NOT NULL
    ) c
    WHERE a.ctid = c.account
    RETURNING c.n, c.slice, a.posted, a.shadow_posted, a.claimed,
      c.posted AS folded, c.shadow_posted AS shadow_folded, c.delta + c.more AS given
  ), kept AS (
    UPDATE slices s SET posted = 0, shadow_posted = 0, granted = s.granted + c.given - c.folded
    FROM changed c
    WHERE s.ctid = c.slice
  )
  SELECT c.n, false, c.posted, c.shadow_posted, c.claimed, c.folded, c.shadow_folded, c.given FROM changed c;
END
$$
"""
