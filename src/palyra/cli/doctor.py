"""``palyra doctor``: what would go wrong, or go unenforced without a word."""

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from palyra.cli.client import DEFAULT_URL, Client, KeyOption, UrlOption, connect
from palyra.cli.findings import Finding, Patient, Probe, Status, examine
from palyra.cli.output import CommandError, ExitCode, JsonOption, emit, table
from palyra.cli.running import with_running_rules
from palyra.cli.serve import ConfigOption
from palyra.config.load import load_settings
from palyra.config.settings import ProviderSettings, Settings, SharedDatabase
from palyra.core.errors import PalyraError
from palyra.core.instant import Instant
from palyra.pricing.book import PriceBook
from palyra.pricing.catalog import GenaiPrices
from palyra.registry.registry import Registry
from palyra.store.lock import DatabaseLocked, OwnerLock
from palyra.store.migrate import HEAD
from palyra.store.postgres.revision import server_revision
from palyra.upstream.guard import check_provider_url
from palyra.upstream.provider import HttpUpstream, ProviderEndpoint
from palyra.upstream.request_head import ProviderKind

PROBE_S = 5.0
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}
_REFUSED = (401, 403)


class Prober:
    """Asks providers. Tests put one of their own into the command's context."""

    def ask(self, provider: ProviderSettings) -> Finding:
        """Whether the provider can be reached and accepts the credential."""
        return probe_provider(provider)


def doctor(
    context: typer.Context,
    config: ConfigOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask neither the providers nor the daemon.")
    ] = False,
    url: UrlOption = DEFAULT_URL,
    key: KeyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Check configuration, prices, budgets, providers and database; exit 7 if something fails.

    With a key that may read them, budgets and keys of the running daemon are examined, too.
    """
    settings = load_settings(config, os.environ, Path.cwd())
    client = connect(context, url, key) if key and not offline else None
    settings, running = _with_daemon(settings, client)
    catalog = GenaiPrices()
    patient = Patient(
        settings,
        Registry(
            [provider.provider() for provider in settings.providers],
            settings.models,
            catalog,
            settings.governance.default_model,
        ),
        PriceBook(settings.prices, catalog),
        Instant(time.time_ns()),
    )
    database = settings.server.database
    findings = examine(
        patient,
        lambda: check_database(database) if isinstance(database, Path) else check_shared_database(database),
        _probe(context, offline),
    )
    findings.append(running)
    failed = any(finding.status is Status.FAIL for finding in findings)
    document = {"ok": not failed, "findings": [finding.to_dict() for finding in findings]}
    emit(document, as_json=as_json, render=lambda console: _draw(console, findings))
    if failed:
        raise typer.Exit(ExitCode.PRECONDITION)


def probe_provider(provider: ProviderSettings) -> Finding:
    """Ask a provider for its models over the daemon's own connection code."""
    check = f"provider {provider.id}"
    try:
        count = asyncio.run(_count_models(provider))
    except PalyraError as error:
        if error.detail.get("status") in _REFUSED:
            return Finding(check, Status.FAIL, "refuses the credential", "check the credential")
        if "status" in error.detail:
            return Finding(check, Status.WARN, error.message, "declare its models under [[models]]")
        step = "check base_url, network and certificates; the daemon starts without it"
        return Finding(check, Status.FAIL, f"cannot be reached: {error.message}", step)
    except (OSError, ssl.SSLError, ValueError) as error:
        return Finding(check, Status.FAIL, str(error), "check ca_file and credential")
    return Finding(check, Status.OK, f"{provider.base_url} answers with {count} models")


def check_shared_database(database: SharedDatabase) -> Finding:
    """Whether a gateway could join this PostgreSQL database, without joining or changing it."""
    check = "database"
    try:
        revision = asyncio.run(server_revision(database.url))
    except PalyraError as error:
        return Finding(check, Status.FAIL, f"{database}: {error.message}", "check server.database")
    if revision is None:
        return Finding(check, Status.OK, f"{database} is empty; the first start makes its schema")
    if revision != HEAD:
        told = f"{database} is at revision {revision}, this version needs {HEAD}"
        return Finding(check, Status.FAIL, told, "stop all gateways and run: palyra db upgrade")
    return Finding(check, Status.OK, f"{database} is there, at revision {revision}")


def check_database(path: Path) -> Finding:
    """Whether the daemon could open its database, without making or opening the file."""
    check = "database"
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if path.is_dir() or not folder.is_dir():
        return Finding(check, Status.FAIL, f"{path} cannot be a file", "change server.database")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            check, Status.FAIL, f"{folder} is not writable", "change its rights or server.database"
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return Finding(check, Status.FAIL, f"{path} is not writable", "change its rights or server.database")
    if path.with_name(f"{path.name}.lock").exists():
        try:
            OwnerLock(path).release()
        except DatabaseLocked as error:
            return Finding(check, Status.WARN, error.message, "nothing, if that is your running daemon")
        except OSError as error:
            step = "change the rights of the .lock file"
            return Finding(check, Status.FAIL, f"{path}.lock: {error.strerror}", step)
    state = "is there and free" if path.exists() else "will be made at the first start"
    return Finding(check, Status.OK, f"{path} {state}")


def _with_daemon(settings: Settings, client: Client | None) -> tuple[Settings, Finding]:
    check, unseen = "daemon", "budgets and keys made at run time were not examined"
    if client is None:
        return settings, Finding(check, Status.OK, unseen, "give a key with --key or PALYRA_KEY to see them")
    try:
        found = with_running_rules(settings, client)
    except CommandError as error:
        return settings, Finding(check, Status.WARN, f"{unseen}: {error}", error.hint or "")
    made = len(found.budgets) - len(settings.budgets)
    return found, Finding(
        check, Status.OK, f"{client.url} has {made} more budgets and {len(found.keys)} keys"
    )


def _probe(context: typer.Context, offline: bool) -> Probe | None:
    return None if offline else (context.find_object(Prober) or Prober()).ask


async def _count_models(provider: ProviderSettings) -> int:
    endpoint = ProviderEndpoint(
        id=provider.id,
        kind=ProviderKind(provider.kind.value),
        url=check_provider_url(provider.base_url),
        credential=provider.credential,
        ca_file=provider.ca_file,
    )
    upstream = HttpUpstream({provider.id: endpoint})
    try:
        return len(await upstream.discover(provider.id, PROBE_S))
    finally:
        await upstream.close()


def _draw(console: Console, findings: list[Finding]) -> None:
    drawn = table("", "check", "finding", "next step")
    for column in drawn.columns[2:]:
        column.overflow = "fold"
    for finding in findings:
        status = Text(finding.status.value, style=_STYLES[finding.status])
        drawn.add_row(status, Text(finding.check), Text(finding.message), Text(finding.next_step))
    console.print(drawn)
    counts = [sum(finding.status is status for finding in findings) for status in Status]
    console.print(f"\n{counts[0]} ok, {counts[1]} to look at, {counts[2]} failing")
