"""[routing] and [discovery]: every key, its range, and what the environment says over the file."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from palyra.config.load import load_settings
from palyra.config.problems import ConfigError
from palyra.config.settings import DiscoverySettings, RoutingSettings, Settings
from palyra.core.instant import NANOSECONDS
from palyra.lifecycle.providers import Resilience
from palyra.routing.backoff import RETRIES_MAX, Retries
from palyra.routing.breaker import BreakerSettings
from palyra.routing.rules import RoutingRules, Smart

PROVIDER = '[[providers]]\nid = "one"\nkind = "openai"\ncredential = "env:KEY"\n'


def load(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Settings:
    path = folder / "palyra.toml"
    path.write_text(PROVIDER + text)
    return load_settings(path, {"KEY": "sk-1", **(env or {})}, folder)


def routing(folder: Path, line: str) -> RoutingSettings:
    return load(folder, f"[routing]\n{line}\n").routing


def problems(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, env)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_without_a_word_the_defaults_of_the_design_hold(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings.routing == RoutingSettings(RoutingRules(), Resilience())
    assert settings.routing == load(tmp_path, "[routing]\n").routing
    assert settings.routing.rules.smart is Smart.AUTO
    assert settings.routing.resilience.retries.retries == 2
    assert settings.discovery == DiscoverySettings(300.0, 5.0, 60.0)


def test_every_key_is_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        [routing]
        smart = "always"
        candidates = "all"
        failover = false
        sticky_s = 60
        retries = 1
        retry_base_s = 0.25
        retry_cap_s = 4
        retry_after_max_s = 30
        breaker_failures = 7
        breaker_open_s = 1.5
        breaker_open_max_s = 90
        capacity_wait_s = 2.5
        [discovery]
        ttl_s = 600
        timeout_s = 2.5
        health_ttl_s = 10
        """,
    )
    ns = NANOSECONDS
    assert settings.routing == RoutingSettings(
        RoutingRules(Smart.ALWAYS, discovered_too=True, failover=False, sticky_ns=60 * ns),
        Resilience(
            Retries(1, ns // 4, 4 * ns, 30 * ns),
            BreakerSettings(7, 3 * ns // 2, 90 * ns),
            2.5,
        ),
    )
    assert settings.discovery == DiscoverySettings(600.0, 2.5, 10.0)


@pytest.mark.parametrize("smart", list(Smart))
def test_each_word_of_smart(tmp_path: Path, smart: Smart) -> None:
    assert routing(tmp_path, f'smart = "{smart.value}"').rules.smart is smart


@pytest.mark.parametrize(("word", "discovered"), [("configured", False), ("all", True)])
def test_each_word_of_candidates(tmp_path: Path, word: str, discovered: bool) -> None:
    assert routing(tmp_path, f'candidates = "{word}"').rules.discovered_too is discovered


def test_nothing_is_sticky_and_nothing_is_tried_again_where_the_operator_says_so(tmp_path: Path) -> None:
    settings = routing(tmp_path, "sticky_s = 0\nretries = 0")
    assert (settings.rules.sticky_ns, settings.resilience.retries.retries) == (0, 0)


def test_a_breaker_is_never_open_for_longer_at_first_than_at_last(tmp_path: Path) -> None:
    breaker = routing(tmp_path, "breaker_open_s = 3000").resilience.breaker
    assert breaker.open_ns == breaker.open_max_ns == 3_000 * NANOSECONDS


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("routing.sticky_s", 0, 86_400),
        ("routing.retries", 0, RETRIES_MAX),
        ("routing.breaker_failures", 1, 1_000),
    ],
)
def test_whole_numbers_have_a_range(tmp_path: Path, name: str, least: int, most: int) -> None:
    section, _, key = name.partition(".")
    for value in (least, most):
        load(tmp_path, f"[{section}]\n{key} = {value}\n")
    for value in (least - 1, most + 1, '"2"', "true", "1.5"):
        ((field, message),) = problems(tmp_path, f"[{section}]\n{key} = {value}\n")
        assert field == name
        assert f"from {least} to {most}" in message or "must be a whole number" in message


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("routing.retry_base_s", 3_600),
        ("routing.retry_cap_s", 3_600),
        ("routing.retry_after_max_s", 3_600),
        ("routing.breaker_open_s", 3_600),
        ("routing.breaker_open_max_s", 3_600),
        ("routing.capacity_wait_s", 3_600),
        ("discovery.ttl_s", 86_400),
        ("discovery.timeout_s", 3_600),
        ("discovery.health_ttl_s", 86_400),
    ],
)
def test_seconds_have_a_range(tmp_path: Path, name: str, most: int) -> None:
    section, _, key = name.partition(".")
    other = "breaker_open_s = 0.001\n" if key == "breaker_open_max_s" else ""
    for value in (0.001, most):
        load(tmp_path, f"[{section}]\n{other}{key} = {value}\n")
    for value in (0, -1, most + 1, "nan", "inf", '"2"', "true"):
        ((field, message),) = problems(tmp_path, f"[{section}]\n{other}{key} = {value}\n")
        assert field == name
        assert "seconds" in message


def test_the_longest_time_of_a_breaker_is_no_shorter_than_its_first(tmp_path: Path) -> None:
    ((field, message),) = problems(tmp_path, "[routing]\nbreaker_open_s = 60\nbreaker_open_max_s = 30\n")
    assert (field, "less than breaker_open_s" in message) == ("routing.breaker_open_max_s", True)


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ('[routing]\nsmart = "allways"', "routing.smart", "did you mean 'always'"),
        ("[routing]\nsmart = true", "routing.smart", "never, auto, always"),
        ('[routing]\ncandidates = "none"', "routing.candidates", "configured, all"),
        ('[routing]\nfailover = "yes"', "routing.failover", "true or false"),
        ("[routing]\nretrys = 2", "routing.retrys", "did you mean 'retries'"),
        ("[discovery]\nttl = 2", "discovery.ttl", "did you mean 'ttl_s'"),
        ("routing = 3", "routing", "must be a table"),
        ("[[discovery]]\nttl_s = 3", "discovery", "must be a table"),
    ],
)
def test_a_mistake_names_its_field(tmp_path: Path, line: str, field: str, message: str) -> None:
    path = tmp_path / "palyra.toml"
    path.write_text(f"{line}\n{PROVIDER}" if "[" not in line else f"{PROVIDER}{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {"KEY": "sk-1"}, tmp_path)
    ((found, told),) = [(each.field, each.message) for each in caught.value.problems]
    assert found == field
    assert message in told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "[routing]\nretries = -1\nsticky_s = -1\nnope = 1\n[discovery]\ntimeout_s = 0\n"
    assert {field for field, _ in problems(tmp_path, text)} == {
        "routing.retries",
        "routing.sticky_s",
        "routing.nope",
        "discovery.timeout_s",
    }


def test_the_environment_is_laid_over_the_file(tmp_path: Path) -> None:
    text = '[routing]\nsmart = "never"\nretries = 0\n[discovery]\nttl_s = 5\n'
    env = {
        "PALYRA_ROUTING_SMART": "always",
        "PALYRA_ROUTING_CANDIDATES": "all",
        "PALYRA_ROUTING_FAILOVER": "no",
        "PALYRA_ROUTING_STICKY_S": "30",
        "PALYRA_ROUTING_RETRIES": "1",
        "PALYRA_ROUTING_RETRY_BASE_S": "0.5",
        "PALYRA_ROUTING_BREAKER_OPEN_S": "2",
        "PALYRA_ROUTING_CAPACITY_WAIT_S": "1.5",
        "PALYRA_DISCOVERY_TTL_S": "7.5",
        "PALYRA_DISCOVERY_HEALTH_TTL_S": "9",
    }
    settings = load(tmp_path, text, env)
    rules, resilience = settings.routing.rules, settings.routing.resilience
    assert rules == RoutingRules(
        Smart.ALWAYS, discovered_too=True, failover=False, sticky_ns=30 * NANOSECONDS
    )
    assert (resilience.retries.retries, resilience.retries.base_ns) == (1, NANOSECONDS // 2)
    assert (resilience.breaker.open_ns, resilience.capacity_wait_s) == (2 * NANOSECONDS, 1.5)
    assert (settings.discovery.ttl_s, settings.discovery.health_ttl_s) == (7.5, 9.0)


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("PALYRA_ROUTING_SMART", "sometimes", "routing.smart"),
        ("PALYRA_ROUTING_RETRIES", "two", "routing.retries"),
        ("PALYRA_ROUTING_FAILOVER", "maybe", "routing.failover"),
        ("PALYRA_DISCOVERY_TIMEOUT_S", "0", "discovery.timeout_s"),
        ("PALYRA_DISCOVERY_NOPE", "1", "discovery.nope"),
    ],
)
def test_a_mistake_in_the_environment_names_field_and_variable(
    tmp_path: Path, name: str, text: str, field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "", {name: text})
    (problem,) = caught.value.problems
    assert problem.field == field
    assert name in str(problem)
