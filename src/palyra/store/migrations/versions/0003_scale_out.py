"""Scale-out: many gateways on one PostgreSQL. SQLite gets the columns that name the gateway, and a view.

A revision is frozen once released: it spells out tables and functions. On PostgreSQL it is the first one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """One embedded owner becomes gateway 0; on PostgreSQL every gateway has a number."""
    if op.get_bind().dialect.name == "sqlite":
        for table in ("decisions", "documents"):
            op.add_column(table, sa.Column("node", sa.BigInteger, nullable=False, server_default="0"))
        op.execute(_SQLITE_BALANCES)
        return
    for statement in (*_TABLES, _POSTGRES_BALANCES, _COMMIT, _VIEW, _RECALL, _PARTITION, _DROP_MONTH):
        op.execute(statement)


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0003 cannot be undone; restore the backup")


_SQLITE_BALANCES = """
CREATE VIEW balances AS
SELECT policy_id, metric, entity, window_start, window_end, posted, held, shadow_posted, shadow_held,
  0 AS sliced
FROM accounts
"""

_TABLES = (
    """
CREATE TABLE nodes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  holder text NOT NULL,
  is_open boolean NOT NULL,
  term bigint NOT NULL,
  next_seq bigint NOT NULL,
  next_page bigint NOT NULL,
  last_at bigint NOT NULL,
  lease_until timestamptz NOT NULL,
  joined_at timestamptz NOT NULL
)
""",
    """
CREATE TABLE journal (
  node bigint NOT NULL,
  seq bigint NOT NULL,
  records integer NOT NULL,
  at bigint NOT NULL,
  open_from bigint NOT NULL,
  documents bigint NOT NULL,
  body bytea NOT NULL,
  chain bytea NOT NULL,
  PRIMARY KEY (node, seq, at)
) PARTITION BY RANGE (at)
""",
    "CREATE TABLE journal_other PARTITION OF journal DEFAULT",
    """
CREATE TABLE documents (
  node bigint NOT NULL,
  page bigint NOT NULL,
  at bigint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (node, page, at)
) PARTITION BY RANGE (at)
""",
    "CREATE TABLE documents_other PARTITION OF documents DEFAULT",
    """
CREATE TABLE decisions (
  request_id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  state text NOT NULL,
  outcome text NOT NULL,
  principal text NOT NULL,
  agent text,
  session text,
  model text NOT NULL,
  node bigint NOT NULL,
  page bigint NOT NULL,
  place integer NOT NULL,
  end_page bigint,
  end_place integer,
  reservation bytea,
  PRIMARY KEY (request_id, at)
) PARTITION BY RANGE (at)
""",
    "CREATE TABLE decisions_other PARTITION OF decisions DEFAULT",
    "CREATE INDEX decisions_by_principal ON decisions (principal, request_id)",
    "CREATE INDEX decisions_in_doubt ON decisions (node, page) WHERE reservation IS NOT NULL",
    """
CREATE TABLE accounts (
  policy_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  entity text COLLATE "C" NOT NULL,
  window_start bigint NOT NULL,
  window_end bigint NOT NULL,
  posted bigint NOT NULL,
  shadow_posted bigint NOT NULL,
  claimed bigint NOT NULL,
  tight_until timestamptz,
  PRIMARY KEY (policy_id, metric, entity, window_start)
) WITH (fillfactor = 50)
""",
    "CREATE INDEX accounts_recalled ON accounts (tight_until) WHERE tight_until IS NOT NULL",
    """
CREATE TABLE slices (
  node bigint NOT NULL,
  policy_id text COLLATE "C" NOT NULL,
  metric text COLLATE "C" NOT NULL,
  entity text COLLATE "C" NOT NULL,
  window_start bigint NOT NULL,
  window_end bigint NOT NULL,
  granted bigint NOT NULL,
  posted bigint NOT NULL,
  held bigint NOT NULL,
  shadow_posted bigint NOT NULL,
  shadow_held bigint NOT NULL,
  PRIMARY KEY (node, policy_id, metric, entity, window_start)
) WITH (fillfactor = 50)
""",
    "CREATE INDEX slices_by_account ON slices (policy_id, metric, entity, window_start)",
    """
CREATE TABLE idempotency (
  principal text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  fingerprint text NOT NULL,
  request_id text COLLATE "C" NOT NULL,
  finished integer NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (principal, key)
)
""",
    "CREATE INDEX idempotency_by_expiry ON idempotency (expires_at)",
    """
CREATE TABLE rollups (
  hour bigint NOT NULL,
  principal text COLLATE "C" NOT NULL,
  agent text COLLATE "C" NOT NULL,
  model text COLLATE "C" NOT NULL,
  provider text COLLATE "C" NOT NULL,
  node bigint NOT NULL,
  requests bigint NOT NULL,
  denied bigint NOT NULL,
  estimated bigint NOT NULL,
  unpriced bigint NOT NULL,
  input_tokens bigint NOT NULL,
  output_tokens bigint NOT NULL,
  cache_read_tokens bigint NOT NULL,
  cache_write_tokens bigint NOT NULL,
  reasoning_tokens bigint NOT NULL,
  cost bigint NOT NULL,
  metered_bytes bigint NOT NULL,
  metered_input_tokens bigint NOT NULL,
  PRIMARY KEY (hour, principal, agent, model, provider, node)
)
""",
    """
CREATE TABLE policies (
  id text COLLATE "C" NOT NULL,
  version integer NOT NULL,
  deleted integer NOT NULL,
  body text NOT NULL,
  PRIMARY KEY (id, version)
)
""",
    """
CREATE TABLE keys (
  id text COLLATE "C" PRIMARY KEY,
  sha256 text NOT NULL UNIQUE,
  body text NOT NULL
)
""",
    """
CREATE TABLE carried (
  node bigint PRIMARY KEY,
  next_seq bigint NOT NULL,
  at bigint NOT NULL,
  chain bytea NOT NULL,
  book bytea NOT NULL
)
""",
    "CREATE TABLE rules (version bigint NOT NULL, ledger uuid NOT NULL DEFAULT gen_random_uuid())",
    "INSERT INTO rules (version) VALUES (0)",
)

_POSTGRES_BALANCES = """
CREATE VIEW balances AS
SELECT a.policy_id, a.metric, a.entity, a.window_start, a.window_end,
  (a.posted + coalesce(s.posted, 0))::bigint AS posted,
  coalesce(s.held, 0)::bigint AS held,
  (a.shadow_posted + coalesce(s.shadow_posted, 0))::bigint AS shadow_posted,
  coalesce(s.shadow_held, 0)::bigint AS shadow_held,
  coalesce(s.free, 0)::bigint AS sliced
FROM accounts a
LEFT JOIN LATERAL (
  SELECT sum(posted) AS posted, sum(held) AS held, sum(shadow_posted) AS shadow_posted,
    sum(shadow_held) AS shadow_held, sum(granted - posted - held) AS free
  FROM slices
  WHERE (policy_id, metric, entity, window_start) = (a.policy_id, a.metric, a.entity, a.window_start)
) s ON true
"""

# Everything one commit changes, in one round trip. The shared row of an account is locked, in the order of
# the keys, only where ``_delta`` says so; the limit is checked before anything is written. A row with
# ``short`` says why nothing was: an account without room (``n`` counts from 1), or an Idempotency-Key that
# another call has (``n`` counts down from -1). Its statements are planned once, for rows found by key: plans
# that suit empty tables would read whole ones later.
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
  _i_expires bigint[]
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
    INSERT INTO rollups AS r (hour, principal, agent, model, provider, node, requests, denied, estimated,
      unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost,
      metered_bytes, metered_input_tokens)
    SELECT c.hour, c.principal, c.agent, c.model, c.provider, _node,
      _figures[c.n * 12 - 11], _figures[c.n * 12 - 10], _figures[c.n * 12 - 9], _figures[c.n * 12 - 8],
      _figures[c.n * 12 - 7], _figures[c.n * 12 - 6], _figures[c.n * 12 - 5], _figures[c.n * 12 - 4],
      _figures[c.n * 12 - 3], _figures[c.n * 12 - 2], _figures[c.n * 12 - 1], _figures[c.n * 12]
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
      metered_input_tokens = r.metered_input_tokens + excluded.metered_input_tokens;
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

# How accounts stand: the shared row, what of it this gateway holds, and what the others hold unused.
_VIEW = """
CREATE FUNCTION palyra_view(_node bigint, _policy text[], _metric text[], _entity text[], _start bigint[])
RETURNS TABLE (n bigint, posted bigint, shadow_posted bigint, claimed bigint, free bigint)
LANGUAGE sql STABLE AS $$
  SELECT c.n, a.posted, a.shadow_posted, a.claimed,
    coalesce((
      SELECT sum(greatest(s.granted - s.posted - s.held, 0)) FROM slices s
      WHERE s.node <> _node AND (s.policy_id, s.metric, s.entity, s.window_start)
        = (a.policy_id, a.metric, a.entity, a.window_start)
    ), 0)::bigint
  FROM unnest(_policy, _metric, _entity, _start) WITH ORDINALITY
    AS c (policy_id, metric, entity, window_start, n)
  JOIN accounts a USING (policy_id, metric, entity, window_start)
$$
"""

# Ask the other gateways to give back what they hold unused of these accounts, and to take none for a while.
_RECALL = """
CREATE FUNCTION palyra_recall(
  _policy text[], _metric text[], _entity text[], _start bigint[], _seconds double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM accounts a
  JOIN unnest(_policy, _metric, _entity, _start) AS c (policy_id, metric, entity, window_start)
    USING (policy_id, metric, entity, window_start)
  ORDER BY a.policy_id, a.metric, a.entity, a.window_start
  FOR UPDATE OF a;
  UPDATE accounts a SET tight_until = clock_timestamp() + make_interval(secs => _seconds)
  FROM unnest(_policy, _metric, _entity, _start) AS c (policy_id, metric, entity, window_start)
  WHERE (a.policy_id, a.metric, a.entity, a.window_start)
    = (c.policy_id, c.metric, c.entity, c.window_start);
  PERFORM pg_notify('palyra', 'recall');
END
$$
"""

# One month of the three large tables: made ahead of time, dropped whole by retention.
_PARTITION = """
CREATE FUNCTION palyra_partition(_month text, _from bigint, _until bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  _name text;
BEGIN
  PERFORM pg_advisory_xact_lock(7207190013);
  FOREACH _name IN ARRAY ARRAY['journal', 'documents', 'decisions'] LOOP
    IF to_regclass(format('%I', _name || '_' || _month)) IS NULL THEN
      EXECUTE format(
        'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)',
        _name || '_' || _month, _name, _from, _until
      );
    END IF;
  END LOOP;
END
$$
"""

_DROP_MONTH = """
CREATE FUNCTION palyra_drop_month(_month text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  _name text;
BEGIN
  FOREACH _name IN ARRAY ARRAY['journal', 'documents', 'decisions'] LOOP
    EXECUTE format('DROP TABLE IF EXISTS %I', _name || '_' || _month);
  END LOOP;
END
$$
"""
