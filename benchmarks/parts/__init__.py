"""The parts of a call, each by itself, in one process, without sockets: pytest-benchmark on CPU time."""
