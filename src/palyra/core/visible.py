"""Text from elsewhere, fit for a terminal and a log: nothing in it moves a cursor or starts another line."""

import json
import re
import unicodedata

_JSON_HIDDEN = re.compile(r"[^\x20-\x7e\n]")


def visible(text: str) -> str:
    """``text`` with an escape (``\\x1b``, ``\\u202e``) in the place of each character that is not seen.

    Blanks of any width stay as they are. Line breaks do not: a caller that wants lines splits them first.
    """
    return text if text.isprintable() else "".join(map(_seen, text))


def visible_json(document: str) -> str:
    """The same JSON, in which what is not seen is written as ``\\uXXXX``; line breaks between values stay."""
    return _JSON_HIDDEN.sub(lambda found: _json_seen(found[0]), document)


def _seen(char: str) -> str:
    return char if _is_seen(char) else char.encode("unicode_escape").decode()


def _json_seen(char: str) -> str:
    return char if _is_seen(char) else json.dumps(char)[1:-1]


def _is_seen(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"
