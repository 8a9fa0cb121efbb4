"""What Palyra signs is accepted by who has the secret, now, and by nobody else."""

import base64
from collections.abc import Mapping

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from palyra.webhooks import (
    ID,
    SECRET_BYTES_LEAST,
    SIGNATURE,
    TIMESTAMP,
    Flaw,
    WebhookRefused,
    secret_bytes,
    sign,
    verify,
)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "another secret of enough bytes"
NOW = 1_795_435_200
BODY = b'{"type":"alert.raised","data":{"title":"\xe2\x98\x83"}}'


def signed(*secrets: str, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return sign([secret_bytes(each) for each in secrets or (SECRET,)], "ntc_1", at, body)


def flaw(headers: Mapping[str, str], body: bytes = BODY, secret: str = SECRET, now: float = NOW) -> Flaw:
    with pytest.raises(WebhookRefused) as caught:
        verify(secret, headers, body, now)
    return caught.value.flaw


def test_the_id_of_a_good_webhook_is_returned() -> None:
    assert verify(SECRET, signed(), BODY, NOW) == "ntc_1"


def test_a_secret_that_is_plain_text_works_too() -> None:
    assert verify(OTHER, signed(OTHER), BODY, NOW) == "ntc_1"


def test_the_signature_is_the_one_of_the_published_scheme() -> None:
    """The example of the specification's own test data: id.timestamp.body under a base64 key."""
    headers = sign(
        [secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_verifier_that_others_wrote_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))
    webhooks = OpenAI(api_key="none").webhooks
    webhooks.verify_signature(BODY, signed(), secret=SECRET)
    with pytest.raises(InvalidWebhookSignatureError):
        webhooks.verify_signature(BODY + b" ", signed(), secret=SECRET)


def test_names_of_headers_may_be_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}
    assert verify(SECRET, headers, BODY, NOW) == "ntc_1"


def test_while_a_secret_is_replaced_both_are_good_at_either_end() -> None:
    both = signed(SECRET, OTHER)
    assert verify(SECRET, both, BODY, NOW) == verify(OTHER, both, BODY, NOW) == "ntc_1"
    assert verify([OTHER, SECRET], signed(SECRET), BODY, NOW) == "ntc_1"


def test_a_wrong_secret_is_refused() -> None:
    assert flaw(signed(OTHER)) is Flaw.BAD_SIGNATURE


@pytest.mark.parametrize("name", [ID, TIMESTAMP])
def test_id_and_timestamp_are_signed(name: str) -> None:
    headers = signed()
    headers[name] = headers[name][:-1] + "9"
    assert flaw(headers) is Flaw.BAD_SIGNATURE


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"\n", BODY.replace(b"raised", b"raisee")])
def test_the_body_is_signed(body: bytes) -> None:
    assert flaw(signed(), body) is Flaw.BAD_SIGNATURE


def test_every_changed_character_of_a_signature_is_seen() -> None:
    good = signed()
    text = good[SIGNATURE]
    for place in range(len("v1,"), len(text) - 1):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        assert flaw({**good, SIGNATURE: changed}) is Flaw.BAD_SIGNATURE


@pytest.mark.parametrize(
    "signature", ["v1", "v1,", "v2,x", "v1a,x", "x", "v1,\u2603", "v1,\udcff", ", v1, ,"]
)
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    assert flaw({**signed(), SIGNATURE: signature}) is Flaw.BAD_SIGNATURE


def test_a_signature_of_another_version_is_passed_over() -> None:
    headers = signed()
    headers[SIGNATURE] = f"v1a,xxxx v2,yyyy {headers[SIGNATURE]}"
    assert verify(SECRET, headers, BODY, NOW) == "ntc_1"


def test_a_request_is_good_for_five_minutes_before_and_after() -> None:
    headers = signed()
    for now in (NOW - 300, NOW + 300):
        assert verify(SECRET, headers, BODY, now) == "ntc_1"
    assert flaw(headers, now=NOW + 300.5) is Flaw.TOO_OLD
    assert flaw(headers, now=NOW - 300.5) is Flaw.TOO_NEW


def test_the_window_is_what_the_receiver_says() -> None:
    assert verify(SECRET, signed(), BODY, NOW + 3_600, tolerance_s=3_600) == "ntc_1"
    with pytest.raises(WebhookRefused, match="more than 10 s ago"):
        verify(SECRET, signed(), BODY, NOW + 11, tolerance_s=10)


def test_who_has_not_the_secret_learns_nothing_about_the_time() -> None:
    assert flaw(signed(OTHER), now=NOW + 3_600) is Flaw.BAD_SIGNATURE


@pytest.mark.parametrize("name", [ID, TIMESTAMP, SIGNATURE])
def test_a_missing_or_empty_header_is_refused(name: str) -> None:
    headers = signed()
    assert flaw({**headers, name: ""}) is Flaw.MISSING_HEADER
    del headers[name]
    assert flaw(headers) is Flaw.MISSING_HEADER


@pytest.mark.parametrize("timestamp", ["now", "-1", "1.5", "1e9", "\u0661", "9" * 13, "9" * 10_000])
def test_a_timestamp_that_is_none_is_refused(timestamp: str) -> None:
    assert flaw({**signed(), TIMESTAMP: timestamp}) is Flaw.BAD_TIMESTAMP


def test_an_id_that_no_header_can_carry_is_refused_like_any_other() -> None:
    assert flaw({**signed(), ID: "\udcff"}) is Flaw.BAD_SIGNATURE


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_" + "QUJD" * 5, "x" * 15, "\u2603" * 5])
def test_a_secret_that_is_too_short_is_no_secret(secret: str) -> None:
    with pytest.raises(ValueError, match=f"at least {SECRET_BYTES_LEAST}"):
        secret_bytes(secret)
    with pytest.raises(ValueError, match="at least"):
        verify(secret, signed(), BODY, NOW)


def test_a_secret_that_is_no_base64_is_told_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="no base64") as caught:
        secret_bytes("whsec_not base64!")
    assert "not base64!" not in str(caught.value)


def test_a_secret_of_sixteen_bytes_is_enough() -> None:
    assert secret_bytes("x" * 16) == b"x" * 16
    assert secret_bytes("whsec_" + base64.b64encode(b"y" * 16).decode()) == b"y" * 16
