"""What the operator lets routing do."""

from enum import StrEnum

import msgspec

from palyra.core.instant import NANOSECONDS

AUTO = "auto"


class Smart(StrEnum):
    """Whose choice of a model is Palyra's: nobody's, that of callers who ask for ``auto``, or everybody's."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


class RoutingRules(msgspec.Struct, frozen=True, gc=False):
    """``discovered_too``: models that only discovery knows are candidates, besides the configured ones.

    ``failover``: a call may be taken up elsewhere before its first byte. ``sticky_ns``: how long a session
    keeps its model without a call.
    """

    smart: Smart = Smart.AUTO
    discovered_too: bool = False
    failover: bool = True
    sticky_ns: int = 3_600 * NANOSECONDS

    def leaves_open(self, requested: str) -> bool:
        """Whether the model for a call that asks for ``requested`` is Palyra's choice."""
        return self.smart is Smart.ALWAYS or (self.smart is Smart.AUTO and requested == AUTO)
