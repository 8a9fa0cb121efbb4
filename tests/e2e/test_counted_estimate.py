"""With the extra ``tokens`` the decision tells counted input tokens; what is held stays bounded by bytes."""

from collections.abc import Callable
from typing import cast

import httpx2

from harness.daemon import DaemonProcess, config, model
from harness.stub import Stub

PROSE = "Every entry is written twice: what one account gains, another one loses. " * 12


def estimate_of(daemon: DaemonProcess, asked: str) -> dict[str, object]:
    answer = httpx2.post(
        f"{daemon.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {daemon.create_key()}"},
        json={"model": asked, "messages": [{"role": "user", "content": PROSE}], "max_tokens": 10},
        timeout=30.0,
    )
    assert answer.status_code == 200, answer.text
    decision = daemon.api.settled(answer.headers["x-palyra-request-id"])
    return cast("dict[str, object]", decision["estimate"])


def test_openai_s_tokens_are_counted_and_other_vocabularies_are_not(
    stub: Stub, daemon_factory: Callable[..., DaemonProcess]
) -> None:
    at = {"base_url": f"{stub.url}/v1", "credential": "env:STUB_CREDENTIAL"}
    daemon = daemon_factory(
        config(
            stub.url,
            providers=[
                {"id": "openai", "kind": "openai", **at},
                {"id": "other", "kind": "openai_compatible", **at},
            ],
            models=[model("gpt-4o-mini", "openai"), model("gpt-4o", "other")],
        )
    )
    counted, guessed = estimate_of(daemon, "gpt-4o-mini"), estimate_of(daemon, "gpt-4o")
    assert counted["method"] == "tokenizer"
    # 15 tokens a sentence, and at most 8 for the template.
    assert 12 * 15 <= cast("int", counted["input_tokens_expected"]) <= 12 * 15 + 8
    assert guessed["method"] == "bytes"
    assert guessed["input_tokens_expected"] != counted["input_tokens_expected"]
    for estimate in (counted, guessed):
        assert cast("int", estimate["input_tokens_bound"]) > len(PROSE)
