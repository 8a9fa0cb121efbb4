"""A provider that speaks TLS: nginx in front of the stub, with a certificate made for this run."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from benchmarks.contenders.base import Site, Upstream
from benchmarks.contenders.nginx import terminator
from benchmarks.processes import Tree
from benchmarks.standing import launched


@dataclass(frozen=True, slots=True)
class TlsEnd:
    """Where to connect, whom to trust, and the process that answers there."""

    upstream: Upstream
    tree: Tree


@contextmanager
def terminated(folder: Path, stub_port: int, core: int) -> Generator[TlsEnd]:
    """The stub behind TLS on ``core``. UnavailableError if nginx is not installed."""
    own = folder / "terminator"
    own.mkdir()
    ca = trustme.CA()
    trusted, chain, key = own / "ca.pem", own / "chain.pem", own / "key.pem"
    ca.cert_pem.write_to_path(str(trusted))
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(key))
    for position, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(str(chain), append=position > 0)
    launch = terminator(Site(own, own, Upstream(stub_port)), chain, key)
    standing = launched("terminator", launch, own, core)
    assert standing.tree is not None
    try:
        assert launch.port is not None
        yield TlsEnd(Upstream(launch.port, trusted), standing.tree)
    finally:
        standing.tree.end()
