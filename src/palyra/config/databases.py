"""The URL of a database outside the configuration, read as ``server.database`` is."""

from pathlib import Path

from palyra.config.problems import Report
from palyra.config.reader import Section
from palyra.config.references import Surroundings
from palyra.config.sections import read_server
from palyra.config.settings import SharedDatabase
from palyra.core.errors import FieldError


def read_database(text: str, around: Surroundings, name: str) -> Path | SharedDatabase:
    """``sqlite:///PATH``, ``postgresql://…``, or ``env:NAME`` and ``file:PATH`` that hold one of them.

    A password may stand in it, as whoever types it knows. Raises FieldError that names it ``name``.
    """
    report = Report("", {}, {"server.database": name})
    server = read_server(Section({"database": text}, "server", report), around, report, Path())
    if report.problems:
        raise FieldError(name, report.problems[0].message)
    return server.database
