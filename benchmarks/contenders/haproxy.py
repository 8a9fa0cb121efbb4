"""HAProxy: the other proxy that governs nothing."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.base import Launch, Say, Site, UnavailableError, Upstream, free_port

_CONFIG = """
global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    http-reuse always
    # Without it, pieces of a streamed answer are held back for up to 200 ms to fill packets.
    option http-no-delay
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend in
    bind 127.0.0.1:{port}
    default_backend stub
backend stub
    http-request set-header host {host}
    server stub 127.0.0.1:{upstream_port}{tls}
"""


@dataclass(frozen=True, slots=True)
class Haproxy:
    """One thread; keeps connections to the provider open."""

    name: str = "haproxy"
    about: str = "forwards, no logs"
    tls: bool = True

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``: a system package, so it is only looked for."""
        del into, say
        _program()

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        said = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stdout
        return said.split()[2]

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        port = free_port()
        config = _CONFIG.format(
            port=port, host=site.upstream.host, upstream_port=site.upstream.port, tls=_tls(site.upstream)
        )
        path = site.write("haproxy.cfg", config)
        return Launch([_program(), "-db", "-f", str(path)], port)


def _tls(upstream: Upstream) -> str:
    if upstream.ca is None:
        return ""
    return f" ssl verify required ca-file {upstream.ca} sni str({upstream.host}) verifyhost {upstream.host}"


def _program() -> str:
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UnavailableError("not installed: apt-get install haproxy")
    return found
