"""Alembic revisions, one history for every database."""
