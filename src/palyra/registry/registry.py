"""The registry: an immutable snapshot that turns a requested name into one model of one provider."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import final

from palyra.core.errors import ModelNotFound
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.registry.models import Catalog, Kind, Listed, Model, Provider

AUTO = "auto"
"""The alias of ``governance.default_model``."""

ENDPOINT_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "chat_completions": "/v1/chat/completions",
        "responses": "/v1/responses",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
        "messages": "/v1/messages",
        "count_tokens": "/v1/messages/count_tokens",
    }
)
_SPOKEN: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.OPENAI: frozenset({"chat_completions", "completions", "responses", "embeddings"}),
        Kind.ANTHROPIC: frozenset({"messages", "count_tokens"}),
        Kind.OPENAI_COMPATIBLE: frozenset(ENDPOINT_PATHS),
    }
)
_FOUND_MAX = 4_096
"""Names that only the catalog knows come from callers, so the memory of them is bounded (V2)."""


@final
class Registry:
    """Providers in the operator's order and their models. Build a new one to change it."""

    __slots__ = (
        "_catalog",
        "_default",
        "_discovered",
        "_found",
        "_listed",
        "_names",
        "_own",
        "_providers",
        "_served",
    )

    def __init__(
        self,
        providers: Sequence[Provider],
        models: Sequence[Model],
        catalog: Catalog,
        default_model: str | None,
        discovered: Mapping[str, Sequence[Model]] | None = None,
    ) -> None:
        """``models`` are the operator's; ``discovered`` maps provider ids to what they list.

        Raises ValueError for a model of a provider that is not there.
        """
        self._providers = {provider.id: provider for provider in providers}
        self._catalog = catalog
        self._default = default_model
        self._discovered = dict(discovered or {})
        for model in models:
            if model.provider not in self._providers:
                raise ValueError(f"model {model.id!r}: no provider {model.provider!r}")
        self._own = tuple(models)
        self._served = {(model.provider, model.id): model for model in self._all_served()}
        self._names: dict[str, Model] = {}
        for model in self._served.values():
            self._names.setdefault(model.id, model)
        self._listed = [self._under_own_name(model) for model in self._served.values() if model.enabled]
        self._found: dict[str, Model] = {}

    @property
    def providers(self) -> tuple[Provider, ...]:
        """All providers, in the operator's order."""
        return tuple(self._providers.values())

    @property
    def default_model(self) -> str | None:
        """What ``auto`` stands for."""
        return self._default

    def kind_of(self, provider_id: str) -> Kind:
        """The kind of a configured provider. Raises KeyError for any other."""
        return self._providers[provider_id].kind

    def resolve(self, name: str, endpoint: str) -> Model:
        """The model that ``name`` asks for on a wire format (``chat_completions``, ``messages``, …).

        Raises ModelNotFound that names close matches, or the endpoint to use instead.
        """
        model = self.find(name)
        if not model.enabled:
            raise ModelNotFound(f"model {name!r} is disabled in the configuration", param="model")
        kind = self._providers[model.provider].kind
        if not speaks(kind, endpoint):
            raise ModelNotFound(_wrong_endpoint(name, model, kind, endpoint), param="model")
        return model

    def find(self, name: str) -> Model:
        """The model of a name on any endpoint, also if it is disabled. Raises ModelNotFound."""
        known = self._names.get(name)
        if known is not None and known.origin == "config":
            return known
        if name == AUTO:
            return self._find_default()
        model = self._prefixed(name) or known or self._found.get(name) or self._from_catalog(name)
        if model is None:
            raise ModelNotFound(self._unknown(name), param="model")
        return model

    def models(self) -> list[Model]:
        """Every enabled model, as ``GET /v1/models`` shows it.

        One whose id another provider's model already has is listed as ``provider/id``.
        """
        return self._listed.copy()

    def with_discovered(self, provider_id: str, models: Iterable[Listed]) -> "Registry":
        """A new snapshot in which ``provider_id`` lists exactly these models.

        Raises KeyError for a provider that is not configured.
        """
        provider = self._providers[provider_id]
        found = [
            Model(
                id=listed.id,
                provider=provider.id,
                upstream_name=listed.id,
                context_window=listed.context_window,
                output_limit=listed.output_limit,
                origin="discovered",
            )
            for listed in models
        ]
        discovered = self._discovered | {provider_id: found}
        return Registry(tuple(self._providers.values()), self._own, self._catalog, self._default, discovered)

    def _all_served(self) -> Iterator[Model]:
        """The operator's models, then the discovered ones; what one source leaves open the next one fills."""
        listed = {
            provider_id: {model.id: model for model in self._discovered.get(provider_id, ())}
            for provider_id in self._providers
        }
        for model in self._own:
            yield self._completed(model, listed[model.provider].get(model.upstream_name))
        own = {(model.provider, model.id) for model in self._own}
        for provider_id, models in listed.items():
            for model in models.values():
                if (provider_id, model.id) not in own:
                    yield self._completed(model, None)

    def _under_own_name(self, model: Model) -> Model:
        if self._names[model.id] is model:
            return model
        return replace(model, id=f"{model.provider}/{model.id}")

    def _completed(self, model: Model, listed: Model | None) -> Model:
        window, limit = model.context_window, model.output_limit
        if listed is not None:
            window = listed.context_window if window is None else window
            limit = listed.output_limit if limit is None else limit
        if window is None:
            window = self._catalog.context_window(self._providers[model.provider].kind, model.upstream_name)
        return replace(model, context_window=window, output_limit=limit)

    def _find_default(self) -> Model:
        if self._default is None or self._default == AUTO:
            raise ModelNotFound(
                "'auto' stands for governance.default_model, which is not set; name a model", param="model"
            )
        return self.find(self._default)

    def _prefixed(self, name: str) -> Model | None:
        provider_id, slash, rest = name.partition("/")
        if not slash or provider_id not in self._providers:
            return None
        served = self._served.get((provider_id, rest))
        return served or self._found.get(name) or self._known_to_catalog(provider_id, rest, name)

    def _from_catalog(self, name: str) -> Model | None:
        for provider_id in self._providers:
            model = self._known_to_catalog(provider_id, name, name)
            if model is not None:
                return model
        return None

    def _known_to_catalog(self, provider_id: str, model: str, name: str) -> Model | None:
        kind = self._providers[provider_id].kind
        if kind is Kind.OPENAI_COMPATIBLE or len(model) > LABEL_CHARS_MAX:
            return None
        if not self._catalog.knows(kind, model):
            return None
        while len(self._found) >= _FOUND_MAX:
            del self._found[next(iter(self._found))]
        found = Model(model, provider_id, model, origin="price_book")
        self._found[name] = self._completed(found, None)
        return self._found[name]

    def _unknown(self, name: str) -> str:
        if len(name) > LABEL_CHARS_MAX:
            return f"no model has a name of {len(name)} characters"
        near = difflib.get_close_matches(name, self._suggestions(), n=3)
        if near:
            return f"no model {name!r}; close matches: {', '.join(near)}"
        return f"no model {name!r}; GET /v1/models lists those that there are"

    def _suggestions(self) -> list[str]:
        names = dict.fromkeys(name for name, model in self._names.items() if model.enabled)
        for kind in dict.fromkeys(provider.kind for provider in self._providers.values()):
            if kind is not Kind.OPENAI_COMPATIBLE:
                names |= dict.fromkeys(self._catalog.models(kind))
        return list(names)


def speaks(kind: Kind, endpoint: str) -> bool:
    """Whether providers of this kind serve this wire format."""
    return endpoint in _SPOKEN[kind]


def _wrong_endpoint(name: str, model: Model, kind: Kind, endpoint: str) -> str:
    paths = [path for known, path in ENDPOINT_PATHS.items() if speaks(kind, known)]
    asked = ENDPOINT_PATHS.get(endpoint, endpoint)
    return (
        f"model {name!r} is served by provider {model.provider!r}, which does not speak {asked}; "
        f"use {' or '.join(paths)}"
    )
