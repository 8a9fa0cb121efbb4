"""nginx ``proxy_pass``: what forwarding costs when nothing is governed."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.base import Launch, Say, Site, UnavailableError, free_port, is_root
from benchmarks.driving import Door

_CONFIG = """
{user}
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    # Bodies stay in memory, and connections open: files and handshakes are not what is compared.
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    upstream stub {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 100000000;
        keepalive_timeout 600s;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host {upstream_host};
{front}
    server {{
        listen 127.0.0.1:{port}{listen};
        location / {{ proxy_pass {scheme}://stub; }}
        location /streams/ {{
            proxy_buffering off;
            proxy_pass {scheme}://stub/;
        }}
    }}
}}
"""
_VERIFY = """
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {ca};
    proxy_ssl_server_name on;
    proxy_ssl_name localhost;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_session_reuse on;
"""
_TERMINATE = """
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_buffering off;
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """One worker; keeps connections to the provider open."""

    name: str = "nginx"
    about: str = "proxy_pass, no logs"
    tls: bool = True

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``: a system package, so it is only looked for."""
        del into, say
        program()

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        said = subprocess.run([program(), "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        upstream = site.upstream
        front = _VERIFY.format(ca=upstream.ca) if upstream.ca else ""
        port = free_port()
        arguments = _arguments(site, port, front, tls_in=False, scheme="https" if upstream.ca else "http")
        return Launch(arguments, port, Door(stream_path="/streams/v1/chat/completions"))


def terminator(site: Site, chain: Path, key: Path) -> Launch:
    """An nginx that speaks TLS in front of the stub, as providers do."""
    port = free_port()
    front = _TERMINATE.format(chain=chain, key=key)
    return Launch(_arguments(site, port, front, tls_in=True, scheme="http"), port)


def program() -> str:
    """Where nginx is. UnavailableError if it is not installed."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise UnavailableError("not installed: apt-get install nginx-light")
    return found


def _arguments(site: Site, port: int, front: str, *, tls_in: bool, scheme: str) -> list[str]:
    config = _CONFIG.format(
        user="user root;" if is_root() else "",
        port=port,
        listen=" ssl" if tls_in else "",
        upstream_port=site.upstream.port,
        upstream_host=site.upstream.host,
        front=front,
        scheme=scheme,
    )
    path = site.write("nginx.conf", config)
    return [program(), "-p", str(site.folder), "-c", str(path), "-e", "stderr"]
