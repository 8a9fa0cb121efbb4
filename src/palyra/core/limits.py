"""Every bound of the data plane in one place (invariant V2). Seconds, bytes and counts, as the names say."""

BODY_BYTES_MAX = 32 * 1024 * 1024
HEADER_BYTES_MAX = 64 * 1024
HEADER_COUNT_MAX = 100
JSON_DEPTH_MAX = 64

HEADER_RECEIVE_S = 10.0
BODY_RECEIVE_S = 30.0
KEEP_ALIVE_S = 75.0
CLIENT_STALLED_S = 60.0
"""A client that takes no byte for this long while an answer waits for it is cut off."""

UPSTREAM_CONNECT_S = 10.0
UPSTREAM_FIRST_BYTE_S = 300.0
UPSTREAM_IDLE_S = 120.0
UPSTREAM_TOTAL_S = 900.0
UPSTREAM_CONNECTIONS_MAX = 2_048
UPSTREAM_KEEP_ALIVE_S = 55.0
UPSTREAM_HEADER_BYTES_MAX = 64 * 1024
RESPONSE_COLLECT_BYTES_MAX = 32 * 1024 * 1024
SSE_EVENT_BYTES_MAX = 16 * 1024 * 1024

STREAM_BUFFER_BYTES_MAX = 256 * 1024
DRAIN_S = 30.0
DRAINS_MAX = 64

SETTLE_WAIT_S = 5.0
"""How long a finished answer waits for its settlement to reach a disk that has no room."""

LEASE_S = UPSTREAM_TOTAL_S + DRAIN_S + 60.0
CALLS_IN_FLIGHT_MAX = 8_192
JOURNAL_QUEUE_MAX = 65_536

IDEMPOTENCY_KEY_BYTES_MAX = 256
IDEMPOTENCY_TTL_S = 24 * 3600.0
IDEMPOTENCY_REPLAY_BYTES_MAX = 1024 * 1024
IDEMPOTENCY_REPLAY_TOTAL_BYTES_MAX = 64 * 1024 * 1024

LABEL_CHARS_MAX = 200
TAGS_MAX = 32
TOKENS_MAX = 2**31
"""No provider serves this many tokens in a call; a larger figure is damage, not usage."""
OUTPUT_TOKENS_WITHOUT_LIMIT = 16_384
"""Output cap sent where neither the caller nor the model names one: without a cap there is no upper bound."""
