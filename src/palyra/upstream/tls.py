"""TLS to providers: always verified."""

import ssl
from pathlib import Path


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a verifying context with ALPN http/1.1; ``ca_file`` (PEM) is trusted besides the system's roots.

    Raises OSError or ssl.SSLError if the file cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
