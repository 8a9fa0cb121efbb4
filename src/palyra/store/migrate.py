"""Bring a database to the newest schema. Alembic loads only where there is something to do."""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from palyra.store import sql

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0010"
"""The newest revision; a test holds it against Alembic's own word."""


def migrate(path: Path) -> None:
    """Run every revision that the database lacks, in one transaction; make it if it is not there."""
    if _revision(path) != HEAD:
        _upgrade_file(path)


def upgrade(connection: "Connection") -> None:
    """Run every Alembic revision that the database of an open transaction lacks."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(path: Path) -> str | None:
    """The revision a database is at, None for one that is new or has no schema."""
    if not path.exists():
        return None
    connection = sqlite3.connect(path)
    try:
        (tables,) = connection.execute(sql.HAS_REVISION).fetchone()
        row = connection.execute(sql.REVISION).fetchone() if tables else None
    finally:
        connection.close()
    return None if row is None else row[0]


def _upgrade_file(path: Path) -> None:
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            upgrade(connection)
    finally:
        engine.dispose()


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # The module would commit before each CREATE: a start that is killed would leave half a schema.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin(connection: "Connection") -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
