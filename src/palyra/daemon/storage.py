"""Which store the settings ask for, opened and closed."""

import asyncio
import os
import secrets
import socket
from pathlib import Path

import platformdirs

from palyra.config.settings import Settings
from palyra.daemon.system import SystemClock
from palyra.store.postgres.share import Slicing
from palyra.store.postgres.store import PostgresStore, Scale
from palyra.store.sqlite import SqliteStore

Store = SqliteStore | PostgresStore


async def open_store(settings: Settings, clock: SystemClock) -> Store:
    """A file of our own, or the database that we share. Raises PalyraError where it cannot be used."""
    database = settings.server.database
    if isinstance(database, Path):
        return SqliteStore(database, clock.now, asyncio.get_running_loop())
    return await PostgresStore.open(database.url, clock.now, scale_of(settings))


async def close_store(store: Store) -> None:
    """Write what is queued and close."""
    if isinstance(store, PostgresStore):
        await store.close()
    else:
        await asyncio.get_running_loop().run_in_executor(None, store.close)


def scale_of(all_settings: Settings) -> Scale:
    """How this process shares the ledger."""
    settings = all_settings.scale
    name = gateway_name(all_settings)
    return Scale(
        name=name,
        holder=f"{name}:{secrets.token_hex(16)}",
        lease_s=settings.lease_s,
        slicing=Slicing(settings.slices, settings.slice_s, settings.slice_share),
        months_kept=all_settings.retention.months,
        spool=settings.spool or platformdirs.user_data_path("palyra") / "spool",
    )


def gateway_name(settings: Settings) -> str:
    """What this process is called among the gateways."""
    return settings.scale.name or f"{socket.gethostname()}:{os.getpid()}"
