"""What the source may not contain: no code from data, no processes in the daemon, no SQL put together."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import palyra

SOURCE = Path(palyra.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "globals", "breakpoint"}
FORBIDDEN_MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "subprocess",
    "importlib",
    "ctypes",
    "code",
    "pty",
    "runpy",
}
FORBIDDEN_ATTRIBUTES = {("os", "system"), ("os", "popen"), ("os", "fork"), ("yaml", "load")}
ALLOWED = {
    "cli/child.py": {"subprocess"},
    "cli/database_server.py": {"subprocess", "importlib"},
    "cli/model_server.py": {"subprocess", "importlib"},
    "daemon/workers.py": {"os.fork"},
}
"""The CLI starts the daemon, a local model server and a PostgreSQL; ``importlib`` there asks whether a
package exists. The daemon forks itself into workers, and starts no other program."""
SQL_WORDS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH ", "CREATE ", "DROP ", "ALTER ")
RUNS_SQL = {"execute", "executemany", "executescript", "exec_driver_sql", "text"}


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def forbidden_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that could run code or processes."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in FORBIDDEN_ATTRIBUTES:
                yield node.lineno, f"{owner}.{name}"
            case ast.Import(names=names):
                yield from ((node.lineno, each.name.partition(".")[0]) for each in names)
            case ast.ImportFrom(module=str(module)):
                yield node.lineno, module.partition(".")[0]
            case _:
                pass


def put_together(node: ast.AST) -> bool:
    """Whether a text is made from parts at run time."""
    match node:
        case ast.JoinedStr(values=values):
            return any(isinstance(value, ast.FormattedValue) for value in values)
        case ast.BinOp(op=ast.Mod() | ast.Add(), left=left):
            return isinstance(left, ast.Constant | ast.JoinedStr) and not is_number(left)
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str()))):
            return True
        case _:
            return False


def is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def sql_in(tree: ast.AST) -> Iterator[int]:
    """Lines where SQL is put together, or where what is put together is run as SQL."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[first, *_]):
                if name in RUNS_SQL and put_together(first):
                    yield node.lineno
            case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if put_together(node):
                if start.lstrip().upper().startswith(SQL_WORDS):
                    yield node.lineno
            case _:
                pass


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_code_from_data_and_no_processes(module: Path) -> None:
    forbidden = FORBIDDEN_CALLS | FORBIDDEN_MODULES | {f"{a}.{b}" for a, b in FORBIDDEN_ATTRIBUTES}
    allowed = ALLOWED.get(name_of(module), set[str]())
    found = [(line, name) for line, name in forbidden_in(ast.parse(module.read_text())) if name in forbidden]
    assert [each for each in found if each[1] not in allowed] == []


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_sql_is_put_together(module: Path) -> None:
    assert list(sql_in(ast.parse(module.read_text()))) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "__import__('os')",
        "import subprocess",
        "from importlib import import_module",
        "import os.path, pickle",
        "import os\nos.system('ls')",
    ],
)
def test_the_rule_sees_what_it_forbids(source: str) -> None:
    names = {name for _, name in forbidden_in(ast.parse(source))}
    assert names & (FORBIDDEN_CALLS | FORBIDDEN_MODULES | {"os.system"})


@pytest.mark.parametrize(
    "source",
    [
        "db.execute(f'SELECT {x}')",
        "db.execute('SELECT %s' % x)",
        "db.execute('SELECT ' + x)",
        "text('SELECT {}'.format(x))",
        "sql = f'DELETE FROM {table}'",
    ],
)
def test_the_rule_sees_sql_that_is_put_together(source: str) -> None:
    assert list(sql_in(ast.parse(source)))
