"""Portkey's open-source gateway on Node.js; it has no budgets."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import environments
from benchmarks.contenders.base import Launch, Say, Site, UnavailableError, free_port
from benchmarks.driving import Door

VERSION = "1.15.2"
# As published it answers every stream with 500 on Node.js 20 ("TypeError: immutable"): the server library
# it uses keeps the headers of fetch's answer, and the gateway changes them. Copies of them may be changed.
_PRELOAD = """
const plainFetch = globalThis.fetch;
globalThis.fetch = async (...asked) => {
  const { body, status, statusText, headers } = await plainFetch(...asked);
  return new Response(body, { status, statusText, headers: new Headers(headers) });
};
"""


@dataclass(frozen=True, slots=True)
class Portkey:
    """The provider is named by headers of each call."""

    name: str = "portkey"
    about: str = "forwards; no key check, no budget, no records; a preload makes its streams work"
    tls: bool = False

    def install(self, into: Path, say: Say) -> None:
        """See ``Contender.install``."""
        environments.node(into, f"@portkey-ai/gateway@{VERSION}", say)

    def version(self, installed: Path) -> str:
        """See ``Contender.version``."""
        del installed
        return VERSION

    def launch(self, site: Site) -> Launch:
        """See ``Contender.launch``."""
        node = shutil.which("node")
        if node is None:
            raise UnavailableError("Node.js is not on PATH")
        port = free_port()
        program = site.installed / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        preload = site.write("preload.cjs", _PRELOAD)
        headers = (
            ("authorization", "Bearer none"),
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", f"{site.upstream.url}/v1"),
        )
        return Launch(
            [node, "--require", str(preload), str(program), "--headless", f"--port={port}"],
            port,
            Door(headers=headers),
            {"NODE_ENV": "production"},
        )
