"""One value of a configuration file changed: nothing else in it moves, and nothing is lost on the way."""

import os
import shutil
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.container import Container
from tomlkit.items import AbstractTable, Item, Table

from palyra.cli.new_file import sync_folder
from palyra.cli.output import CommandError, ExitCode
from palyra.config.load import load_settings
from palyra.config.problems import ConfigError

SECTION, KEY = "governance", "default_model"


@dataclass(frozen=True, slots=True)
class Edit:
    """A file, what it holds, and what it is to hold. ``before`` is the value that is replaced."""

    path: Path
    old: bytes
    new: bytes
    before: str | None


@dataclass(frozen=True, slots=True)
class Writing:
    """An edit that was made, and the copy of the file before it."""

    edit: Edit
    backup: Path | None


def edited(path: Path, value: str) -> Edit:
    """The file with ``governance.default_model = value``. Raises CommandError if it cannot be read."""
    target = path.resolve()
    try:
        old = target.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", ExitCode.PRECONDITION) from None
    text = old.decode("utf-8")
    data = tomllib.loads(text)
    section = cast("Mapping[str, Any]", data.get(SECTION, {}))
    new = _with_value(text, value)
    # What the editor made is read again: exactly one value may differ.
    if _parsed(new) != {**data, SECTION: {**section, KEY: value}}:
        hint = f'write it by hand: {KEY} = "{value}" under [{SECTION}]'
        raise CommandError(
            f"{path} is written in a way that cannot be edited", ExitCode.UNSUPPORTED, hint=hint
        )
    return Edit(target, old, new.encode(), section.get(KEY))


def write(edit: Edit, backups: int) -> Writing:
    """Check the new file as a whole, keep the old one as ``.bak.1``, and put the new one in its place.

    Older copies become ``.bak.2`` and so on, up to ``backups``. Raises ConfigError or CommandError; then the
    file and its copies are as they were.
    """
    if edit.new == edit.old:
        return Writing(edit, None)
    path = edit.path
    with _beside(path, edit.new) as fresh:
        _check(fresh, path)
        if path.read_bytes() != edit.old:
            hint = "look at it, then try again"
            raise CommandError(f"{path} was changed meanwhile", ExitCode.PRECONDITION, hint=hint)
        backup = None
        if backups:
            with _beside(path, edit.old) as copy:
                backup = _rotate(path, copy, backups)
        fresh.replace(path)
    with suppress(OSError):  # where the system can, the new name is durable, too
        sync_folder(path.parent)
    return Writing(edit, backup)


def _with_value(text: str, value: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    document = tomlkit.parse(text)
    section = cast("dict[str, Any]", document).get(SECTION)
    if section is None:
        gap = newline if text.strip() else ""
        return f"{_ended(text, newline)}{gap}[{SECTION}]{newline}{KEY} = {_string(value)}{newline}"
    if KEY in section or not isinstance(section, Table) or section.is_super_table():
        section[KEY] = value
        return tomlkit.dumps(document)
    document = tomlkit.parse(_ended(text, newline))
    item = tomlkit.string(value)
    item.trivia.trail = newline
    _insert(cast("Table", document[SECTION]).value, item)
    return tomlkit.dumps(document)


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _ended(text: str, newline: str) -> str:
    return text if not text or text.endswith("\n") else text + newline


def _string(value: str) -> str:
    return tomlkit.string(value).as_string()


def _insert(container: Container, item: Item) -> None:
    """Put a new value behind the last one of its table: comments behind that may speak of what follows."""
    body = container.body
    values = [place for place, (key, each) in enumerate(body) if key and not isinstance(each, AbstractTable)]
    body.insert(values[-1] + 1 if values else 0, (tomlkit.key(KEY), item))


def _check(fresh: Path, path: Path) -> None:
    """Read the new file as a start would. Raises ConfigError that names the real one."""
    try:
        load_settings(fresh, os.environ, Path.cwd())
    except ConfigError as error:
        problems = [
            replace(each, place=str(path)) if each.place == str(fresh) else each for each in error.problems
        ]
        raise ConfigError(problems, "the file was not changed") from None


@contextmanager
def _beside(path: Path, content: bytes) -> Generator[Path]:
    """A durable file with the rights of ``path``, in its folder; gone afterwards unless it was moved."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    except OSError as error:
        told = f"{path.parent} cannot be written to: {error.strerror}"
        raise CommandError(told, ExitCode.PRECONDITION) from None
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, fresh)
        _same_owner(path, fresh)
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _same_owner(path: Path, fresh: Path) -> None:
    """So that a daemon of another user can still read what root wrote."""
    if hasattr(os, "chown"):
        status = path.stat()
        with suppress(PermissionError):
            os.chown(fresh, status.st_uid, status.st_gid)


def _rotate(path: Path, copy: Path, backups: int) -> Path:
    """Make ``copy`` the first backup; each of the others moves one place on, and the last falls out."""
    names = [path.with_name(f"{path.name}.bak.{number}") for number in range(1, backups + 1)]
    free = next((place for place, name in enumerate(names) if not name.exists()), len(names) - 1)
    for place in range(free, 0, -1):
        names[place - 1].replace(names[place])
    copy.replace(names[0])
    return names[0]
