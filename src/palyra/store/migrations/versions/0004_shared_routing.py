"""What routing shares among gateways: slots at providers, and which model a session runs on.

Only gateways on PostgreSQL share anything; a SQLite file has one owner, which keeps both in memory.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make two small tables, neither of which has to do with money, and the function that deals slots out."""
    if op.get_bind().dialect.name == "sqlite":
        return
    for statement in (_SLOTS, _SESSIONS, _CLAIM_SLOTS):
        op.execute(statement)


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("revision 0004 cannot be undone; restore the backup")


_SLOTS = """
CREATE TABLE slots (
  scope text COLLATE "C" NOT NULL,
  node bigint NOT NULL,
  granted integer NOT NULL,
  wanted integer NOT NULL,
  PRIMARY KEY (scope, node)
) WITH (fillfactor = 50)
"""

_SESSIONS = """
CREATE TABLE session_models (
  principal text NOT NULL,
  session text NOT NULL,
  model text NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (principal, session)
)
"""

# One gateway at a time per scope: what is dealt out never adds up to more than there is. A gateway whose
# lease ran out has nothing any more; it learns of that before it makes another call.
_CLAIM_SLOTS = """
CREATE FUNCTION palyra_claim_slots(_node bigint, _scope text, _wanted integer, _most integer)
RETURNS TABLE (granted integer, sharers integer, short boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  _taken bigint;
BEGIN
  PERFORM pg_advisory_xact_lock(720719, hashtext(_scope));
  SELECT coalesce(sum(s.granted), 0), count(*) FILTER (WHERE s.wanted > 0),
    coalesce(bool_or(s.wanted > s.granted), false)
  INTO _taken, sharers, short
  FROM slots s JOIN nodes n ON n.id = s.node
  WHERE s.scope = _scope AND s.node <> _node AND n.is_open AND n.lease_until > clock_timestamp();
  granted := greatest(0, least(_wanted, _most - _taken));
  INSERT INTO slots (scope, node, granted, wanted) VALUES (_scope, _node, granted, _wanted)
  ON CONFLICT (scope, node) DO UPDATE SET granted = excluded.granted, wanted = excluded.wanted;
  RETURN NEXT;
END
$$
"""
