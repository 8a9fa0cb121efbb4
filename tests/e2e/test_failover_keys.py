"""One Idempotency-Key, one effect (K1), also where another provider took the call up."""

from collections.abc import Iterator
from typing import cast

import pytest

from harness.daemon import DaemonProcess, budget, config, model
from harness.raw import Reply
from harness.script import Answer, failing, fixed
from harness.stub import Stub
from harness.talk import Document, ask, balance, chat, only_account, request_id
from harness.tenant import SharedDaemons

REPLAYED = "x-palyra-idempotent-replay"
USED = 20 * 1_000 + 40 * 2_000


@pytest.fixture(scope="module")
def spare() -> Iterator[Stub]:
    with Stub(Answer(usage=fixed(20, 40))) as running:
        yield running


@pytest.fixture(scope="module")
def door(module_daemons: SharedDaemons, module_stub: Stub, spare: Stub) -> DaemonProcess:
    at = {"kind": "openai_compatible", "credential": "env:STUB_CREDENTIAL", "discover": False}
    return module_daemons(
        config(
            module_stub.url,
            providers=[
                {"id": "first", "base_url": f"{module_stub.url}/v1", **at},
                {"id": "spare", "base_url": f"{spare.url}/v1", **at},
            ],
            models=[model("stub-model", "first"), model("stub-model", "spare")],
            budgets=[budget("all", "1.00")],
            routing={"retries": 0, "breaker_failures": 1_000},
        )
    )


def told(door: DaemonProcess, reply: Reply) -> Document:
    """The second decision of a call that was taken up elsewhere."""
    return door.api.settled(f"{request_id(reply)}.2")


@pytest.mark.parametrize("answer", [failing(503), Answer(cut_before_head=True)], ids=["unbilled", "in doubt"])
def test_a_repeat_of_a_call_that_was_taken_up_elsewhere_gets_its_answer(
    door: DaemonProcess, shared_stub: Stub, spare: Stub, answer: Answer
) -> None:
    shared_stub.script = answer
    spare.calls.clear()
    key = door.create_key(f"p{id(answer)}")
    headers = {"idempotency-key": "once"}

    served, repeated = ask(door, key, chat(), headers=headers), ask(door, key, chat(), headers=headers)

    assert (served.status, repeated.status) == (200, 200)
    assert (served.header("x-palyra-route"), served.header(REPLAYED)) == ("failover", None)
    assert repeated.header(REPLAYED) == "true"
    assert served.body == repeated.body
    assert request_id(served) == request_id(repeated)
    assert len(spare.generations) == 1
    second = told(door, served)
    assert (second["provider"], second["continues"]) == ("spare", request_id(served))
    assert cast("Document", second["settlement"])["cost_nano_usd"] == USED


def test_what_was_tried_first_holds_nothing_in_the_end(door: DaemonProcess, shared_stub: Stub) -> None:
    shared_stub.script = failing(500)
    before = balance(only_account(door.api, "all"))[0]
    key = door.create_key("frugal")

    served = ask(door, key, chat())

    assert told(door, served)["state"] == "settled"
    assert door.api.decision(request_id(served))["state"] == "released"
    assert balance(only_account(door.api, "all")) == (before + USED, 0)
