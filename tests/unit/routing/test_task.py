"""What each task class means for its route (DESIGN section 5)."""

import pytest

from palyra.routing.capacity import Priority
from palyra.routing.task import TRAITS, Preference, TaskClass


def test_every_class_has_its_traits() -> None:
    assert set(TRAITS) == set(TaskClass)
    assert [each.value for each in TaskClass] == [
        "primary_interactive",
        "background_automation",
        "auxiliary_summary",
        "auxiliary_recall",
        "auxiliary_classification",
        "auxiliary_extraction",
        "auxiliary_vision",
    ]


def test_a_person_s_call_comes_first_and_may_get_a_dearer_model() -> None:
    assert TRAITS[TaskClass.PRIMARY_INTERACTIVE] == (Priority.FOREGROUND, Preference.COMPLEXITY, True)


@pytest.mark.parametrize("task", [each for each in TaskClass if each is not TaskClass.PRIMARY_INTERACTIVE])
def test_all_others_give_way_and_never_escalate(task: TaskClass) -> None:
    assert (TRAITS[task].priority, TRAITS[task].may_escalate) == (Priority.BACKGROUND, False)


@pytest.mark.parametrize(
    ("task", "preference"),
    [
        ("background_automation", Preference.LOW_COST),
        ("auxiliary_summary", Preference.LOW_COST),
        ("auxiliary_recall", Preference.LOW_COST),
        ("auxiliary_extraction", Preference.LOW_COST),
        ("auxiliary_classification", Preference.LOW_LATENCY),
        ("auxiliary_vision", Preference.COMPLEXITY),
    ],
)
def test_each_has_its_preference(task: str, preference: Preference) -> None:
    assert TRAITS[TaskClass(task)].preference is preference


def test_traits_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRAITS[TaskClass.AUXILIARY_RECALL] = TRAITS[TaskClass.PRIMARY_INTERACTIVE]  # type: ignore[index]
