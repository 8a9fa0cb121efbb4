"""``GET /v1/models``: what the key may use, as the asking SDK expects it. Open when budgets are used up."""

from typing import Any

from palyra.core.errors import ModelNotFound
from palyra.identity.keys import Subject
from palyra.lifecycle.authenticate import authenticate
from palyra.lifecycle.engine import Engine
from palyra.registry.models import Model

_CREATED = 1_700_000_000
_CREATED_AT = "2023-11-14T22:13:20Z"
"""Providers date their models; Palyra does not know, and the SDKs want a number."""


def list_models(engine: Engine, credential: str | None, *, anthropic: bool) -> dict[str, Any]:
    """The models that the key may use. Raises InvalidApiKey."""
    subject = authenticate(credential, engine.rules.snapshot)
    models = _usable(engine, subject)
    if not anthropic:
        return {"object": "list", "data": [_openai(model) for model in models]}
    entries = [_anthropic(model) for model in models]
    return {
        "data": entries,
        "has_more": False,
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
    }


def show_model(engine: Engine, credential: str | None, name: str, *, anthropic: bool) -> dict[str, Any]:
    """One model. Raises InvalidApiKey or ModelNotFound."""
    subject = authenticate(credential, engine.rules.snapshot)
    for model in _usable(engine, subject):
        if model.id == name:
            return _anthropic(model) if anthropic else _openai(model)
    raise ModelNotFound(f"no model {name!r} that this key may use; GET /v1/models lists them", param="model")


def _usable(engine: Engine, subject: Subject) -> list[Model]:
    return [model for model in engine.registry.models() if subject.may_use(model.id)]


def _openai(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": _CREATED, "owned_by": model.provider}


def _anthropic(model: Model) -> dict[str, Any]:
    return {"type": "model", "id": model.id, "display_name": model.id, "created_at": _CREATED_AT}
