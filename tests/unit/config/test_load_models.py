"""[[providers]] and [[models]]: what is left open stays open, and names do not collide."""

from pathlib import Path

import pytest

from palyra.config.load import load_settings
from palyra.config.problems import ConfigError
from palyra.config.settings import ProviderSettings, Settings
from palyra.registry.models import Capability, CostTier, Kind, ModelEntry, ModelRole

ONE = '[[providers]]\nid = "one"\nkind = "openai"\ncredential = "env:KEY"\n'
TWO = ONE.replace('"one"', '"two"')
MODEL = '[[models]]\nid = "m"\nprovider = "one"\n'
OTHER = '[[models]]\nid = "n"\nprovider = "one"\n'


def load(folder: Path, text: str) -> Settings:
    path = folder / "palyra.toml"
    path.write_text(text)
    return load_settings(path, {"KEY": "sk-1"}, folder)


def problems(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_what_a_model_does_not_say_is_left_to_other_sources(tmp_path: Path) -> None:
    assert load(tmp_path, ONE + MODEL).models == (ModelEntry("m", "one", "m"),)


def test_all_that_a_model_says_is_read(tmp_path: Path) -> None:
    text = f"""{ONE}{MODEL}
    role = "other"
    cost_tier = "low"
    capabilities = ["json"]
    aliases = ["fast", "openai/fast"]
    fallbacks = ["gpt-4.1-mini", "azure/gpt-4o"]
    """
    (model,) = load(tmp_path, text).models
    assert (model.role, model.cost_tier, model.latency_tier) == (ModelRole.OTHER, CostTier.LOW, None)
    assert model.capabilities == {Capability.JSON}
    assert model.aliases == ("fast", "openai/fast")
    assert model.fallbacks == ("gpt-4.1-mini", "azure/gpt-4o")


def test_no_capabilities_are_not_unknown_capabilities(tmp_path: Path) -> None:
    assert load(tmp_path, f"{ONE}{MODEL}capabilities = []\n").models[0].capabilities == frozenset()


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (f'{MODEL}aliases = ["auto"]', "models[0].aliases[0]", "governance.default_model"),
        (f'{MODEL}aliases = ["m"]', "models[0].aliases[0]", "id of models[0]"),
        (f'{MODEL}aliases = ["x", "n"]\n{OTHER}', "models[0].aliases[1]", "id of models[1]"),
        (f'{MODEL}aliases = ["x"]\n{OTHER}aliases = ["x"]', "models[1].aliases[0]", "alias of models[0]"),
        (f'{MODEL}aliases = ["x", "x"]', "models[0].aliases[1]", "already"),
        (f'{MODEL}aliases = [""]', "models[0].aliases[0]", "without blanks"),
        (f'{MODEL}aliases = ["{"x" * 201}"]', "models[0].aliases[0]", "at most 200"),
        (f"{MODEL}aliases = {[f'a{n}' for n in range(17)]}", "models[0].aliases", "at most 16"),
        (f'{MODEL}aliases = "x"', "models[0].aliases", "a list of strings"),
        (f'{MODEL}fallbacks = ["x", "m"]', "models[0].fallbacks[1]", "the model itself"),
        (f'{MODEL}fallbacks = ["one/m"]', "models[0].fallbacks[0]", "the model itself"),
        (f'{MODEL}aliases = ["f"]\nfallbacks = ["f"]', "models[0].fallbacks[0]", "the model itself"),
        (f'{MODEL}fallbacks = ["x", "x"]', "models[0].fallbacks[1]", "already"),
        (f'{MODEL}fallbacks = [" "]', "models[0].fallbacks[0]", "without blanks"),
        (f"{MODEL}fallbacks = {[f'a{n}' for n in range(17)]}", "models[0].fallbacks", "at most 16"),
    ],
)
def test_names_that_cannot_be_are_refused_where_they_stand(
    tmp_path: Path, text: str, field: str, message: str
) -> None:
    ((where, told),) = problems(tmp_path, ONE + text)
    assert where == field
    assert message in told


def test_a_provider_is_enabled_unbounded_and_asked_unless_it_says_otherwise(tmp_path: Path) -> None:
    (provider,) = load(tmp_path, ONE).providers
    assert (provider.enabled, provider.discover, provider.endpoints) == (True, True, ())
    assert (provider.concurrency, provider.credential_concurrency) == (None, None)
    assert "messages" not in provider.provider().endpoints
    assert provider.provider().display_name == "one"


def test_all_that_a_provider_says_is_read(tmp_path: Path) -> None:
    text = f"""{ONE}
    enabled = false
    endpoints = ["chat_completions", "chat_completions"]
    concurrency = 8
    credential_concurrency = 4
    discover = false
    display_name = "The one"
    """
    (settings,) = load(tmp_path, text).providers
    assert (settings.concurrency, settings.credential_concurrency, settings.discover) == (8, 4, False)
    provider = settings.provider()
    assert (provider.enabled, provider.endpoints, provider.display_name) == (
        False,
        {"chat_completions"},
        "The one",
    )


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ('endpoints = ["chat"]', "providers[0].endpoints[0]", "chat_completions, completions, embeddings"),
        ('endpoints = ["messages"]', "providers[0].endpoints[0]", "kind openai"),
        ("endpoints = []", "providers[0].endpoints", "enabled = false"),
        ("concurrency = 0", "providers[0].concurrency", "from 1 to 100000"),
        ("credential_concurrency = 100_001", "providers[0].credential_concurrency", "from 1 to 100000"),
        ('enabled = "no"', "providers[0].enabled", "true or false"),
        ("discover = 1", "providers[0].discover", "true or false"),
    ],
)
def test_a_provider_that_cannot_be_is_refused(tmp_path: Path, line: str, field: str, message: str) -> None:
    ((where, told),) = problems(tmp_path, f"{ONE}{line}\n")
    assert where == field
    assert message in told


def test_providers_that_share_a_credential_may_not_contradict_each_other(tmp_path: Path) -> None:
    bounded = f"{ONE}credential_concurrency = 4\n"
    assert len(load(tmp_path, f"{bounded}{TWO}").providers) == 2
    assert len(load(tmp_path, f"{bounded}{TWO}credential_concurrency = 4\n").providers) == 2
    ((where, told),) = problems(tmp_path, f"{bounded}{TWO}credential_concurrency = 5\n")
    assert where == "providers[1].credential_concurrency"
    assert told == "is 5, but 4 at providers[0] for this credential"


def test_a_credential_is_told_apart_by_its_reference_else_by_its_provider() -> None:
    assert ProviderSettings("a", Kind.OPENAI, "", credential_ref="env:KEY").credential_id == "env:KEY"
    assert ProviderSettings("a", Kind.OPENAI, "").credential_id == "provider:a"
