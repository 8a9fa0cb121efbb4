"""What the pages tell users to write is accepted: configurations, commands, programs."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli_page import commands, options, root
from harness.pages import Snippet, snippets
from palyra.config.load import load_settings

ENVIRONMENT = {
    "OPENAI_API_KEY": "provider-key",
    "BILLING_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
    "OPS_CHAT_URL": "json://ops.example.com",
    "OPS_MAIL_URL": "mailtos://palyra:secret@mail.example.com?to=ops@example.com",
    "ANTHROPIC_API_KEY": "provider-key",
    "PALYRA_OWNER_KEY": "owner-key",
    "PALYRA_DATABASE_URL": "postgresql://palyra:secret@db.example.com/palyra",
}
A_PROVIDER = '\n[[providers]]\nid = "openai"\nkind = "openai"\ncredential = "env:OPENAI_API_KEY"\n'
SYSTEM_FOLDER = "/etc/palyra"
COMMAND = re.compile(r"(?:^|[|(`]\s*)(palyra(?: [^`|#>)\n]+)?)")


def name_of(snippet: Snippet) -> str:
    return snippet.name


def shell_lines() -> Iterator[tuple[str, str]]:
    """Every ``palyra …`` command of a shell block, continuation lines joined."""
    for snippet in snippets("sh"):
        for line in snippet.text.replace("\\\n", " ").splitlines():
            match = COMMAND.match(line.strip())
            if match is not None:
                yield snippet.name, match[1].strip()


@pytest.mark.parametrize("snippet", snippets("toml"), ids=name_of)
def test_every_configuration_is_accepted(snippet: Snippet, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    (tmp_path / "key.pem").touch()
    text = snippet.text.replace(SYSTEM_FOLDER, str(tmp_path))
    if "[[providers]]" not in text:
        text += A_PROVIDER
    path = tmp_path / "palyra.toml"
    path.write_text(text, "utf-8")
    settings = load_settings(path, ENVIRONMENT, tmp_path)
    assert settings.providers


def test_the_example_of_the_reference_uses_every_table(tmp_path: Path) -> None:
    example = [each for each in snippets("toml") if each.page.name == "config.md"][-1]
    path = tmp_path / "palyra.toml"
    path.write_text(example.text, "utf-8")
    settings = load_settings(path, ENVIRONMENT, tmp_path)
    assert all((settings.models, settings.budgets, settings.keys, settings.prices))


@pytest.mark.parametrize(("place", "line"), sorted(set(shell_lines())))
def test_every_command_line_names_a_command_and_its_options(place: str, line: str) -> None:
    words = shlex.split(line)
    known = dict(commands(root()))
    name = next((" ".join(words[:size]) for size in (3, 2) if " ".join(words[:size]) in known), None)
    assert name is not None, f"{place}: {line}"
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= options(known[name]), f"{place}: {line}"


@pytest.mark.parametrize("snippet", snippets("python"), ids=name_of)
def test_every_program_is_valid_python(snippet: Snippet) -> None:
    compile(snippet.text, snippet.name, "exec")
