"""What would be silently unenforced: every check of ``palyra doctor``, on what it is given."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from palyra.budgets.policy import Known, Policy, unmatchable
from palyra.budgets.terms import EACH, Metric, Mode, ScopeKind, UnknownPrice
from palyra.config.sections import is_loopback
from palyra.config.settings import ProviderSettings, Settings
from palyra.core.errors import FieldError, ModelNotFound
from palyra.core.instant import Instant, isoformat
from palyra.pricing.book import PriceBook
from palyra.registry.models import ENDPOINT_PATHS, Kind, Model, ModelEntry, ModelRole
from palyra.registry.registry import AUTO, Registry
from palyra.routing.rules import Smart
from palyra.upstream.guard import check_provider_url

_SQLITE_FIXED = (3, 51, 3)
"""The first SQLite without the WAL-reset bug, which needs several processes on one file."""


class Status(StrEnum):
    """How bad a finding is; a ``fail`` makes the command exit with 7."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``next_step`` says what to do; empty where nothing is to be done."""

    check: str
    status: Status
    message: str
    next_step: str = ""

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON."""
        return {
            "check": self.check,
            "status": self.status.value,
            "message": self.message,
            "next_step": self.next_step or None,
        }


Probe = Callable[[ProviderSettings], Finding]
"""Asks a provider whether it can be reached and accepts the credential."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined, and when."""

    settings: Settings
    registry: Registry
    prices: PriceBook
    now: Instant


def examine(patient: Patient, database: Callable[[], Finding], probe: Probe | None) -> list[Finding]:
    """Every finding, in the order in which a start would meet the cause. ``probe`` None: stay offline."""
    has_file = isinstance(patient.settings.server.database, Path)
    return [
        *_server(patient.settings),
        database(),
        *([sqlite_version(sqlite3.sqlite_version_info, sqlite3.sqlite_version)] if has_file else []),
        *_providers(patient.settings, probe),
        *_models(patient),
        *_routing(patient),
        *_prices(patient),
        *_budgets(patient),
        *_access(patient.settings),
    ]


def sqlite_version(version: Sequence[int], text: str) -> Finding:
    """Whether the SQLite of this Python has the WAL-reset bug; one owner per file keeps clear of it."""
    if tuple(version) >= _SQLITE_FIXED:
        return Finding("sqlite", Status.OK, f"SQLite {text}")
    note = "only the daemon may open the database: this version can lose WAL frames between two processes"
    return Finding("sqlite", Status.OK, f"SQLite {text}; {note}")


def _server(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    yield Finding("config", Status.OK, f"read from {settings.source}")
    where = f"listens on {server.host}"
    if is_loopback(server.host):
        yield Finding("binding", Status.OK, f"{where}: only this machine can reach it")
    elif not server.allowed_hosts:
        step = 'write the names that clients use: server.allowed_hosts = ["llm.example.com"]'
        yield Finding("binding", Status.WARN, f"{where}, but answers to no host name of its own", step)
    else:
        how = "with TLS" if server.tls_cert else "behind a proxy that must end TLS"
        yield Finding("binding", Status.OK, f"{where}, {how}, as {', '.join(server.allowed_hosts)}")


def _providers(settings: Settings, probe: Probe | None) -> Iterator[Finding]:
    if not any(provider.enabled for provider in settings.providers):
        step = "write enabled = true for one of them"
        yield Finding("providers", Status.FAIL, "all are disabled: every call is refused", step)
    for provider in settings.providers:
        check = f"provider {provider.id}"
        if not provider.enabled:
            yield Finding(check, Status.OK, "is disabled: it serves nothing, and is not asked")
            continue
        try:
            check_provider_url(provider.base_url)
        except FieldError as error:
            yield Finding(check, Status.FAIL, f"{error.field} {error.message}", "change base_url")
            continue
        unset = provider.credential is None and provider.credential_ref is not None
        yield from _credential(provider, check, settings)
        if probe is not None and not unset:
            yield probe(provider)


def _credential(provider: ProviderSettings, check: str, settings: Settings) -> Iterator[Finding]:
    if provider.credential is not None:
        return
    if provider.credential_ref is not None:
        # One provider of several without its key is a choice; none with one is a daemon that serves nothing.
        usable = any(
            each.credential is not None or each.credential_ref is None
            for each in settings.providers
            if each.enabled
        )
        step = f"set the variable {provider.credential_ref.removeprefix('env:')} where the daemon starts"
        message = f"no credential: {provider.credential_ref} is not set"
        yield Finding(check, Status.WARN if usable else Status.FAIL, message, step)
    elif provider.kind is not Kind.OPENAI_COMPATIBLE:
        step = f'write credential = "env:{provider.kind.value.upper()}_API_KEY"'
        yield Finding(check, Status.WARN, "no credential is configured", step)


def _models(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    for model in settings.models:
        if model.enabled:
            yield from _priced(patient, f"model {model.id}", model)
    default = settings.governance.default_model
    if default is None:
        yield Finding("default model", Status.OK, f"none: the model name {AUTO!r} is refused")
        return
    try:
        model = patient.registry.find(default)
    except ModelNotFound as error:
        step = "correct governance.default_model, or declare it under [[models]]"
        yield Finding("default model", Status.WARN, f"{error.message} (without discovery)", step)
        return
    if not model.enabled:
        yield Finding("default model", Status.FAIL, f"{default!r} is disabled", "enable it or name another")
    elif model.origin != "config":
        yield from _priced(patient, "default model", model)


def _routing(patient: Patient) -> Iterator[Finding]:
    """Whether routing and failover have anything to go to."""
    settings, registry = patient.settings, patient.registry
    rules = settings.routing.rules
    declared = [model for model in registry.all_models() if model.enabled and model.fallbacks]
    for model in declared:
        yield from _fallbacks(model, patient)
    if declared and not rules.failover:
        message = f"routing.failover is off: the fallbacks of {declared[0].id} are not used when calls fail"
        yield Finding("failover", Status.WARN, message, "write failover = true, or remove the fallbacks")
    if rules.smart is Smart.NEVER:
        yield Finding("routing", Status.OK, "smart = never: every call runs on the model that it names")
        return
    if rules.discovered_too:
        yield Finding("routing", Status.OK, f"smart = {rules.smart.value}: chooses among all models")
        return
    chosen = [each for each in registry.all_models() if _may_be_chosen(each)]
    unpriced = [each.id for each in chosen if not _has_price(patient, each)]
    message = f"smart = {rules.smart.value}: chooses among {len(chosen)} models that are configured"
    if len(chosen) <= 1 and rules.smart is Smart.ALWAYS:
        step = 'declare the models to choose from under [[models]], or write candidates = "all"'
        yield Finding("routing", Status.WARN, f"{message}: there is nothing to choose", step)
    elif unpriced and len(chosen) > 1:
        told = f"{message}, but takes those without a price for the dearest: {', '.join(unpriced)}"
        yield Finding("routing", Status.WARN, told, "write a price for each")
    else:
        yield Finding("routing", Status.OK, message)


def _fallbacks(model: Model, patient: Patient) -> Iterator[Finding]:
    """Names in ``fallbacks`` that would be skipped when they are needed."""
    registry, check = patient.registry, f"model {model.id}"
    formats = _formats(patient, model)
    for name in model.fallbacks:
        try:
            found = registry.find(name)
        except ModelNotFound as error:
            step = "correct fallbacks; nothing, if its provider lists it"
            yield Finding(check, Status.WARN, f"its fallback is not known: {error.message}", step)
            continue
        if not found.enabled:
            message = f"its fallback {name!r} is disabled and never used"
            yield Finding(check, Status.WARN, message, "enable it, or remove it from fallbacks")
        elif not formats & _formats(patient, found):
            message = f"its fallback {name!r} speaks no wire format of {model.provider!r} and is never used"
            yield Finding(check, Status.WARN, message, "name a model of the same wire format")


def _formats(patient: Patient, model: Model) -> set[str]:
    return {each for each in ENDPOINT_PATHS if patient.registry.speaks(model.provider, each)}


def _may_be_chosen(model: Model) -> bool:
    return model.enabled and model.role is ModelRole.CHAT and model.origin == "config"


def _has_price(patient: Patient, model: Model) -> bool:
    kind = patient.registry.kind_of(model.provider).value
    names = dict.fromkeys((model.upstream_name, model.id))
    return any(patient.prices.find(model.provider, kind, name, patient.now) is not None for name in names)


def _priced(patient: Patient, check: str, model: Model | ModelEntry) -> Iterator[Finding]:
    kind = patient.registry.kind_of(model.provider).value
    for name in dict.fromkeys((model.upstream_name, model.id)):
        sheet = patient.prices.find(model.provider, kind, name, patient.now)
        if sheet is not None and sheet.standard.input is not None:
            yield Finding(
                check, Status.OK, f"{model.provider}/{model.upstream_name} is priced: {sheet.source}"
            )
            return
    message = f"{model.provider}/{model.upstream_name} has no price"
    step = 'write price = { input = "…", output = "…" } for it, or a [[prices]] entry'
    money = [policy for policy in patient.settings.budgets if _counts_money(policy)]
    rules = {_unknown_price(policy, patient.settings) for policy in money}
    if UnknownPrice.ALLOW in rules:
        yield Finding(check, Status.FAIL, f"{message}: money budgets do not count its calls", step)
    elif UnknownPrice.DENY in rules:
        yield Finding(check, Status.WARN, f"{message}: money budgets refuse its calls", step)
    elif rules:
        yield Finding(check, Status.WARN, f"{message}: money budgets count the dearest known price", step)
    else:
        yield Finding(check, Status.WARN, f"{message}: reports cannot say what it costs", step)


def _prices(patient: Patient) -> Iterator[Finding]:
    kinds = {provider.id: provider.kind.value for provider in patient.settings.providers}
    statuses = {"error": Status.FAIL, "warning": Status.WARN}
    for problem in patient.prices.check(kinds, patient.now):
        status = statuses.get(problem.severity)
        if status is not None:
            step = "see: palyra prices check"
            yield Finding(f"price {problem.entry_id}", status, problem.message, step)


def _budgets(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    if not settings.budgets:
        step = "write a [[budgets]] entry, or: palyra budgets set"
        yield Finding("budgets", Status.WARN, "no budget is configured: nothing is limited", step)
    mode = settings.governance.mode
    if mode is not Mode.ENFORCED and any(policy.hard_limit is not None for policy in settings.budgets):
        message = f"mode {mode.value!r} lets every call run: hard limits only tell"
        yield Finding("mode", Status.WARN, message, 'write governance.mode = "enforced"')
    for policy in settings.budgets:
        troubles = list(_budget_troubles(policy, patient))
        yield from troubles
        if not troubles:
            yield Finding(_name(policy), Status.OK, f"{policy.scope}, {policy.metric}, per {policy.interval}")


def _budget_troubles(policy: Policy, patient: Patient) -> Iterator[Finding]:
    settings, name = patient.settings, _name(policy)
    if not policy.enabled:
        yield Finding(name, Status.WARN, "is disabled", "write enabled = true, or remove it")
    if policy.valid_until is not None and policy.valid_until <= patient.now:
        yield Finding(name, Status.WARN, f"ended at {isoformat(policy.valid_until)}", "renew or remove it")
    if policy.valid_from is not None and policy.valid_from > patient.now:
        step = "nothing, if that is meant"
        yield Finding(name, Status.WARN, f"begins only at {isoformat(policy.valid_from)}", step)
    reason = unmatchable(policy, _known(settings)) or _unknown_model(policy, patient.registry)
    if reason is not None:
        step = "correct the scope; nothing, if a key made at run time or a client brings it"
        yield Finding(name, Status.WARN, f"may match nothing: {reason}", step)
    if _counts_money(policy) and _unknown_price(policy, settings) is UnknownPrice.ALLOW:
        message = "does not count calls of models without a price (unknown_price = allow)"
        yield Finding(name, Status.WARN, message, 'write unknown_price = "deny" or "ceiling"')
    capped = policy.mode is not None and policy.mode is not Mode.ENFORCED
    if capped and policy.hard_limit is not None and settings.governance.mode is Mode.ENFORCED:
        message = f"mode {policy.mode!s}: its hard limit only tells"
        yield Finding(name, Status.WARN, message, 'write mode = "enforced", or leave it out')


def _access(settings: Settings) -> Iterator[Finding]:
    auth = settings.auth
    if auth.owner_key_ref is not None and auth.owner_key is None:
        variable = auth.owner_key_ref.removeprefix("env:")
        step = f"set the variable {variable}, or remove auth.owner_key"
        yield Finding("owner key", Status.WARN, f"{auth.owner_key_ref} is not set", step)
    elif auth.owner_key is None:
        yield Finding("owner key", Status.OK, "the first start prints one, once")
    else:
        yield Finding("owner key", Status.OK, f"comes from {auth.owner_key_ref}")


def _known(settings: Settings) -> Known:
    """What file-defined keys bring. Without any, all keys are made at run time and nothing is known."""
    if not settings.keys:
        return Known(providers=frozenset(provider.id for provider in settings.providers))
    return Known(
        providers=frozenset(provider.id for provider in settings.providers),
        principals=frozenset(key.principal for key in settings.keys),
        tags=frozenset(tag for key in settings.keys for tag in key.tags),
    )


def _unknown_model(policy: Policy, registry: Registry) -> str | None:
    if policy.scope.kind is not ScopeKind.MODEL or policy.scope.id == EACH:
        return None
    try:
        model = registry.find(policy.scope.id)
    except ModelNotFound as error:
        return error.message
    if model.id != policy.scope.id:
        return f"calls of {policy.scope.id!r} are counted on the model {model.id!r}"
    return None if model.enabled else f"the model {model.id!r} is disabled"


def _counts_money(policy: Policy) -> bool:
    return policy.metric is Metric.COST_USD


def _unknown_price(policy: Policy, settings: Settings) -> UnknownPrice:
    return policy.unknown_price or settings.governance.unknown_price


def _name(policy: Policy) -> str:
    return f"budget {policy.id}"
