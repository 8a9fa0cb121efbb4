"""Task classes: what a call is for, and what that means for its route (DESIGN section 5)."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from palyra.routing.capacity import Priority


class TaskClass(StrEnum):
    """What a call is for. Without a word from the caller a person waits for it."""

    PRIMARY_INTERACTIVE = "primary_interactive"
    BACKGROUND_AUTOMATION = "background_automation"
    AUXILIARY_SUMMARY = "auxiliary_summary"
    AUXILIARY_RECALL = "auxiliary_recall"
    AUXILIARY_CLASSIFICATION = "auxiliary_classification"
    AUXILIARY_EXTRACTION = "auxiliary_extraction"
    AUXILIARY_VISION = "auxiliary_vision"


class Preference(StrEnum):
    """What a class goes by where several models would do."""

    COMPLEXITY = "complexity"
    LOW_COST = "low_cost"
    LOW_LATENCY = "low_latency"


class Traits(NamedTuple):
    """``may_escalate``: a dearer model than the default may be chosen."""

    priority: Priority
    preference: Preference
    may_escalate: bool


_BACKGROUND = Traits(Priority.BACKGROUND, Preference.LOW_COST, may_escalate=False)

TRAITS: Mapping[TaskClass, Traits] = MappingProxyType(
    {
        TaskClass.PRIMARY_INTERACTIVE: Traits(Priority.FOREGROUND, Preference.COMPLEXITY, may_escalate=True),
        TaskClass.BACKGROUND_AUTOMATION: _BACKGROUND,
        TaskClass.AUXILIARY_SUMMARY: _BACKGROUND,
        TaskClass.AUXILIARY_RECALL: _BACKGROUND,
        TaskClass.AUXILIARY_CLASSIFICATION: _BACKGROUND._replace(preference=Preference.LOW_LATENCY),
        TaskClass.AUXILIARY_EXTRACTION: _BACKGROUND,
        TaskClass.AUXILIARY_VISION: _BACKGROUND._replace(preference=Preference.COMPLEXITY),
    }
)
