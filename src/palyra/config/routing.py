"""``[routing]`` and ``[discovery]``: what Palyra may choose, how it bears failures, how it finds models."""

from enum import StrEnum

from palyra.config.reader import Section
from palyra.config.settings import DiscoverySettings, RoutingSettings
from palyra.core.instant import NANOSECONDS
from palyra.lifecycle.providers import Resilience
from palyra.routing.backoff import RETRIES_MAX, Retries
from palyra.routing.breaker import BreakerSettings
from palyra.routing.rules import RoutingRules, Smart

_DAY_S = 86_400
_HOUR_S = 3_600.0
_FAILURES_MAX = 1_000


class Candidates(StrEnum):
    """Which models routing may choose: those of the configuration, or all that there are."""

    CONFIGURED = "configured"
    ALL = "all"


def read_routing(section: Section) -> RoutingSettings:
    """``[routing]``."""
    rules, retries, breaker = RoutingRules(), Retries(), BreakerSettings()
    candidates = section.choice("candidates", Candidates, Candidates.CONFIGURED)
    open_ns = _nanoseconds(section, "breaker_open_s", breaker.open_ns)
    open_max_ns = _nanoseconds(section, "breaker_open_max_s", max(breaker.open_max_ns, open_ns))
    if open_max_ns < open_ns:
        section.wrong("breaker_open_max_s", "is less than breaker_open_s; write at least as much")
    settings = RoutingSettings(
        RoutingRules(
            smart=section.choice("smart", Smart, rules.smart),
            discovered_too=candidates is Candidates.ALL,
            failover=section.flag("failover", default=rules.failover),
            sticky_ns=section.integer("sticky_s", rules.sticky_ns // NANOSECONDS, least=0, most=_DAY_S)
            * NANOSECONDS,
        ),
        Resilience(
            Retries(
                section.integer("retries", retries.retries, least=0, most=RETRIES_MAX),
                _nanoseconds(section, "retry_base_s", retries.base_ns),
                _nanoseconds(section, "retry_cap_s", retries.cap_ns),
                _nanoseconds(section, "retry_after_max_s", retries.retry_after_max_ns),
            ),
            BreakerSettings(
                section.integer("breaker_failures", breaker.failures, least=1, most=_FAILURES_MAX),
                open_ns,
                max(open_ns, open_max_ns),
            ),
            section.optional_seconds("capacity_wait_s", most=_HOUR_S) or Resilience().capacity_wait_s,
        ),
    )
    section.finish()
    return settings


def read_discovery(section: Section) -> DiscoverySettings:
    """``[discovery]``."""
    default = DiscoverySettings()
    settings = DiscoverySettings(
        ttl_s=section.optional_seconds("ttl_s", most=_DAY_S) or default.ttl_s,
        timeout_s=section.optional_seconds("timeout_s", most=_HOUR_S) or default.timeout_s,
        health_ttl_s=section.optional_seconds("health_ttl_s", most=_DAY_S) or default.health_ttl_s,
    )
    section.finish()
    return settings


def _nanoseconds(section: Section, name: str, default: int) -> int:
    seconds = section.optional_seconds(name, most=_HOUR_S)
    return default if seconds is None else round(seconds * NANOSECONDS)
