"""Connection tests that commands remember: one file in the user's cache folder, nothing secret in it."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from palyra.config.settings import ProviderSettings
from palyra.core.instant import NANOSECONDS, Instant
from palyra.daemon.models import Check
from palyra.upstream.probe import ProbeState

FILE_NAME = "checks.json"
_VERSION = 1
_BYTES_MAX = 32 * 1024 * 1024
_KEPT_NS = 7 * 86_400 * NANOSECONDS
_NOT_MADE = frozenset({ProbeState.DISABLED, ProbeState.MISSING_CREDENTIAL})


class _File(msgspec.Struct):
    version: int
    checks: dict[str, Check]


@dataclass(frozen=True, slots=True)
class CheckCache:
    """Tests by what was tested. A file that cannot be read is empty; one that cannot be written stays so."""

    path: Path

    @classmethod
    def of_user(cls) -> "CheckCache":
        """In the user's cache folder."""
        return cls(platformdirs.user_cache_path("palyra") / FILE_NAME)

    def load(self, providers: Iterable[ProviderSettings]) -> dict[str, Check]:
        """The last test of each provider by its id, at most a week old: same address, same credential."""
        stored = self._read()
        digests = {each.id: digest(each) for each in providers}
        return {name: stored[mark] for name, mark in digests.items() if mark in stored}

    def save(self, tested: Mapping[str, Check], providers: Iterable[ProviderSettings]) -> None:
        """Remember tests by provider id; those in which no connection was tried are left out."""
        made = {
            digest(each): tested[each.id]
            for each in providers
            if each.id in tested and tested[each.id].probe.state not in _NOT_MADE
        }
        if not made:
            return
        with suppress(OSError):
            self._write(self._read() | made)

    def _read(self) -> dict[str, Check]:
        now = Instant(time.time_ns())
        try:
            with self.path.open("rb") as file:
                stored = msgspec.json.decode(file.read(_BYTES_MAX), type=_File)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return {}
        if stored.version != _VERSION:
            return {}
        return {name: each for name, each in stored.checks.items() if 0 <= now - each.at < _KEPT_NS}

    def _write(self, checks: dict[str, Check]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes it for its owner alone.
        handle, name = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(_File(_VERSION, checks)))
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def digest(provider: ProviderSettings) -> str:
    """What a test is about. The credential goes in as its hash, so that a new one is a new test."""
    credential = provider.credential
    clear = "" if credential is None else credential.reveal()
    parts = [
        provider.id,
        provider.kind.value,
        provider.base_url,
        str(provider.ca_file or ""),
        provider.credential_ref or "",
        hashlib.sha256(clear.encode()).hexdigest(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
