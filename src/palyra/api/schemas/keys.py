"""The shapes of keys."""

from pydantic import BaseModel


class KeyShown(BaseModel):
    """A key, recognised by its prefix."""

    id: str
    prefix: str
    principal: str
    agent: str | None
    roles: list[str]
    models: list[str]
    tags: dict[str, str]
    created_at: str
    created_by: str
    revoked_at: str | None
    origin: str


class KeyCreated(KeyShown):
    """The only answer that ever holds a key in clear."""

    key: str


class KeyPage(BaseModel):
    """Keys, oldest first."""

    items: list[KeyShown]
    next_cursor: str | None
