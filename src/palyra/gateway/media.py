"""Images, sound and stored files in a body: what bytes alone do not bound.

Text cannot be any of them, and a search of the rest for their type names settles most bodies; the others are
walked once.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from palyra.core.errors import InvalidRequest
from palyra.core.limits import JSON_DEPTH_MAX

_IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
_FILE_TYPES = frozenset({"document", "file", "input_file", "input_video", "video", "video_url"})
_TOO_DEEP = f"the body is nested deeper than {JSON_DEPTH_MAX} levels"
_MARK = re.compile(
    rb'"(?:image|video|input_(?:image|audio|file|video)"|audio"|file(?:_id|_url)?"|document"|cache_control")'
)
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
_QUOTE = ord('"')
_LITERAL_BYTES_MAX = 5
"""Nothing this short, such as ``false``, can hold a mark."""
_NAMES = frozenset({"audio", "cache_control", "file_id", "file_url", "type"})
"""Fields that mean something by their own name, or by a text."""

Fields = Mapping[str, msgspec.Raw]


class Media(NamedTuple):
    """``image_bytes`` are body bytes that carry images, which are billed per image and not per byte.

    ``stored_files``: documents and videos, here or elsewhere, whose pages and frames no byte count bounds.
    ``cache_writes``: some part asks to be written to the provider's prompt cache.
    """

    images: int
    image_bytes: int
    audio: bool
    stored_files: bool
    cache_writes: bool


NO_MEDIA = Media(0, 0, audio=False, stored_files=False, cache_writes=False)


def count_media(fields: Fields, messages: Sequence[Fields]) -> Media:
    """What a body carries beside text: its top-level fields, and each of its ``messages`` if it has such.

    Raises InvalidRequest if it is nested too deeply, or is no valid JSON after all.
    """
    if not (any(map(is_marked, messages)) or is_marked(fields)):
        return NO_MEDIA
    found = _Walk()
    try:
        found.visit({name: msgspec.json.decode(value) for name, value in fields.items()}, 0)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}") from None
    return Media(found.images, found.image_bytes, found.audio, found.stored_files, found.cache_writes)


def is_marked(fields: Fields) -> bool:
    """Whether a field may hold anything but text. Never False for one that does."""
    if not _NAMES.isdisjoint(fields):
        return True
    for name, value in fields.items():
        if len(value) <= _LITERAL_BYTES_MAX or name == "messages" or memoryview(value)[0] == _QUOTE:
            continue
        if _mentions_mark(bytes(value)):
            return True
    return False


def _mentions_mark(value: bytes) -> bool:
    """Search JSON for the names. An escape may hide one: ``"im\\u0061ge"`` is ``"image"``."""
    return _MARK.search(value) is not None or _ESCAPED_ASCII.search(value) is not None


class _Walk:
    """Adds up what one walk over a body meets."""

    __slots__ = ("audio", "cache_writes", "image_bytes", "images", "stored_files")

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0
        self.audio = False
        self.stored_files = False
        self.cache_writes = False

    def visit(self, value: object, depth: int) -> None:
        if depth > JSON_DEPTH_MAX:
            raise InvalidRequest(_TOO_DEEP)
        if isinstance(value, list):
            for item in cast("list[object]", value):
                self.visit(item, depth + 1)
        elif isinstance(value, dict):
            self._visit_object(cast("dict[str, object]", value), depth)

    def _visit_object(self, value: dict[str, object], depth: int) -> None:
        named = value.get("type")
        # In the JSON schema of a tool ``type`` may be a list.
        kind = named if isinstance(named, str) else ""
        if kind in _IMAGE_TYPES:
            self.images += 1
            self.image_bytes += _longest_text(value)
        self.audio = self.audio or kind in ("input_audio", "audio") or "audio" in value
        self.stored_files = self.stored_files or _is_file(kind, value)
        self.cache_writes = self.cache_writes or "cache_control" in value
        for item in value.values():
            self.visit(item, depth + 1)


def _is_file(kind: str, value: dict[str, object]) -> bool:
    """A file that is not plain text, by whatever name it is given."""
    if isinstance(value.get("file_id"), str) or isinstance(value.get("file_url"), str):
        return True
    if kind not in _FILE_TYPES:
        return False
    source = value.get("source")
    given = cast("dict[str, object]", source).get("type") if isinstance(source, dict) else None
    return given not in ("content", "text")


def _longest_text(value: object, depth: int = 0) -> int:
    """Bytes of the longest text in an image part: its base64 data, or its URL."""
    if isinstance(value, str):
        return len(value.encode())
    if depth > JSON_DEPTH_MAX:
        return 0
    if isinstance(value, dict):
        items: list[object] = list(cast("dict[str, object]", value).values())
        return max((_longest_text(item, depth + 1) for item in items), default=0)
    return 0
