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
        return {"object": "list", "data": [_openai(name, model) for name, model in models.items()]}
    entries = [_anthropic(name) for name in models]
    return {
        "data": entries,
        "has_more": False,
        "first_id": entries[0]["id"] if entries else None,
        "last_id": entries[-1]["id"] if entries else None,
    }


def show_model(engine: Engine, credential: str | None, name: str, *, anthropic: bool) -> dict[str, Any]:
    """One model. Raises InvalidApiKey or ModelNotFound."""
    subject = authenticate(credential, engine.rules.snapshot)
    model = _usable(engine, subject).get(name)
    if model is None:
        raise ModelNotFound(
            f"no model {name!r} that this key may use; GET /v1/models lists them", param="model"
        )
    return _anthropic(name) if anthropic else _openai(name, model)


def _usable(engine: Engine, subject: Subject) -> dict[str, Model]:
    """By the name that asks for each."""
    named = ((engine.registry.name_of(model), model) for model in engine.registry.models())
    return {name: model for name, model in named if subject.may_use(model.id) and subject.may_use(name)}


def _openai(name: str, model: Model) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": model.provider}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}
