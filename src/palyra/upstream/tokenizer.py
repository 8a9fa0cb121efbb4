"""Counting input tokens with OpenAI's own vocabularies: the optional extra ``tokens``.

Only the expectation that people see is counted so. What is held is bounded by bytes (lifecycle.estimate): no
vocabulary is known to be the one that a provider bills by.
"""

from typing import TYPE_CHECKING, cast

import msgspec

if TYPE_CHECKING:
    from bpe_openai import Encoding  # pyright: ignore[reportMissingTypeStubs] (inline, but not marked)

COUNTED_BYTES_MAX = 64 * 1024
"""Larger bodies are not counted: it takes about 30 ns per byte, on the loop that serves every call."""
TOKENS_PER_MESSAGE = 1
TOKENS_OF_TEMPLATE = 3
"""What the chat template adds beside the role and one separator per text, which are counted as text."""

_TEXTS = ("instructions", "messages", "input", "prompt")
_SCHEMAS = ("tools", "functions", "response_format", "text")
_O200K = (
    "gpt-4o",
    "gpt-4.1",
    "gpt-4.5",
    "gpt-5",
    "gpt-6",
    "gpt-oss",
    "gpt-audio",
    "chatgpt-4o",
    "o1",
    "o3",
    "o4",
)
_CL100K = ("gpt-4", "gpt-3.5", "text-embedding-3", "text-embedding-ada-002")


class OpenAiTokens:
    """A ``TokenCounter``. Loads both vocabularies when it is made: about 0.3 s and 180 MB.

    Raises ImportError without the extra.
    """

    __slots__ = ("_cl100k", "_o200k")

    def __init__(self) -> None:
        import bpe_openai  # pyright: ignore[reportMissingTypeStubs] (inline, but not marked)

        self._o200k = bpe_openai.get_encoding("o200k_base")
        self._cl100k = bpe_openai.get_encoding("cl100k_base")

    def __call__(self, model: str, body: bytes) -> int | None:
        """Tokens of the text and schemas in a request body, with what the chat template adds.

        None for a model whose vocabulary is not known, and for a body that is too large or no JSON object.
        """
        encoding = self._encoding(model)
        if encoding is None or len(body) > COUNTED_BYTES_MAX:
            return None
        try:
            fields = msgspec.json.decode(body, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        texts = [msgspec.json.encode(fields[name]).decode() for name in _SCHEMAS if name in fields]
        ids = sum(_collect(fields.get(name), texts) for name in _TEXTS)
        messages = fields.get("messages", fields.get("input"))
        turns = len(cast("list[object]", messages)) if isinstance(messages, list) else 1
        tokens = len(encoding.encode_ordinary("\n".join(texts)))
        return tokens + ids + turns * TOKENS_PER_MESSAGE + TOKENS_OF_TEMPLATE

    def _encoding(self, model: str) -> "Encoding | None":
        name = model.removeprefix("ft:")
        if name.startswith(_O200K):
            return self._o200k
        return self._cl100k if name.startswith(_CL100K) else None


def _collect(value: object, texts: list[str]) -> int:
    """Add every text in ``value`` to ``texts``; return how many token ids stand in the place of text."""
    ids = 0
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            texts.append(each)
        elif isinstance(each, int):
            ids += 1
        elif isinstance(each, list):
            waiting.extend(reversed(cast("list[object]", each)))
        elif isinstance(each, dict):
            waiting.extend(reversed(cast("dict[str, object]", each).values()))
    return ids
