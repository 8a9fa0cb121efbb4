"""[notifications] and [[notify]]: every key, what is refused, and that no secret is repeated."""

import ast
import inspect
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from palyra.alerts.alert import Kind, Severity
from palyra.alerts.notices import Target
from palyra.config.apprise_url import REFUSED, check_apprise_url
from palyra.config.load import load_settings
from palyra.config.notify import TARGETS_MAX, check_webhook_url
from palyra.config.problems import ConfigError
from palyra.config.settings import (
    AppriseUrl,
    NotificationSettings,
    NotifyTarget,
    Settings,
    Webhook,
)
from palyra.core.secret import Secret

PROVIDER = '[[providers]]\nid = "one"\nkind = "openai"\ncredential = "env:KEY"\n'
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/"
ENV = {
    "KEY": "sk-1",
    "CHAT": SLACK,
    "HOOK": "https://hooks.example.com/token-in-path?sig=abc",
    "SECRET": "a secret of enough bytes",
    "NEXT": "whsec_" + "c2VjcmV0" * 4,
    "SHORT": "fifteen bytes..",
    "EMPTY": "",
    "BAD64": "whsec_not base64 at all",
}
HOOK = 'webhook = "https://hooks.example.com/palyra"\nsecret = "env:SECRET"\n'
CHAT = 'url = "env:CHAT"\n'


def load(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Settings:
    path = folder / "palyra.toml"
    path.write_text(PROVIDER + text)
    return load_settings(path, env, folder)


def targets(folder: Path, *entries: str) -> tuple[NotifyTarget, ...]:
    text = "".join(f'[[notify]]\nid = "t{place}"\n{entry}\n' for place, entry in enumerate(entries))
    return load(folder, text).notify


def problems(folder: Path, *entries: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        targets(folder, *entries)
    for secret in ("a secret of", "fifteen", "not base64 at", "TIiajkdn", "token-in-path"):
        assert secret not in str(caught.value)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_without_a_word_nobody_is_told(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings.notify == ()
    assert settings.notifications == NotificationSettings(10.0, 2)


def test_every_key_of_the_sending_is_read(tmp_path: Path) -> None:
    text = "[notifications]\ntimeout_s = 2.5\nconcurrency = 8\n"
    assert load(tmp_path, text).notifications == NotificationSettings(2.5, 8)
    over = {**ENV, "PALYRA_NOTIFICATIONS_TIMEOUT_S": "30"}
    assert load(tmp_path, text, over).notifications == NotificationSettings(30.0, 8)


@pytest.mark.parametrize(
    "line", ["timeout_s = 0", "timeout_s = 61", "concurrency = 0", "concurrency = 17", "pace = 1"]
)
def test_what_the_sending_does_not_accept(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"[notifications]\n{line}\n")
    assert [each.field for each in caught.value.problems] == [f"notifications.{line.partition(' ')[0]}"]


def test_a_chat_with_every_default(tmp_path: Path) -> None:
    assert targets(tmp_path, CHAT) == (
        NotifyTarget("t0", AppriseUrl(Secret(SLACK)), frozenset(Kind), Severity.INFO, True, False),
    )


def test_a_webhook_with_every_key(tmp_path: Path) -> None:
    entry = """
        webhook = "http://10.0.0.5:8080/palyra?team=ops"
        secret = ["env:NEXT", "env:SECRET"]
        kinds = ["overrun", "approval_pending"]
        min_severity = "critical"
        resolved = false
        allow_private = true
        """
    way = Webhook(
        Secret("http://10.0.0.5:8080/palyra?team=ops"), (Secret(ENV["NEXT"]), Secret(ENV["SECRET"]))
    )
    kinds = frozenset({Kind.OVERRUN, Kind.APPROVAL_PENDING})
    (found,) = targets(tmp_path, entry)
    assert found == NotifyTarget("t0", way, kinds, Severity.CRITICAL, False, True)
    assert found.target() == Target("t0", kinds, Severity.CRITICAL, False)


def test_a_webhook_that_holds_a_token_may_be_a_reference(tmp_path: Path) -> None:
    (found,) = targets(tmp_path, 'webhook = "env:HOOK"\nsecret = "env:SECRET"')
    assert found.way == Webhook(Secret(ENV["HOOK"]), (Secret(ENV["SECRET"]),))


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of enough bytes\n")
    (found,) = targets(tmp_path, 'webhook = "https://hooks.example.com/"\nsecret = "file:secret"')
    assert isinstance(found.way, Webhook)
    assert found.way.secrets == (Secret("a secret of enough bytes"),)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    shown = repr(targets(tmp_path, CHAT, HOOK))
    assert "TIiajkdn" not in shown
    assert "a secret of" not in shown
    assert "hooks.example.com" not in shown


WRONG = [
    ("", "url", "is required; write url for an Apprise URL"),
    (CHAT + HOOK, "webhook", "stands beside url"),
    ('url = "slack://a/b/c"', "url", "in clear"),
    ('url = "env:NOT_SET"', "url", "env:NOT_SET is not set"),
    ('url = "env:EMPTY"', "url", "env:EMPTY is not set"),
    ('url = "env:SECRET"', "url", "no URL that Apprise understands"),
    ("url = 7", "url", "must be a string"),
    ('url = "env:CHAT"\nsecret = "env:SECRET"', "secret", "signs webhooks only"),
    ('webhook = "https://hooks.example.com"', "secret", "is required with webhook"),
    ('webhook = "https://hooks.example.com"\nsecret = ""', "secret", "is empty"),
    ('webhook = "https://hooks.example.com"\nsecret = "env:EMPTY"', "secret", "is not set"),
    ('webhook = "https://hooks.example.com"\nsecret = "env:SHORT"', "secret", "has 15 bytes"),
    ('webhook = "https://hooks.example.com"\nsecret = "env:BAD64"', "secret", "no base64"),
    ('webhook = "https://hooks.example.com"\nsecret = "a secret of enough bytes"', "secret", "in clear"),
    ('webhook = "https://hooks.example.com"\nsecret = 7', "secret", "must be a string, not a whole number"),
    ('webhook = "https://hooks.example.com"\nsecret = []', "secret", "write 1 to 4"),
    (
        'webhook = "https://hooks.example.com"\nsecret = ["env:SECRET", "env:SHORT"]',
        "secret[1]",
        "env:SHORT has 15",
    ),
    ('webhook = "http://hooks.example.com"\nsecret = "env:SECRET"', "webhook", "in clear text"),
    ('webhook = "env:NOT_SET"\nsecret = "env:SECRET"', "webhook", "is not set"),
    ('webhook = "env:SHORT"\nsecret = "env:SECRET"', "webhook", "is no URL"),
    (f"{CHAT}kinds = []", "kinds", "is empty"),
    (f'{CHAT}kinds = ["overun"]', "kinds[0]", "did you mean 'overrun'"),
    (f'{CHAT}min_severity = "high"', "min_severity", "is not one of"),
    (f'{CHAT}resolved = "yes"', "resolved", "must be true or false"),
    (f"{CHAT}allow_private = 1", "allow_private", "must be true or false"),
    (f"{CHAT}retries = 1", "retries", "is not a known key"),
]


@pytest.mark.parametrize(("entry", "field", "told"), WRONG)
def test_every_mistake_names_its_key(tmp_path: Path, entry: str, field: str, told: str) -> None:
    found = problems(tmp_path, entry)
    assert [each for each, _ in found] == [f"notify[0].{field}"]
    assert told in found[0][1]


@pytest.mark.parametrize("target_id", ["a b", "-a", "a/b", "x" * 65])
def test_an_id_that_is_none_is_refused(tmp_path: Path, target_id: str) -> None:
    with pytest.raises(ConfigError, match="is not an id"):
        load(tmp_path, f'[[notify]]\nid = "{target_id}"\n{CHAT}')


def test_every_target_has_an_id_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[[notify]]\nid = "ops"\n{CHAT}[[notify]]\nid = "ops"\n{HOOK}[[notify]]\n{CHAT}')
    assert {each.field for each in caught.value.problems} == {"notify[1].id", "notify[2].id"}
    assert "is used by notify[0] already" in str(caught.value)


def test_there_is_a_most_of_targets(tmp_path: Path) -> None:
    assert len(targets(tmp_path, *([HOOK] * TARGETS_MAX))) == TARGETS_MAX
    assert problems(tmp_path, *([HOOK] * (TARGETS_MAX + 1))) == [
        (f"notify[{TARGETS_MAX}].id", f"is one too many; write at most {TARGETS_MAX} targets")
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b-c/%7Ex?sig=a&b=c",
        "HTTPS://HOOKS.EXAMPLE.COM/",
        "https://1.1.1.1/",
        "https://[2606:4700::1]/hook",
        "https://hooks.example.com?x=1",
    ],
)
def test_a_url_that_any_webhook_may_have(url: str) -> None:
    check_webhook_url(url, allow_private=False)
    check_webhook_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/hook",
        "http://localhost/",
        "https://localhost/",
        "https://a.localhost/",
        "http://10.0.0.5/",
        "https://192.168.1.1/",
        "http://[::1]:9/",
        "http://[fd12::1]/",
        "http://receiver.internal/",
    ],
)
def test_a_url_that_needs_to_be_allowed(url: str) -> None:
    check_webhook_url(url, allow_private=True)
    with pytest.raises(ValueError, match="allow_private = true"):
        check_webhook_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "is no URL"),
        ("hooks.example.com", "is no URL"),
        ("https://", "is no URL"),
        ("https://user:pass@hooks.example.com/", "is no URL"),
        ("https://hooks.example.com/#x", "is no URL"),
        ("https://hooks.example.com:0/", "is no URL"),
        ("https://hooks.example.com:65536/", "is no URL"),
        ("https://hooks.example.com/a b", "is no URL"),
        ("https://hooks.example.com/\n", "is no URL"),
        ("https://hooks.example.com\\@evil.example/", "is no URL"),
        ("ftp://hooks.example.com/", "the scheme 'ftp'"),
        ("file:///etc/passwd", "is no URL"),
        ("https://169.254.169.254/", "special address"),
        ("http://169.254.169.254/", "special address"),
        ("https://metadata.google.internal/", "metadata service"),
        ("https://[::ffff:10.0.0.1]/", "special address"),
        ("https://0.0.0.0/", "special address"),
        ("https://224.0.0.1/", "special address"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f.1/", "four decimal numbers"),
        ("http://1.1.1.1/", "in clear text"),
    ],
)
def test_a_url_that_no_webhook_may_have(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_webhook_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        SLACK,
        "mailtos://palyra:password@mail.example.com?to=ops@example.com",
        "workflows://prod-1.westeurope.logic.azure.com:443/643e69f83c8944/4pEkkLgTq8NX/",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/",
        "jsons://hooks.example.com/palyra",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    ],
)
def test_the_services_people_use_are_understood(url: str) -> None:
    check_apprise_url(url)


@pytest.mark.parametrize("scheme", sorted(REFUSED))
def test_a_service_of_this_machine_or_beyond_the_guard_is_refused(scheme: str) -> None:
    for url in (f"{scheme}://user:pass@host/path", f"{scheme.upper()}://", f" {scheme}://localhost/x"):
        with pytest.raises(ValueError, match=r"not for a daemon|no URL that Apprise understands"):
            check_apprise_url(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"{SLACK}?template=/etc/passwd", "names a file"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/?template=http://10.0.0.1/", "names a file"),
        ("fcm://project/token?keyfile=/etc/passwd", "names a file"),
        ("mailto://me:pass@example.com?pgppub=/etc/passwd", "asks for PGP"),
        ("mailto://me:pass@example.com?pgpprv=/etc/passwd", "asks for PGP"),
        ("mailto://me:pass@example.com?wkd=yes", "asks for PGP"),
    ],
)
def test_a_url_that_reads_files_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_apprise_url(url)


def test_what_apprise_does_not_understand_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(sys.stderr)])
    with pytest.raises(ValueError, match="no URL that Apprise understands") as caught:
        check_apprise_url("slack://token-0123456789")
    assert "token-0123456789" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_plug_in_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_apprise_url("json://localhost")
    monkeypatch.setattr(_plugins()["json"], "__module__", "somebody.plugins")
    with pytest.raises(ValueError, match="not for a daemon"):
        check_apprise_url("json://localhost")


BEYOND_THE_GUARD = {
    *("asyncio", "concurrent", "ctypes", "multiprocessing", "socket", "ssl", "subprocess", "websocket"),
    *("aiohttp", "dbus", "gi", "gntp", "paho", "pika", "proton", "slixmpp", "smpplib", "win32api"),
}
LOOKED_AT = {
    "apprise.plugins.email.smtp",  # ssl, for the certificates of smtplib
}


def test_every_service_that_is_not_refused_speaks_through_requests_or_smtplib() -> None:
    """A new release of Apprise may bring services that open connections of their own: refuse those, too."""
    found: dict[str, set[str]] = {}
    for scheme, plugin in _plugins().items():
        if scheme in REFUSED:
            continue
        for module in _modules_of(plugin):
            beyond = _imported(module) & BEYOND_THE_GUARD
            if beyond and module.__name__ not in LOOKED_AT:
                found[scheme] = beyond
    assert found == {}
    assert len(_plugins()) > 150


def _plugins() -> Mapping[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise.manager_plugins import NotificationManager

        manager: Any = NotificationManager()
        return {scheme: manager[scheme] for scheme in manager.schemas()}


def _modules_of(plugin: type[object]) -> Iterable[ModuleType]:
    """The module of a plug-in, and the others of its package where it has one of its own."""
    parts = plugin.__module__.split(".")
    package = ".".join(parts[:3])
    return [
        module
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    ]


def _imported(module: ModuleType) -> set[str]:
    """The first part of the name of everything that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(cast("str", node.module).partition(".")[0])
    return found
