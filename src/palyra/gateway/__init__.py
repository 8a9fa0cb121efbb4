"""The data-plane door: bytes in, bytes out. Raw ASGI, no framework on the path of a call."""
