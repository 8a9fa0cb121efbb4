"""``palyra models set``: one value changes, the rest of the file and its backups are never lost."""

import os
import tomllib
from pathlib import Path

import pytest

from fakes.models_cli import SECRET, ModelsShell, models_shell, without_daemon
from palyra.cli import models_edit
from palyra.cli.init import TEMPLATE
from palyra.cli.models_edit import edited, write
from palyra.cli.output import CommandError

PROVIDERS = """\
# Who serves.
[[providers]]   # the first
id = "openai"
kind = "openai"
credential = "env:OKEY"

[[providers]]
id = "old"
kind = "anthropic"
credential = "env:OKEY"
enabled = false

[[models]]
id = "gpt-4o-mini"
provider = "openai"
aliases = ["mini"]

[[models]]
id = "vectors"
provider = "openai"
role = "embeddings"

[[models]]
id = "off"
provider = "openai"
enabled = false
"""
CONFIG = f"""\
# Ours. {SECRET}

[governance]    # rules
mode = "enforced"
default_model = "gpt-4o-mini"   # cheap
timezone = "UTC"

{PROVIDERS}"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OKEY", SECRET)
    monkeypatch.delenv("PALYRA_GOVERNANCE_DEFAULT_MODEL", raising=False)
    for name in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shell(folder: Path) -> ModelsShell:
    made = without_daemon(folder, CONFIG)
    made.owner_key = ""
    return made


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_only_the_value_changes(shell: ModelsShell, folder: Path) -> None:
    shown = shell.text("set", "gpt-4o")
    assert files(folder) == {
        "palyra.toml": CONFIG.replace('= "gpt-4o-mini"   # cheap', '= "gpt-4o"   # cheap'),
        "palyra.toml.bak.1": CONFIG,
    }
    assert shown == (
        f"Wrote {folder}/palyra.toml.\n"
        "default model   gpt-4o-mini -> gpt-4o\n"
        f"backup          {folder}/palyra.toml.bak.1\n"
        "A daemon that runs must be restarted to use it.\n"
    )


def test_json_says_what_was_done(shell: ModelsShell, folder: Path) -> None:
    path = str(folder / "palyra.toml")
    first = {
        "path": path,
        "field": "governance.default_model",
        "before": "gpt-4o-mini",
        "after": "openai/gpt-4o",
        "changed": True,
        "backup": f"{path}.bak.1",
    }
    assert shell.json("set", "openai/gpt-4o") == first
    again = first | {"before": "openai/gpt-4o", "changed": False, "backup": None}
    assert shell.json("set", "openai/gpt-4o") == again
    assert "already" in shell.text("set", "openai/gpt-4o")


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("", '{tail}\n[governance]\ndefault_model = "gpt-4o"\n'),
        ("[governance]\n", '[governance]\ndefault_model = "gpt-4o"\n{tail}'),
        (
            '[governance]\n  mode = "suggest" #\n# default_model = "x"\n\n',
            '[governance]\n  mode = "suggest" #\ndefault_model = "gpt-4o"\n# default_model = "x"\n\n{tail}',
        ),
        (
            'governance.mode = "suggest"\n',
            'governance.mode = "suggest"\ngovernance.default_model = "gpt-4o"\n{tail}',
        ),
        ("governance = {}\n", 'governance = {default_model = "gpt-4o"}\n{tail}'),
        ("governance.default_model = 'mini' # a\n", 'governance.default_model = "gpt-4o" # a\n{tail}'),
    ],
)
def test_every_way_to_write_the_table(shell: ModelsShell, folder: Path, head: str, wanted: str) -> None:
    path = folder / "palyra.toml"
    path.write_text(head + PROVIDERS)
    shell.text("set", "gpt-4o")
    assert path.read_text() == wanted.replace("{tail}", PROVIDERS)


def test_the_file_of_init_keeps_its_comments(shell: ModelsShell, folder: Path) -> None:
    path = folder / "palyra.toml"
    path.write_text(TEMPLATE)
    shell.text("set", "gpt-4o")
    added = 'default_model = "gpt-4o"'
    lines = path.read_text().splitlines()
    assert [line for line in lines if line != added] == TEMPLATE.splitlines()
    assert tomllib.loads(path.read_text())["governance"]["default_model"] == "gpt-4o"


def test_line_ends_of_other_systems_stay(shell: ModelsShell, folder: Path) -> None:
    path = folder / "palyra.toml"
    path.write_bytes(f'[governance]\nmode = "enforced"\n\n{PROVIDERS}'.replace("\n", "\r\n").encode())
    shell.text("set", "gpt-4o")
    content = path.read_bytes()
    assert b'mode = "enforced"\r\ndefault_model = "gpt-4o"\r\n\r\n#' in content
    assert content.count(b"\n") == content.count(b"\r\n")


def test_backups_move_on_and_the_oldest_falls_out(shell: ModelsShell, folder: Path) -> None:
    for name in ("gpt-4o", "gpt-4.1", "gpt-4.1-mini", "mini"):
        shell.text("set", name, "--backups", "3")
    defaults = {
        name: tomllib.loads(text)["governance"]["default_model"] for name, text in files(folder).items()
    }
    assert defaults == {
        "palyra.toml": "mini",
        "palyra.toml.bak.1": "gpt-4.1-mini",
        "palyra.toml.bak.2": "gpt-4.1",
        "palyra.toml.bak.3": "gpt-4o",
    }


def test_no_backup_if_none_is_wanted(shell: ModelsShell, folder: Path) -> None:
    assert shell.json("set", "gpt-4o", "--backups", "0")["backup"] is None
    assert set(files(folder)) == {"palyra.toml"}


@pytest.mark.skipif(os.name != "posix", reason="rights are those of POSIX")
def test_rights_and_links_stay(shell: ModelsShell, folder: Path) -> None:
    real = folder / "real.toml"
    (folder / "palyra.toml").rename(real)
    (folder / "palyra.toml").symlink_to(real)
    real.chmod(0o640)
    shell.text("set", "gpt-4o")
    assert (folder / "palyra.toml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert (folder / "real.toml.bak.1").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["gpt-4o-minni"], 8, "close matches: gpt-4o-mini"),
        (["nobody"], 8, "--allow-unknown"),
        (["local/thing"], 8, "no model 'local/thing'"),
        (["off"], 7, "disabled"),
        (["old/claude-3-5-haiku-latest"], 7, "disabled"),
        (["vectors"], 2, "role is embeddings"),
        (["auto"], 2, "'auto' stands for"),
        (["a\nb"], 2, "MODEL"),
        (["x" * 2_000, "--allow-unknown"], 2, "the file was not changed"),
        ([" x", "--allow-unknown"], 2, "governance.default_model"),
        (["gpt-4o", "--backups", "-1"], 2, "--backups"),
        (["gpt-4o", "--config", "missing.toml"], 2, "cannot be read"),
    ],
)
def test_a_bad_wish_leaves_every_file_as_it_was(
    shell: ModelsShell, folder: Path, words: list[str], code: int, told: str
) -> None:
    shell.text("set", "gpt-4o")
    before = files(folder)
    result = shell.run("set", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr
    assert files(folder) == before


def test_a_file_that_is_wrong_already_is_not_touched(shell: ModelsShell, folder: Path) -> None:
    (folder / "palyra.toml").write_text(CONFIG + "[nonsense]\n")
    before = files(folder)
    result = shell.run("set", "gpt-4o")
    assert (result.exit_code, files(folder)) == (2, before)


def test_an_unknown_name_can_be_insisted_on(shell: ModelsShell) -> None:
    assert shell.json("set", "tomorrow", "--allow-unknown")["after"] == "tomorrow"


def test_a_variable_that_wins_is_told(shell: ModelsShell, folder: Path) -> None:
    result = shell.run("set", "gpt-4o", PALYRA_GOVERNANCE_DEFAULT_MODEL="mini")
    assert (result.exit_code, files(folder)["palyra.toml"]) == (7, CONFIG)
    assert "PALYRA_GOVERNANCE_DEFAULT_MODEL" in result.stderr


def test_without_a_file_there_is_nothing_to_write_to(shell: ModelsShell, folder: Path) -> None:
    (folder / "palyra.toml").unlink()
    result = shell.run("set", "gpt-4o", OPENAI_API_KEY="sk-1")
    assert (result.exit_code, "palyra init" in result.stderr) == (7, True)


class TestListedModels:
    @pytest.fixture
    def live(self, folder: Path) -> ModelsShell:
        (folder / "palyra.toml").write_text(CONFIG)
        item = {"id": "newest", "provider": "openai", "aliases": ["n"], "enabled": True}
        return models_shell({"list": {"live": True, "items": [item]}})

    @pytest.mark.parametrize("name", ["newest", "openai/newest", "n"])
    def test_what_a_daemon_lists_is_known(self, live: ModelsShell, name: str) -> None:
        assert live.json("set", name)["after"] == name

    @pytest.mark.parametrize("words", [["--offline"], ["--config", "palyra.toml"]])
    def test_no_daemon_is_asked_where_none_is_wanted(self, live: ModelsShell, words: list[str]) -> None:
        assert live.run("set", "newest", *words).exit_code == 8
        assert live.connector.opened == []

    def test_a_daemon_that_does_not_answer_is_no_help(self, live: ModelsShell) -> None:
        live.connector.broken = True
        assert live.run("set", "newest").exit_code == 8
        assert live.run("set", "newest", "--url", "http://localhost:1").exit_code == 4

    def test_another_name_is_unknown(self, live: ModelsShell) -> None:
        assert live.run("set", "oldest").exit_code == 8


class TestCrash:
    """Whatever breaks while the file is written, what was there is still there."""

    def test_a_disk_that_is_full(
        self, folder: Path, shell: ModelsShell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        shell.text("set", "gpt-4o")
        before = files(folder)
        monkeypatch.setattr(models_edit.os, "fsync", full)
        assert shell.run("set", "mini").exit_code == 7
        assert files(folder) == before

    def test_a_power_cut_before_the_last_step(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = folder / "palyra.toml"
        path.write_text(CONFIG)
        write(edited(path, "gpt-4o"), 5)
        before = files(folder)
        moves: list[Path] = []
        real = Path.replace

        def cut(self: Path, target: Path) -> Path:
            if target == path:
                raise KeyboardInterrupt
            moves.append(target)
            return real(self, target)

        monkeypatch.setattr(Path, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            write(edited(path, "mini"), 5)
        after = files(folder)
        assert after["palyra.toml"] == before["palyra.toml"]
        assert set(before.values()) <= set(after.values())
        assert len(moves) == 2

    def test_somebody_else_was_faster(self, folder: Path) -> None:
        path = folder / "palyra.toml"
        path.write_text(CONFIG)
        edit = edited(path, "gpt-4o")
        path.write_text(CONFIG + "# theirs\n")
        with pytest.raises(CommandError, match="changed meanwhile"):
            write(edit, 5)
        assert files(folder) == {"palyra.toml": CONFIG + "# theirs\n"}
