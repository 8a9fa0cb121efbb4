import json
import shlex
import socket
import tomllib
from pathlib import Path

import pytest

from palyra.cli.demo import curl_line, free_port
from palyra.cli.demo_config import config_text, write_config
from palyra.cli.demo_month import write_month
from palyra.cli.demo_write import new_folder
from palyra.cli.output import CommandError
from palyra.config.load import load_settings
from palyra.core.instant import parse_instant
from palyra.daemon.log import unlogged


def test_a_taken_port_gives_the_next_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert free_port(port) > port


def test_port_0_is_left_to_the_daemon() -> None:
    assert free_port(0) == 0


def test_the_curl_line_is_one_command_with_a_json_body() -> None:
    words = shlex.split(curl_line("http://127.0.0.1:8484", "plr_secret"))

    assert words[:3] == ["curl", "-i", "http://127.0.0.1:8484/v1/chat/completions"]
    assert "authorization: Bearer plr_secret" in words
    assert json.loads(words[-1])["model"] == "smollm2"


def test_the_config_of_the_demo_is_toml_with_string_prices() -> None:
    now = parse_instant("2026-11-23T09:20:00Z")
    document = tomllib.loads(config_text(Path("/srv/a 'demo'"), 1, "http://127.0.0.1:2", now))

    assert document["server"] == {
        "host": "127.0.0.1",
        "port": 1,
        "database": "sqlite:////srv/a 'demo'/palyra.db",
    }
    (local,) = (model for model in document["models"] if model["provider"] == "local")
    assert local["price"] == {"input": "20.00", "output": "80.00"}
    assert {entry["metric"] for entry in document["budgets"]} == {"cost_usd", "total_tokens"}
    assert document["prices"][0]["valid_from"] == "2026-11-09T15:30:00Z"


def test_what_was_begun_and_broke_off_leaves_the_folder_empty(tmp_path: Path) -> None:
    folder = tmp_path / "demo"

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    def begin() -> None:
        now = parse_instant("2026-11-23T09:20:00Z")
        with new_folder(folder), unlogged():
            config = write_config(folder, 1, "http://127.0.0.1:9", now)
            write_month(load_settings(config, {}, folder), now, stop, days=1)

    with pytest.raises(KeyboardInterrupt):
        begin()

    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CommandError, match="file"), new_folder(tmp_path / "file"):
        raise AssertionError("it was used")
