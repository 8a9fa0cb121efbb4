"""``[approvals]``, ``[alerts]``, ``[console]``: how people decide, what they are told, how they sign in."""

from palyra.config.reader import Section
from palyra.config.settings import AlertSettings, ConsoleSettings
from palyra.core.instant import NANOSECONDS
from palyra.lifecycle.approvals import ApprovalTerms

_EXPIRE_LEAST_S, _EXPIRE_MOST_S = 60, 31 * 86_400
_PENDING_MOST = 1_000
_WAIT_MOST_S = 3_600
_HOURS_MOST = 7 * 24
_CHECK_LEAST_S, _CHECK_MOST_S = 0.2, 3_600.0


def read_approvals(section: Section) -> ApprovalTerms:
    """``[approvals]``."""
    default = ApprovalTerms()
    terms = ApprovalTerms(
        expire_after_ns=section.integer(
            "expire_after_s",
            default.expire_after_ns // NANOSECONDS,
            least=_EXPIRE_LEAST_S,
            most=_EXPIRE_MOST_S,
        )
        * NANOSECONDS,
        pending_max=section.integer(
            "pending_per_principal", default.pending_max, least=1, most=_PENDING_MOST
        ),
        wait_max_s=section.integer("wait_max_s", default.wait_max_s, least=1, most=_WAIT_MOST_S),
    )
    section.finish()
    return terms


def read_alerts(section: Section) -> AlertSettings:
    """``[alerts]``."""
    settings = AlertSettings(
        check_s=section.optional_seconds("check_s", most=_CHECK_MOST_S) or AlertSettings().check_s
    )
    section.finish()
    if settings.check_s < _CHECK_LEAST_S:
        section.wrong("check_s", f"is {settings.check_s:g}; write at least {_CHECK_LEAST_S:g} seconds")
    return settings


def read_console(section: Section) -> ConsoleSettings:
    """``[console]``."""
    hours = section.integer("session_hours", ConsoleSettings().session_hours, least=1, most=_HOURS_MOST)
    section.finish()
    return ConsoleSettings(session_hours=hours)
