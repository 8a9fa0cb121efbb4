"""The shape of an answer that is an error."""

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """RFC 9457. ``field`` names what is at fault; some codes have members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
