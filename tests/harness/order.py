"""In which order files of tests run: workers that begin with the longest end together."""

from collections import Counter
from collections.abc import Sequence

import pytest

LONG = (
    "e2e/test_fleet.py",
    "e2e/test_demo.py",
    "e2e/test_demo_scale.py",
    "security/test_openapi.py",
    "browser/test_usage.py",
    "conformance/test_copy.py",
    "properties/test_shared_machine.py",
    "e2e/test_demo_month.py",
    "properties/test_ledger_machine.py",
    "faults/test_people.py",
    "browser/test_decisions.py",
    "browser/test_approvals.py",
    "browser/test_alerts.py",
    "browser/test_budgets.py",
    "browser/test_frame.py",
    "properties/test_forecast_error.py",
    "browser/test_hostile_texts.py",
    "browser/test_models.py",
    "browser/test_sign_in.py",
    "browser/test_keys.py",
    "browser/test_audit.py",
    "browser/test_export.py",
    "browser/test_insights.py",
    "cli/test_demo_month.py",
    "faults/test_crash.py",
    "e2e/test_models_cli.py",
    "e2e/test_benchmarks_run.py",
    "e2e/test_alerts.py",
    "e2e/test_first_start.py",
    "e2e/test_approvals.py",
    "e2e/test_configuration_is_journaled.py",
    "e2e/test_approvals_fleet.py",
    "security/test_hostile_names.py",
    "faults/test_disk.py",
    "faults/test_outbox.py",
    "e2e/test_weaknesses.py",
    "e2e/test_concurrency.py",
    "faults/test_shared_ledger.py",
    "e2e/test_notifications.py",
    "e2e/test_shared_routing.py",
    "e2e/test_degrade.py",
    "e2e/test_disconnects.py",
    "clients/test_openai_sdk.py",
    "e2e/test_simulate.py",
    "e2e/test_idempotency.py",
    "security/test_secrets_stay_inside.py",
    "conformance/test_usage_reads.py",
    "conformance/test_ledger.py",
    "conformance/test_approval_races.py",
    "conformance/test_records.py",
    "properties/test_override_machine.py",
    "properties/test_budgets_rules.py",
    "properties/test_pricing_bounds.py",
    "config/test_load_notify.py",
    "cli/test_command_line.py",
)
"""Files that take more than ten seconds, the longest first. What is missing here only costs time."""


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The same tests: first those of long files, then of files with many tests. A file stays together."""
    counts = Counter(item.path for item in items)
    ranks = {name: rank for rank, name in enumerate(LONG)}

    def place(item: pytest.Item) -> tuple[int, int, str]:
        path = item.path.as_posix()
        rank = ranks.get("/".join(item.path.parts[-2:]), len(LONG))
        return rank, -counts[item.path], path

    return sorted(items, key=place)
