"""Files with budgets, as commands take them."""

import json
import tomllib
from datetime import date
from pathlib import Path
from typing import cast

from palyra.cli.output import CommandError, ExitCode


def read_budgets(path: Path) -> list[dict[str, object]]:
    """The budgets of a TOML or JSON file: one, or a list of them under ``budgets``. Raises CommandError."""
    try:
        text = path.read_text("utf-8")
        found: object = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise CommandError(f"{path} cannot be read: {error}", ExitCode.USAGE) from None
    if isinstance(found, dict):
        whole = cast("dict[str, object]", found)
        found = whole.get("budgets", [whole])
    entries = cast("list[object]", found) if isinstance(found, list) else []
    documents = [cast("dict[str, object]", each) for each in entries if isinstance(each, dict)]
    if not documents or len(documents) != len(entries):
        message = f"{path} holds no budget; write its fields, or [[budgets]] tables"
        raise CommandError(message, ExitCode.USAGE)
    return [{name: _plain(value) for name, value in each.items()} for each in documents]


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
