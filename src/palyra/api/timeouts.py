"""How long a connection test may take."""

TIMEOUT_MS = 5_000
TIMEOUT_MS_LEAST, TIMEOUT_MS_MOST = 100, 60_000
