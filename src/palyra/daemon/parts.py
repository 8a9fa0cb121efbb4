"""Parts of the engine that are made of the settings, for the daemon and for commands without one."""

import secrets
from collections.abc import Callable

import uuid_utils

from palyra.budgets.policy import Known, PolicyDefaults
from palyra.config.settings import ProviderSettings, Settings
from palyra.core.errors import FieldError
from palyra.daemon.storage import Store
from palyra.lifecycle.approvals import Approvals
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.grants import Grants
from palyra.lifecycle.ports import Clock, Records
from palyra.lifecycle.providers import Providers, ProviderTerms
from palyra.lifecycle.rules import Rules
from palyra.lifecycle.sessions import Sessions
from palyra.lifecycle.sign_ins import SignIns
from palyra.lifecycle.signals import tell_of_approval
from palyra.registry.models import Catalog
from palyra.registry.registry import Registry
from palyra.upstream.deadlines import Deadlines
from palyra.upstream.guard import check_provider_url
from palyra.upstream.provider import ProviderEndpoint
from palyra.upstream.request_head import ProviderKind


def make_rules(settings: Settings, records: Records, clock: Clock, known: Callable[[], Known]) -> Rules:
    """The budgets and keys of the file, beside what ``records`` holds; nothing is loaded yet."""
    return Rules(
        records=records,
        clock=clock,
        random_bytes=secrets.token_bytes,
        new_id=lambda: f"key_{uuid_utils.uuid7().hex}",
        file_policies=settings.budgets,
        file_keys=settings.keys,
        known=known,
        defaults=PolicyDefaults(timezone=settings.governance.timezone),
    )


def make_approvals(settings: Settings, store: Store, rules: Rules, engine: Engine) -> Approvals:
    """The desk where people decide; what they grant holds for the next call of ``engine``."""

    def publish(grants: Grants) -> None:
        engine.grants = grants

    return Approvals(
        store.records,
        rules,
        engine.clock,
        new_id=lambda: f"apr_{uuid_utils.uuid7().hex}",
        publish=publish,
        terms=settings.approvals,
        shared=store.others is not None,
        tell=lambda approval: tell_of_approval(approval, engine.alarms),
    )


def make_sign_ins(settings: Settings, records: Records, rules: Rules, clock: Clock) -> SignIns:
    """The desk where people sign in to the console."""
    return SignIns(records, rules, clock, secrets.token_bytes, settings.console.session_hours)


def make_registry(settings: Settings, catalog: Catalog) -> Registry:
    """The configured providers and models; nothing is discovered yet."""
    providers = [each.provider() for each in settings.providers]
    return Registry(providers, settings.models, catalog, settings.governance.default_model)


def make_providers(settings: Settings) -> Providers:
    """Their breakers, cooldowns and slots."""
    terms = {
        each.id: ProviderTerms(each.credential_id, each.concurrency, each.credential_concurrency)
        for each in settings.providers
    }
    return Providers(terms, settings.routing.resilience)


def make_sessions(settings: Settings) -> Sessions:
    """The memory of which session runs on which model."""
    return Sessions(settings.routing.rules.sticky_ns)


def endpoint_of(provider: ProviderSettings) -> ProviderEndpoint:
    """The provider as the upstream adapter wants it. Raises FieldError for a URL that is not allowed."""
    try:
        url = check_provider_url(provider.base_url)
    except FieldError as error:
        raise error.under(f"providers[{provider.id}]") from None
    default = Deadlines()
    return ProviderEndpoint(
        id=provider.id,
        kind=ProviderKind(provider.kind.value),
        url=url,
        credential=provider.credential,
        ca_file=provider.ca_file,
        deadlines=Deadlines(
            connect=provider.connect_timeout_s or default.connect,
            first_byte=provider.first_byte_timeout_s or default.first_byte,
            idle=provider.idle_timeout_s or default.idle,
            total=provider.total_timeout_s or default.total,
        ),
    )
