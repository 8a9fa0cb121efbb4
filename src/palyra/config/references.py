"""Secrets and files that a configuration only points to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from palyra.core.secret import Secret

SECRET_BYTES_MAX = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a configuration may refer to: variables, and the folder that relative paths start from."""

    env: Mapping[str, str]
    cwd: Path

    def path(self, text: str) -> Path:
        """``text`` as an absolute path; ``~`` is the user's home."""
        return (self.cwd / Path(text).expanduser()).absolute()

    def secret(self, reference: str) -> Secret | None:
        """What ``env:NAME`` or ``file:PATH`` points to; None if the variable is not set or is empty.

        Raises ValueError that never repeats the text: a credential in clear must not reach a log.
        """
        scheme, _, target = reference.partition(":")
        match scheme:
            case "env":
                if _VARIABLE.fullmatch(target) is None:
                    raise ValueError("must name a variable: write env:NAME")
                text = self.env.get(target, "").strip()
                return Secret(text) if text else None
            case "file":
                return self._secret_in(target)
            case _:
                raise ValueError(
                    "holds a credential in clear; keep it in an environment variable and write env:NAME "
                    "(or file:/path), and replace the credential"
                )

    def _secret_in(self, target: str) -> Secret:
        if not target:
            raise ValueError("must name a file: write file:/path")
        path = self.path(target)
        try:
            with path.open("rb") as file:
                content = file.read(SECRET_BYTES_MAX + 1)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        if len(content) > SECRET_BYTES_MAX:
            raise ValueError(f"{path} has more than {SECRET_BYTES_MAX} bytes; that is no credential")
        try:
            text = content.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not text") from None
        if not text:
            raise ValueError(f"{path} is empty")
        return Secret(text)
