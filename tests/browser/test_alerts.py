"""Alerts in the console: what is wrong, who has seen it, and what became of the messages about it."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from fakes.receivers import WebReceiver
from harness.daemon import DaemonProcess, budget, config, model, poll
from harness.people import asking
from harness.stub import Stub
from harness.talk import chat
from harness.tenant import SharedDaemons, Tenant
from harness.window import NARROW, WIDE, Theme, Window, window

SECRET = "whsec_bWFkZS1vZi0yNC1ieXRlcy1oZXJl"


@pytest.fixture(scope="module")
def daemon(module_daemons: SharedDaemons, module_stub: Stub) -> Iterator[DaemonProcess]:
    """Two targets: one takes every message, the other none."""
    with WebReceiver() as good, WebReceiver(status=410) as bad:
        notify = [
            {"id": name, "webhook": f"{web.url}/x", "secret": "env:STUB_CREDENTIAL", "allow_private": True}
            for name, web in (("ops", good), ("gone", bad))
        ]
        yield module_daemons(
            config(
                module_stub.url,
                budgets=[
                    budget("each-daily", "0.0006", scope="principal:*", thresholds=[{"at": 0.2}]),
                    asking("asking", 2),
                ],
                models=[model("stub-model"), model("stub-claude", "stub-anthropic")],
                alerts={"check_s": 0.2},
                notifications={"attempts": 2, "retry_base_s": 0.05},
                notify=notify,
            )
        )
