"""A request body: decoded once into its top-level fields, written again with the few that Palyra changes.

Values stay the caller's bytes. Writing every body anew makes it canonical: a field that was given twice,
to show one reader a small ``max_tokens`` and another a large one, reaches the provider once.
"""

from collections.abc import Mapping, Sequence

import msgspec

from palyra.core.errors import InvalidRequest

Fields = Mapping[str, msgspec.Raw]

FORBIDDEN = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "aws_access_key_id",
        "aws_region_name",
        "aws_secret_access_key",
        "aws_session_token",
        "azure_ad_token",
        "base_url",
        "client_id",
        "client_secret",
        "credential",
        "custom_llm_provider",
        "custom_host",
        "endpoint",
        "extra_body",
        "extra_headers",
        "extra_query",
        "headers",
        "host",
        "input_cost_per_token",
        "mock_response",
        "organization",
        "output_cost_per_token",
        "price",
        "provider_url",
        "proxy",
        "url",
        "user_config",
        "vertex_credentials",
    }
)
"""Fields that would name a host, a credential or a price: the operator's business, never a caller's."""

_KNOWN = (
    "model",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "service_tier",
    "store",
    "system",
    "stop_sequences",
    "top_k",
    "thinking",
)
"""Fields of a chat that are not ``FORBIDDEN``. A body with any other is read the way of short ones."""
_KnownChat = msgspec.defstruct(
    "_KnownChat",
    [
        ("messages", list[dict[str, msgspec.Raw]]),
        *((name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in _KNOWN),
    ],
    forbid_unknown_fields=True,
)
_QUOTE = ord('"')
_NOTHING = msgspec.Raw(b"null")
_known_chat = msgspec.json.Decoder(_KnownChat)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_encoder = msgspec.json.Encoder()


def read_fields(raw: bytes) -> Fields:
    """The top-level fields. Raises InvalidRequest for what is no JSON object, or names a forbidden field."""
    if not raw:
        raise InvalidRequest("the body is empty; send a JSON object")
    try:
        if not raw.isascii():
            # Values are not decoded here, and no reader after this one may stumble over their bytes.
            raw.decode()
        fields = _fields.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not a JSON object: {error}") from None
    if not FORBIDDEN.isdisjoint(fields):
        name = sorted(FORBIDDEN & fields.keys())[0]
        raise InvalidRequest(
            f"{name!r} is not accepted in a body: hosts, credentials and prices are set by the operator",
            param=name,
        )
    return fields


class ChatFields(dict[str, msgspec.Raw]):
    """The fields of a chat, whose messages were read in the same pass: ``null`` stands for them."""

    __slots__ = ("messages",)
    messages: Sequence[Fields]


def read_chat(raw: bytes) -> ChatFields | None:
    """The fields and messages of a long chat in one pass; None for one that ``read_fields`` must judge."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:
            return None
    try:
        known = _known_chat.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    given = ((name, getattr(known, name)) for name in _KNOWN)
    fields = ChatFields(messages=_NOTHING)
    fields.update((name, value) for name, value in given if value is not msgspec.UNSET)
    fields.messages = getattr(known, "messages")  # noqa: B009 (its type was made by defstruct)
    return fields


def read_messages(fields: Fields) -> Sequence[Fields]:
    """The messages of a chat, each as its fields. Raises InvalidRequest naming what is wrong in them."""
    try:
        messages = fields.messages if isinstance(fields, ChatFields) else _messages.decode(fields["messages"])
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = "messages" + path.rstrip("`")
        raise InvalidRequest(f"{param}: {message}", param=param) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    if not messages:
        raise InvalidRequest("messages: Expected `array` of length >= 1", param="messages")
    for place, message in enumerate(messages):
        role = message.get("role")
        if role is None or memoryview(role)[0] != _QUOTE:
            what = "Object missing required field `role`" if role is None else "Expected `str`"
            param = f"messages[{place}]" if role is None else f"messages[{place}].role"
            raise InvalidRequest(f"{param}: {what}", param=param)
    return messages


class JsonBody:
    """The body of one call, ready to be written for the provider.

    ``fields`` are its top-level fields, or the valid body itself, which is taken apart when it is written.
    ``cap_fields`` are the names that an output cap may have, the first for a body that gives none;
    ``usage_option``: the format has ``stream_options.include_usage``.
    """

    __slots__ = ("_cap_fields", "_fields", "_usage_option")

    def __init__(self, fields: Fields | bytes, cap_fields: tuple[str, ...], usage_option: bool) -> None:
        self._fields = fields
        self._cap_fields = cap_fields
        self._usage_option = usage_option

    def rewritten(self, model: str, output_cap: int | None, include_usage: bool) -> bytes:
        """See ``CallBody.rewritten``."""
        fields = self._fields
        if isinstance(fields, bytes):
            fields = self._fields = _fields.decode(fields)
        changed: dict[str, object] = dict(fields)
        if isinstance(fields, ChatFields):
            changed["messages"] = fields.messages
        changed["model"] = model
        if output_cap is not None:
            given = [name for name in self._cap_fields if name in changed]
            for name in given:
                del changed[name]
            changed[given[0] if given else self._cap_fields[0]] = output_cap
        if include_usage and self._usage_option:
            changed["stream_options"] = _with_usage(fields.get("stream_options"))
        return _encoder.encode(changed)


def _with_usage(given: msgspec.Raw | None) -> dict[str, object]:
    options: dict[str, object] = dict(_fields.decode(given)) if given is not None and given != b"null" else {}
    options["include_usage"] = True
    return options
