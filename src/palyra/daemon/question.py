"""A question about a call that is not made: what it would ask for, and who would ask."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from palyra.budgets.terms import Mode
from palyra.core.errors import FieldError, InvalidRequest, NotFound
from palyra.core.limits import LABEL_CHARS_MAX, TOKENS_MAX
from palyra.gateway.asks import parse
from palyra.gateway.hints import read_header_hints, read_hints
from palyra.identity.keys import Role, Subject
from palyra.lifecycle.call import Call
from palyra.lifecycle.engine import Engine
from palyra.lifecycle.rules import Snapshot
from palyra.lifecycle.wire import Endpoint
from palyra.registry.models import Kind
from palyra.registry.registry import AUTO

IMAGES_MAX = 100
_OUTPUT_TOKENS = 1_024
"""Of a question in a format that cannot leave the cap out."""
_PIXEL = "data:image/png;base64,iVBORw0KGgo="

Label = Annotated[str, Meta(min_length=1, max_length=LABEL_CHARS_MAX)]
_OF_A_PROMPT = ("prompt", "max_tokens", "json_mode", "vision", "tools", "stream")
_Routable = Literal["chat_completions", "completions", "responses", "messages", "embeddings"]


class Question(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is asked. ``body`` is a whole request of ``endpoint``; without it one is made of the other fields.

    ``key_id``: ask with the rights and labels of this key, instead of as a caller of ``principal``.
    """

    prompt: str | None = None
    body: dict[str, Any] | None = None
    endpoint: _Routable | None = None
    model: Label | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] | None = None
    json_mode: bool = False
    vision: Annotated[int, Meta(ge=0, le=IMAGES_MAX)] = 0
    tools: Annotated[int, Meta(ge=0, le=IMAGES_MAX)] = 0
    stream: bool = False
    key_id: Label | None = None
    principal: Label = "owner"
    agent: Label | None = None
    session: Label | None = None
    parent_session: Label | None = None
    task_class: Label | None = None
    tags: dict[str, str] = {}
    mode: Mode | None = None


def read_question(document: Mapping[str, object]) -> Question:
    """Read a document strictly. Raises FieldError naming the field."""
    try:
        question = msgspec.convert(dict(document), Question)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise FieldError(path.rstrip("`").removeprefix(".") or "body", f"{message}.") from None
    if question.body is None and question.prompt is None:
        raise FieldError("prompt", "is required; write a prompt, or a whole request as 'body'.")
    if question.body is not None:
        for name in _OF_A_PROMPT:
            if getattr(question, name) not in (None, False, 0):
                raise FieldError(name, "means nothing beside 'body', which says all of it; leave it out.")
    elif question.endpoint in ("completions", "embeddings"):
        for name in ("json_mode", "vision", "tools"):
            if getattr(question, name):
                raise FieldError(name, f"is nothing that {question.endpoint} have; leave it out.")
    return question


def subject_of(question: Question, rules: Snapshot) -> Subject:
    """Who asks. Raises NotFound for a key that is not active."""
    if question.key_id is not None:
        found = next((key for key in rules.keys.values() if key.id == question.key_id), None)
        if found is None:
            raise NotFound(f"There is no active key {question.key_id!r}.")
        return found.subject()
    tags: Mapping[str, str] = MappingProxyType({})
    return Subject("question", question.principal, None, frozenset({Role.CALLER}), (), tags)


def call_of(question: Question, engine: Engine) -> Call:
    """The call that is asked about. Raises as the data plane would for the same request."""
    endpoint = Endpoint(question.endpoint or _endpoint_for(question, engine))
    body = question.body if question.body is not None else _body(question, endpoint)
    if question.model is not None:
        body = {**body, "model": question.model}
    raw = msgspec.json.encode(body)
    parsed = parse(endpoint, raw)
    return Call(
        request_id=engine.ids.request_id(),
        endpoint=endpoint,
        credential=None,
        hints=read_hints(read_header_hints(_headers(question)), parsed.labelled),
        ask=parsed.ask,
        body=parsed.body,
        raw_body=raw,
        headers=(),
        idempotency_key=None,
    )


def _endpoint_for(question: Question, engine: Engine) -> str:
    """The chat format of the provider that has the model."""
    if question.body is not None and "model" not in question.body and question.model is None:
        raise InvalidRequest("the body names no model", param="model")
    named = question.model or (question.body or {}).get("model") or AUTO
    model = engine.registry.find(str(named))
    anthropic = engine.registry.kind_of(model.provider) is Kind.ANTHROPIC
    return "messages" if anthropic else "chat_completions"


def _headers(question: Question) -> dict[bytes, bytes]:
    tags = ",".join(f"{name}={value}" for name, value in question.tags.items())
    given = {
        b"x-palyra-agent": question.agent,
        b"x-palyra-session": question.session,
        b"x-palyra-parent-session": question.parent_session,
        b"x-palyra-task-class": question.task_class,
        b"x-palyra-tags": tags or None,
        b"x-palyra-mode": None if question.mode is None else question.mode.value,
    }
    return {name: value.encode() for name, value in given.items() if value is not None}


def _body(question: Question, endpoint: Endpoint) -> dict[str, Any]:
    body: dict[str, Any] = {"model": question.model or AUTO, "stream": question.stream}
    prompt = question.prompt or ""
    match endpoint:
        case Endpoint.completions:
            body |= {"prompt": prompt, "max_tokens": question.max_tokens}
        case Endpoint.embeddings:
            body |= {"input": prompt}
        case Endpoint.responses:
            body |= {"input": _parts(question, "input_text", "input_image"), "text": _format(question)}
            body |= {"max_output_tokens": question.max_tokens, "tools": _tools(question)}
        case Endpoint.messages:
            body |= {"messages": _parts(question, "text", "image"), "output_format": _json(question)}
            body |= {"max_tokens": question.max_tokens or _OUTPUT_TOKENS, "tools": _tools(question)}
        case _:
            body |= {"messages": _parts(question, "text", "image_url"), "response_format": _json(question)}
            body |= {"max_tokens": question.max_tokens, "tools": _tools(question)}
    return {name: value for name, value in body.items() if value is not None and value is not False}


def _parts(question: Question, text: str, image: str) -> list[dict[str, Any]]:
    if not question.vision:
        return [{"role": "user", "content": question.prompt}]
    shown = {"type": image, "image_url": _PIXEL if image == "input_image" else {"url": _PIXEL}}
    if image == "image":
        shown = {
            "type": image,
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        }
    parts = [{"type": text, "text": question.prompt}, *[shown] * question.vision]
    return [{"role": "user", "content": parts}]


def _json(question: Question) -> dict[str, Any] | None:
    return {"type": "json_object"} if question.json_mode else None


def _format(question: Question) -> dict[str, Any] | None:
    return {"format": {"type": "json_object"}} if question.json_mode else None


def _tools(question: Question) -> list[dict[str, Any]] | None:
    if not question.tools:
        return None
    return [
        {"type": "function", "function": {"name": f"tool_{number}", "parameters": {}}}
        for number in range(question.tools)
    ]
