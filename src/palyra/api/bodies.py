"""The shapes of what is sent to the control plane, for the OpenAPI document. The domain checks the values.

They say what the domain refuses, as far as a schema can: a document that breaks one of them is a 422.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from palyra.api.offers import Unit, Verdict
from palyra.api.timeouts import TIMEOUT_MS_LEAST, TIMEOUT_MS_MOST
from palyra.approvals.approval import GrantKind
from palyra.budgets.fields import POLICY_ID_CHARS_MAX
from palyra.budgets.terms import Action, Metric, Mode, Then, UnknownPrice
from palyra.core.limits import LABEL_CHARS_MAX, TAGS_MAX, TOKENS_MAX
from palyra.core.money import INT64_MAX, USD_MAX
from palyra.identity.keys import Role
from palyra.lifecycle.approval_drafts import REASON_CHARS_MAX

Label = Annotated[str, Field(min_length=1, max_length=LABEL_CHARS_MAX)]
Usd = str | Annotated[int, Field(ge=0, le=int(USD_MAX))]
Amount = str | Annotated[int, Field(ge=0, le=INT64_MAX)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
KEY_CHARS_MAX = 1_000
"""No key is longer; one that people chose may be longer than ours."""
NOTE_CHARS_MAX = 1_000
Note = Annotated[str, Field(max_length=NOTE_CHARS_MAX)]
Reason = Annotated[str, Field(max_length=REASON_CHARS_MAX)]
Interval = Literal["request", "hour", "day", "week", "month", "total", "hourly", "daily", "weekly", "monthly"]
Pictures = Annotated[int, Field(ge=0, le=100)]
Routable = Literal["chat_completions", "completions", "responses", "messages", "embeddings"]


class Body(BaseModel):
    """No field is ignored: one that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class SignInBody(Body):
    """Whoever has the key signs in."""

    key: Annotated[str, Field(min_length=1, max_length=KEY_CHARS_MAX)]


class ThresholdBody(Body):
    """What happens at a fraction of the limit; ``to``: the model or the mode that ``then`` needs."""

    at: str | float
    then: Then | None = None
    to: Label | None = None


class PolicyBody(Body):
    """A budget as written: money limits are decimal strings of USD, other limits whole numbers."""

    id: Annotated[str, Field(min_length=1, max_length=POLICY_ID_CHARS_MAX, pattern=r"^[A-Za-z0-9._-]+$")]
    name: Label | None = None
    scope: Label
    metric: Metric
    interval: Interval
    timezone: Label | None = None
    soft_limit: Amount | None = None
    hard_limit: Amount | None = None
    action: Action | None = None
    mode: Mode | None = None
    routing_mode_override: Mode | None = None
    degrade_to: Label | None = None
    thresholds: list[ThresholdBody] | None = None
    min_output_tokens: str | Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    unknown_price: UnknownPrice | None = None
    enabled: bool = True
    valid_from: Time | None = None
    valid_until: Time | None = None


class PolicyPut(PolicyBody):
    """A budget as written. The id is that of the address, and need not be said again."""

    id: str = ""


class PolicyDraft(BaseModel):
    """A budget as far as it is written: what is wrong with it is the answer."""

    model_config = ConfigDict(extra="allow")


class KeyBody(Body):
    """What a new key gives; at most what the issuing key has."""

    principal: Label
    agent: Label | None = None
    roles: Annotated[list[Role], Field(min_length=1)] | None = None
    models: list[Label] | None = None
    tags: Annotated[dict[Label, Label], Field(max_length=TAGS_MAX)] | None = None


class ModelQuestion(Body):
    """A call to explain: a prompt and what goes with it, or a whole request as ``body``."""

    prompt: str | None = None
    body: dict[str, Any] | None = None
    endpoint: Routable | None = None
    model: Label | None = None
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None
    json_mode: bool = False
    vision: Pictures = 0
    tools: Pictures = 0
    stream: bool = False
    key_id: Label | None = None
    principal: Label = "owner"
    agent: Label | None = None
    session: Label | None = None
    parent_session: Label | None = None
    task_class: Label | None = None
    tags: dict[str, str] = {}
    mode: Mode | None = None


class ConnectionTest(Body):
    """Which provider to test (all without one), and how."""

    provider: str | None = None
    timeout_ms: Annotated[int, Field(ge=TIMEOUT_MS_LEAST, le=TIMEOUT_MS_MOST)] | None = None
    refresh: bool | None = False
    generate: bool | None = False


class ApprovalDecision(Body):
    """``allow`` or ``deny``. An amount is ``amount_usd`` of a money budget, else ``amount``."""

    decision: Verdict
    grant: GrantKind | None = None
    amount_usd: Usd | None = None
    amount: Amount | None = None
    unit: Unit | None = None
    until: Time | None = None
    reason: Reason | None = None


class ApprovalRevocation(Body):
    """Why a grant is taken back."""

    reason: Reason | None = None


class OverrideRequest(Body):
    """How much more is needed on top of the limit: ``amount_usd`` of a money budget, else ``amount``."""

    amount_usd: Usd | None = None
    amount: Amount | None = None
    unit: Unit | None = None
    reason: Annotated[str, Field(min_length=1, max_length=REASON_CHARS_MAX)]
    entity: Label | None = None
    principal: Label | None = None


class AlertAcknowledgement(Body):
    """What whoever has seen an alert says about it."""

    note: Note | None = None


class MessageTest(Body):
    """Which target to send a test message to; all without one."""

    target: str | None = None
