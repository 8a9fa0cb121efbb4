"""Images, sound and stored files in a body: what bytes alone do not bound.

Most bodies have none, and a search for their type names settles that; the others are walked once.
"""

from dataclasses import dataclass
from typing import cast

import msgspec

from palyra.core.errors import InvalidRequest
from palyra.core.limits import JSON_DEPTH_MAX

_IMAGE_TYPES = frozenset({"image", "image_url", "input_image"})
_FILE_TYPES = frozenset({"document", "file", "input_file", "input_video", "video", "video_url"})
_TOO_DEEP = f"the body is nested deeper than {JSON_DEPTH_MAX} levels"
_MARKS = (
    b'"image',
    b'"input_image"',
    b'"input_audio"',
    b'"audio"',
    b'"file_id"',
    b'"file"',
    b'"document"',
    b'"input_file"',
    b'"input_video"',
    b'"video',
)


@dataclass(frozen=True, slots=True)
class Media:
    """``image_bytes`` are body bytes that carry images, which are billed per image and not per byte.

    ``stored_files``: documents and videos, here or elsewhere, whose pages and frames no byte count bounds.
    """

    images: int
    image_bytes: int
    audio: bool
    stored_files: bool


NO_MEDIA = Media(0, 0, audio=False, stored_files=False)


def count_media(raw: bytes) -> Media:
    """What a valid JSON body without escaped names carries beside text.

    Raises InvalidRequest if it is nested too deeply.
    """
    if not any(mark in raw for mark in _MARKS):
        return NO_MEDIA
    found = _Walk()
    try:
        found.visit(msgspec.json.decode(raw), 0)
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None
    return Media(found.images, found.image_bytes, found.audio, found.stored_files)


class _Walk:
    """Adds up what one walk over a body meets."""

    __slots__ = ("audio", "image_bytes", "images", "stored_files")

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0
        self.audio = False
        self.stored_files = False

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
