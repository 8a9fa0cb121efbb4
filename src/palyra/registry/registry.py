"""The registry: an immutable snapshot that turns a requested name into one model of one provider."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

from palyra.core.errors import ModelNotFound
from palyra.core.instant import Instant
from palyra.core.limits import LABEL_CHARS_MAX
from palyra.registry.describe import describe
from palyra.registry.models import (
    ENDPOINT_PATHS,
    Catalog,
    Kind,
    Listed,
    Model,
    ModelEntry,
    ModelRole,
    Provider,
)

AUTO = "auto"
"""The alias of ``governance.default_model``."""

_FOUND_MAX = 4_096
"""Names that only the catalog knows come from callers, so the memory of them is bounded (V2)."""


@final
class Registry:
    """Providers in the operator's order and their models. Build a new one to change it."""

    __slots__ = (
        "_aliases",
        "_candidates",
        "_catalog",
        "_default",
        "_discovered",
        "_found",
        "_learned",
        "_names",
        "_own",
        "_providers",
        "_served",
    )

    def __init__(
        self,
        providers: Sequence[Provider],
        models: Sequence[ModelEntry],
        catalog: Catalog,
        default_model: str | None,
        discovered: Mapping[str, Sequence[ModelEntry]] | None = None,
    ) -> None:
        """``models`` are the operator's; ``discovered`` maps provider ids to what they list.

        Raises ValueError for a model of a provider that is not there.
        """
        self._providers = {provider.id: provider for provider in providers}
        self._catalog = catalog
        self._default = default_model
        self._discovered = {name: tuple(entries) for name, entries in (discovered or {}).items()}
        self._learned: dict[str, Instant] = {}
        for model in models:
            if model.provider not in self._providers:
                raise ValueError(f"model {model.id!r}: no provider {model.provider!r}")
        self._own = tuple(models)
        self._served = {(model.provider, model.id): model for model in self._all_served()}
        self._names: dict[str, Model] = {}
        self._aliases: dict[str, Model] = {}
        for model in sorted(
            self._served.values(), key=lambda each: not self._providers[each.provider].enabled
        ):
            self._names.setdefault(model.id, model)
            for alias in model.aliases:
                self._aliases.setdefault(alias, model)
        self._found: dict[str, Model] = {}
        self._candidates: dict[tuple[str, bool], tuple[Model, ...]] = {}

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

    def speaks(self, provider_id: str, endpoint: str) -> bool:
        """Whether a configured provider serves this wire format. Raises KeyError for any other provider."""
        return endpoint in self._providers[provider_id].endpoints

    def resolve(self, name: str, endpoint: str) -> Model:
        """The model that ``name`` asks for on a wire format (``chat_completions``, ``messages``, …).

        Raises ModelNotFound that names close matches, or the endpoint to use instead.
        """
        model = self.find(name)
        provider = self._providers[model.provider]
        if not provider.enabled:
            message = f"provider {provider.id!r} of model {name!r} is disabled in the configuration"
            raise ModelNotFound(message, param="model")
        if not model.enabled:
            raise ModelNotFound(f"model {name!r} is disabled in the configuration", param="model")
        if endpoint not in provider.endpoints:
            raise ModelNotFound(_wrong_endpoint(name, provider, endpoint), param="model")
        return model

    def find(self, name: str) -> Model:
        """The model of a name or alias on any endpoint, also if it is disabled. Raises ModelNotFound.

        What the operator named wins, then ``auto``, ``provider/id``, discovered ids and the price list.
        """
        model = self._look_up(name)
        if model is None:
            raise ModelNotFound(self._unknown(name), param="model")
        return model

    def models(self) -> list[Model]:
        """Every enabled model. Two providers may have the same id: see ``name_of``."""
        return [model for model in self._served.values() if model.enabled]

    def all_models(self) -> list[Model]:
        """As ``models``, with those that are switched off by themselves or with their provider."""
        return list(self._served.values())

    def name_of(self, model: Model) -> str:
        """The name that asks for exactly this model: its id, or ``provider/id`` where the id is another's."""
        return model.id if self._names.get(model.id) is model else f"{model.provider}/{model.id}"

    def candidates(self, endpoint: str, *, discovered: bool) -> Sequence[Model]:
        """Enabled chat models that can be called on ``endpoint``, the operator's first and in his order.

        Then comes the default model, and if ``discovered`` those that only their providers list. Ids are as
        configured or listed: those of two providers may be equal.
        """
        known = self._candidates.get((endpoint, discovered))
        if known is None:
            chosen = {
                (model.provider, model.id): model
                for model in self._chosen(discovered)
                if model.role is ModelRole.CHAT and self._serves(model, endpoint)
            }
            known = tuple(chosen.values())
            if endpoint in ENDPOINT_PATHS:
                self._candidates[endpoint, discovered] = known
        return known

    def elsewhere(self, model: Model, endpoint: str) -> Sequence[Model]:
        """The model of the same id at each other provider that can be called on ``endpoint``.

        Not by the upstream name: local servers call different models ``default``.
        """
        same = (
            self._served.get((provider_id, model.id))
            for provider_id in self._providers
            if provider_id != model.provider
        )
        return [each for each in same if each is not None and self._serves(each, endpoint)]

    def fallbacks(self, model: Model, endpoint: str) -> Sequence[Model]:
        """The fallbacks of a model that there are now and that can be called on ``endpoint``, in order."""
        chosen: dict[tuple[str, str], Model] = {}
        for name in model.fallbacks:
            found = self._look_up(name)
            if found is not None and self._serves(found, endpoint):
                chosen.setdefault((found.provider, found.id), found)
        chosen.pop((model.provider, model.id), None)
        return tuple(chosen.values())

    def lists(self, provider_id: str) -> Sequence[ModelEntry]:
        """What a provider listed last; empty if it never did."""
        return self._discovered.get(provider_id, ())

    def discovered_at(self, provider_id: str) -> Instant | None:
        """When a provider last listed its models, None if it never did or nobody said when."""
        return self._learned.get(provider_id)

    def with_discovered(
        self, provider_id: str, models: Iterable[Listed], at: Instant | None = None
    ) -> "Registry":
        """A snapshot in which ``provider_id`` listed exactly these models at ``at``.

        It is this same one if these are the models it lists already: then only the time is taken down, and
        what was prepared under this snapshot stays good. Raises KeyError for an unknown provider.
        """
        provider = self._providers[provider_id]
        found = tuple(
            ModelEntry(
                id=listed.id,
                provider=provider.id,
                upstream_name=listed.id,
                context_window=listed.context_window,
                output_limit=listed.output_limit,
            )
            for listed in models
        )
        registry = self
        if self._discovered.get(provider_id) != found:
            discovered = self._discovered | {provider_id: found}
            registry = Registry(self.providers, self._own, self._catalog, self._default, discovered)
            registry._learned = self._learned.copy()
        if at is not None:
            registry._learned[provider_id] = at
        return registry

    def _all_served(self) -> Iterator[Model]:
        """The operator's models, then the discovered ones."""
        listed = {
            provider_id: {entry.id: entry for entry in self._discovered.get(provider_id, ())}
            for provider_id in self._providers
        }
        for entry in self._own:
            provider = self._providers[entry.provider]
            same = listed[provider.id].get(entry.upstream_name)
            yield describe(entry, "config", same, provider, self._catalog)
        own = {(entry.provider, entry.id) for entry in self._own}
        for provider_id, entries in listed.items():
            for entry in entries.values():
                if (provider_id, entry.id) not in own:
                    yield describe(entry, "discovered", None, self._providers[provider_id], self._catalog)

    def _chosen(self, discovered: bool) -> Iterator[Model]:
        served = self._served.values()
        yield from (model for model in served if model.origin == "config")
        default = self._look_up(AUTO) if self._has_default else None
        if default is not None:
            yield default
        if discovered:
            yield from (model for model in served if model.origin == "discovered")

    def _serves(self, model: Model, endpoint: str) -> bool:
        return model.enabled and self.speaks(model.provider, endpoint)

    @property
    def _has_default(self) -> bool:
        return self._default is not None and self._default != AUTO

    def _look_up(self, name: str) -> Model | None:
        known = self._names.get(name)
        if known is not None and known.origin == "config":
            return known
        alias = self._aliases.get(name)
        if alias is not None:
            return alias
        if name == AUTO:
            return self._look_up(self._default) if self._default and self._has_default else None
        return self._prefixed(name) or known or self._found.get(name) or self._from_catalog(name)

    def _prefixed(self, name: str) -> Model | None:
        provider_id, slash, rest = name.partition("/")
        if not slash or provider_id not in self._providers:
            return None
        served = self._served.get((provider_id, rest))
        return served or self._found.get(name) or self._known_to_catalog(provider_id, rest, name)

    def _from_catalog(self, name: str) -> Model | None:
        for provider in sorted(self._providers.values(), key=lambda each: not each.enabled):
            model = self._known_to_catalog(provider.id, name, name)
            if model is not None:
                return model
        return None

    def _known_to_catalog(self, provider_id: str, model: str, name: str) -> Model | None:
        provider = self._providers[provider_id]
        if provider.kind is Kind.OPENAI_COMPATIBLE or len(model) > LABEL_CHARS_MAX:
            return None
        if not self._catalog.knows(provider.kind, model):
            return None
        while len(self._found) >= _FOUND_MAX:
            del self._found[next(iter(self._found))]
        entry = ModelEntry(model, provider_id, model)
        self._found[name] = describe(entry, "price_book", None, provider, self._catalog)
        return self._found[name]

    def _unknown(self, name: str) -> str:
        if name == AUTO and not self._has_default:
            return "'auto' stands for governance.default_model, which is not set; name a model"
        if name == AUTO and self._default is not None:
            return self._unknown(self._default)
        if len(name) > LABEL_CHARS_MAX:
            return f"no model has a name of {len(name)} characters"
        near = difflib.get_close_matches(name, self._suggestions(), n=3)
        if near:
            return f"no model {name!r}; close matches: {', '.join(near)}"
        return f"no model {name!r}; GET /v1/models lists those that there are"

    def _suggestions(self) -> list[str]:
        known = {**self._aliases, **self._names}
        names = dict.fromkeys(name for name, model in known.items() if model.enabled)
        kinds = dict.fromkeys(provider.kind for provider in self._providers.values() if provider.enabled)
        for kind in kinds:
            if kind is not Kind.OPENAI_COMPATIBLE:
                names |= dict.fromkeys(self._catalog.models(kind))
        return list(names)


def _wrong_endpoint(name: str, provider: Provider, endpoint: str) -> str:
    paths = [path for known, path in ENDPOINT_PATHS.items() if known in provider.endpoints]
    asked = ENDPOINT_PATHS.get(endpoint, endpoint)
    return (
        f"model {name!r} is served by provider {provider.id!r}, which does not speak {asked}; "
        f"use {' or '.join(paths)}"
    )
